# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook `status` says of each instance is what psql says there, whatever its version."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest

if t.TYPE_CHECKING:
    from outside import Node

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = ("server_version", "wal_level", "max_wal_senders", "max_replication_slots", "hot_standby", "wal_log_hints")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, t.Any]:
    """Return the JSON of one run: each instance's part by its name."""
    path = tmp_path_factory.mktemp("status") / "status.json"
    sources = [f"--inventory={source}" for source in os.environ["PGTANDEM_LAB_INVENTORY"].split(":")]
    done = subprocess.run(
        ["ansible-playbook", *sources, "pgtandem.replication.status", "-e", f"pgtandem_status_json={path}"],
        cwd=ROOT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    clusters = json.loads(path.read_text(encoding="utf-8"))["clusters"]
    return {node["name"]: node for cluster in clusters for node in cluster["nodes"]}


def rows(node: Node, sql: str) -> list[list[str]]:
    """Return what psql prints, by lines and columns."""
    return [line.split("|") for line in node.psql(sql).splitlines()]


def test_role_and_system(node: Node, report: dict[str, t.Any]) -> None:
    said = report[node.name]
    recovery, system, version = rows(
        node,
        "select pg_is_in_recovery(), (select system_identifier from pg_control_system()), "
        "current_setting('server_version_num')",
    )[0]
    assert said["role"] == ("standby" if recovery == "t" else "primary")
    assert said["system_identifier"] == system
    assert said["status"]["server_version"] == int(version) and said["major"] == str(node.major)


def test_wal_senders(node: Node, report: dict[str, t.Any]) -> None:
    wanted = "select pid, application_name, client_addr, state, sync_state from pg_stat_replication order by pid"
    senders = sorted(report[node.name]["status"]["wal_senders"], key=lambda row: int(row["pid"]))
    columns = ("pid", "application_name", "client_addr", "state", "sync_state")
    assert [[str(row[column]) for column in columns] for row in senders] == rows(node, wanted)
    assert sorted(report[node.name]["downstream"]) == sorted(below.name for below in node.downstream)


def test_wal_receiver(standby: Node, report: dict[str, t.Any]) -> None:
    receiver = report[standby.name]["status"]["wal_receiver"]
    wanted = rows(standby, "select pid, status, slot_name from pg_stat_wal_receiver")
    assert [[str(receiver["pid"]), receiver["status"], receiver["slot_name"] or ""]] == wanted
    assert report[standby.name]["upstream"]["name"] == standby.upstream.name
    assert report[standby.name]["connection"]["streaming"]


def test_slots(node: Node, report: dict[str, t.Any]) -> None:
    slots = report[node.name]["status"]["slots"]
    wanted = "select slot_name, slot_type, active from pg_replication_slots order by slot_name"
    said = [[row["slot_name"], row["slot_type"], "t" if row["active"] else "f"] for row in slots]
    assert said == rows(node, wanted)


def test_settings(node: Node, report: dict[str, t.Any]) -> None:
    said = report[node.name]["status"]["settings"]
    assert {name: said[name] for name in SETTINGS} == {name: node.psql(f"show {name}") for name in SETTINGS}
