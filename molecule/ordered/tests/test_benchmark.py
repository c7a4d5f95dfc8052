# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""benchmark.yml on the same hosts: its figures, and every setting as it was, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import lab, on, playbook, playbook_command, psql, wait_until

HOSTS = ("pg1", "pg2", "pg3", "pg4")
pytestmark = pytest.mark.skipif(
    os.environ["PGTANDEM_VERSION"] not in ("13", "15", "17"), reason="only Debian's packages bring pgbench"
)
SETTINGS = (
    "SELECT md5(string_agg(name || '=' || setting || coalesce(sourcefile, ''), ' ' ORDER BY name)) FROM pg_settings"
)
DATABASES = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"
LEFT = "SHOW synchronous_commit"
SECONDS = 15
#: The process that measures, not those that fill the tables and warm up before, nor the shell that looks for it.
PGBENCH = f"pgrep -of 'pgbenc[h] .*-T {SECONDS} '"


def looks() -> dict[str, str]:
    """Settings, files and databases, of every host."""
    files = "sha256sum $(find /etc/postgresql /var/lib/postgresql -name '*.conf' -type f | sort)"
    return {host: on(host, files) + psql(host, f"{SETTINGS}; {DATABASES}") for host in HOSTS}


@pytest.fixture(scope="module", autouse=True)
def before() -> dict[str, str]:
    said = playbook("site")
    assert said.returncode == 0, said.output
    return looks()


def variables(seconds: int, *levels: str) -> tuple[str, str]:
    said = {"pgtandem_benchmark_seconds": seconds, "pgtandem_benchmark_scale": 1, "pgtandem_benchmark_levels": levels}
    return "-e", json.dumps(said)


@pytest.fixture
def running() -> t.Iterator[subprocess.Popen[str]]:
    """A benchmark in the middle of a level, with what it has set in force."""
    command = playbook_command("benchmark", *variables(SECONDS, "on", "remote_apply"))
    with subprocess.Popen(**command, start_new_session=True) as process:
        wait_until(lambda: psql("pg1", LEFT, check=False) == "local" and on("pg1", PGBENCH, check=False), 120)
        assert "pgtandem_benchmark" in psql("pg1", DATABASES)
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_figures_and_nothing_left(before: dict[str, str]) -> None:
    said = playbook("benchmark", *variables(3, "local", "remote_write", "on", "remote_apply"))
    assert said.returncode == 0, said.output
    for level in ("local", "remote_write", "on", "remote_apply"):
        assert re.search(rf"(?m)^\s*{level} .*\d", said.output), said.output
    assert looks() == before


def test_interrupted_at_the_controller(before: dict[str, str], running: subprocess.Popen[str]) -> None:
    """Ctrl-C: what the module has begun it ends, and takes away."""
    os.killpg(running.pid, signal.SIGINT)
    output = running.communicate(timeout=120)[0]
    assert running.returncode != 0, output
    wait_until(lambda: looks() == before, 120, what=lambda: output)


def test_the_controller_is_killed(before: dict[str, str], running: subprocess.Popen[str]) -> None:
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    wait_until(lambda: looks() == before, 120, what=lambda: str(looks()))


def repaired(before: dict[str, str]) -> None:
    """Until the next run the commits of others go on; that run takes back the settings, a benchmark its database."""
    assert psql("pg1", LEFT) == "local"
    on("pg4", "systemctl stop postgresql@*")
    on("pg2", "systemctl stop postgresql@*")
    psql("pg1", "CREATE TABLE others (); DROP TABLE others")
    on("pg2", "pg_ctlcluster $(pg_lsclusters -h | cut -d' ' -f1,2) start")
    on("pg4", "pg_ctlcluster $(pg_lsclusters -h | cut -d' ' -f1,2) start")
    said = playbook("site")
    assert said.returncode == 0, said.output
    assert psql("pg1", LEFT) == "on" and psql("pg1", "SHOW synchronous_standby_names") == ""
    said = playbook("benchmark", *variables(1, "local"))
    assert said.returncode == 0, said.output
    assert looks() == before


def test_the_module_is_killed(before: dict[str, str], running: subprocess.Popen[str]) -> None:
    on("pg1", f"bench=$({PGBENCH}); kill -9 $(ps -o ppid= -p $bench) $bench")
    output = running.communicate(timeout=120)[0]
    assert running.returncode != 0, output
    repaired(before)


def test_the_host_loses_its_power(before: dict[str, str], running: subprocess.Popen[str]) -> None:
    lab("kill", "pg1")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    lab("start", "pg1")
    wait_until(lambda: psql("pg1", LEFT, check=False) == "local", 60)
    repaired(before)
