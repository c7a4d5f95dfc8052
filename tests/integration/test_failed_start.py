# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that does not start says why, wherever its log goes; the message has that line."""

from __future__ import annotations

import pytest
from conftest import BIN_DIRECTORIES, Cluster, MakeCluster, Task, run_tasks

COLLECTED = {"logging_collector": "on", "log_directory": "told"}
KEYS = {
    "stderr": {},
    "collector": COLLECTED,
    "csvlog": {**COLLECTED, "log_destination": "csvlog"},
    "jsonlog": {**COLLECTED, "log_destination": "jsonlog"},
}
FORMATS = [pytest.param(kind, id=kind) for kind in KEYS]


def without_wal(make_cluster: MakeCluster, server: str, **settings: str) -> Cluster:
    """A cluster that panics in its startup process, with a few lines after that."""
    cluster = make_cluster(server, **settings)
    cluster.run("pg_ctl", "-w", "-s", "-D", cluster.data_directory, "stop")
    for path in (cluster.data_directory / "pg_wal").iterdir():
        if path.is_file():
            path.unlink()
    return cluster


@pytest.mark.parametrize("kind", FORMATS)
def test_the_cause_is_told(make_cluster: MakeCluster, kind: str) -> None:
    server = "embedded" if "embedded" in BIN_DIRECTORIES else "15"
    cluster = without_wal(make_cluster, server, **KEYS[kind])
    (result,) = run_tasks([Task("pg_instance", {**cluster.options})])
    told = result.get("log") or [str(result)[:600]]
    assert any("valid checkpoint record" in line for line in told), result["msg"]
    assert "valid checkpoint record" in result["msg"]
    # What it said before this start is not among it.
    assert not any("received fast shutdown" in line for line in told)


def test_the_cause_is_told_in_german(make_cluster: MakeCluster) -> None:
    if "15" not in BIN_DIRECTORIES:
        pytest.skip("PostgreSQL 15 is not installed")
    cluster = without_wal(make_cluster, "15", lc_messages="C.UTF-8")
    # What starts a server has no LANGUAGE here.
    wrapper = cluster.folder / "bin"
    wrapper.mkdir()
    wrapper.chmod(0o755)
    for path in cluster.bin_directory.iterdir():
        (wrapper / path.name).symlink_to(path)
    program = wrapper / "pg_ctl"
    program.unlink()
    program.write_text(
        f'#!/bin/sh\nLC_ALL=C.UTF-8 LANGUAGE=de exec {cluster.bin_directory}/pg_ctl "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    (result,) = run_tasks([Task("pg_instance", {**cluster.options, "bin_directory": str(wrapper)})])
    assert any("PANIK:" in line for line in result.get("log", [str(result)[:600]])), result["msg"]
