# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cascade without slots on the hosts of the other one: made so, and changed to slots and back."""

from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from places import PASSWORD, addresses, written
from steps import on, playbook, psql, wait_until

#: The instance's host, by its name.
HOSTS = {"lean1": "pg1", "lean2": "pg2", "lean3": "pg3"}
PORT = 5433


def ask(name: str, sql: str) -> str:
    return psql(HOSTS[name], sql, port=PORT)


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lean1 -> lean2 -> lean3, of which the third is new to the cluster after the first test."""
    where = addresses()
    hosts: dict[str, dict[str, t.Any]] = {name: {"ansible_host": where[host]} for name, host in HOSTS.items()}
    hosts["lean3"]["pgtandem_upstream"] = "lean2"
    return written(
        tmp_path_factory.mktemp("lean") / "hosts.yml",
        hosts,
        {"primary": ["lean1"], "standby": ["lean2", "lean3"]},
        pgtandem_cluster="lean", pgtandem_instance="lean", pgtandem_port=PORT, pgtandem_slots=False,
        pgtandem_replication_password=PASSWORD,
    )  # fmt: skip


def site(lean: Path, *words: str, **variables: t.Any) -> tuple[str, dict[str, int]]:
    """The playbook site, to a good end, and how many tasks changed something, by host."""
    given = ("-e", json.dumps(variables)) if variables else ()
    said = playbook("site", *words, *given, sources=[lean])
    assert said.returncode == 0, said.output
    counts = re.findall(r"(?m)^(lean\d) .*\bchanged=(\d+)", said.output)
    return said.output, {name: int(count) for name, count in counts}


def settled(lean: Path, *words: str, **variables: t.Any) -> None:
    output, changed = site(lean, *words, **variables)
    assert changed and not any(changed.values()), output


def slots() -> dict[str, str]:
    """What each has, and whether somebody uses it."""
    query = """
        SELECT string_agg(slot_name || CASE WHEN active THEN ' used' ELSE ' unused' END, ', ')
        FROM pg_replication_slots"""
    return {name: ask(name, query) for name in HOSTS}


def streams() -> dict[str, str]:
    """Who follows each, and by which slot."""
    query = """
        SELECT string_agg(r.application_name || ' ' || r.state || coalesce(' ' || s.slot_name, ''), ', ')
        FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid"""
    return {name: ask(name, query) for name in HOSTS}


def proven(name: str) -> None:
    """A row that is written above arrives at the end."""
    ask("lean1", f"DROP TABLE IF EXISTS seen; CREATE TABLE seen AS SELECT '{name}' AS word")
    wait_until(
        lambda: psql("pg3", "SELECT word FROM seen", port=PORT, check=False) == name, 20, what=lambda: str(streams())
    )


def pids() -> dict[str, str]:
    return {name: on(host, "head -1 /var/lib/postgresql/15/lean/postmaster.pid") for name, host in HOSTS.items()}


NONE = dict.fromkeys(HOSTS, "")
WITHOUT = {"lean1": "lean2 streaming", "lean2": "lean3 streaming", "lean3": ""}
USED = {"lean1": "lean2 used", "lean2": "lean3 used", "lean3": ""}
WITH = {"lean1": "lean2 streaming lean2", "lean2": "lean3 streaming lean3", "lean3": ""}


def test_a_pair_and_then_a_cascade_come_up_without_a_slot(lean: Path) -> None:
    site(lean, "--limit", "lean1,lean2")
    settled(lean, "--limit", "lean1,lean2")
    assert ask("lean1", "SELECT count(*) FROM pg_replication_slots") == "0"
    assert ask("lean1", "SELECT application_name, state FROM pg_stat_replication") == "lean2|streaming"
    site(lean)
    assert (slots(), streams()) == (NONE, WITHOUT)
    assert {ask(name, "SHOW primary_slot_name") for name in HOSTS} == {""}
    assert {ask(name, "SHOW wal_keep_size") for name in HOSTS} == {"512MB"}
    proven("cascade")
    settled(lean)


def test_wal_is_kept_for_a_standby_that_was_away(lean: Path) -> None:
    """By wal_keep_size alone: what the primary would have recycled at its checkpoints is still there."""
    on("pg2", "pg_ctlcluster 15 lean stop")
    first = ask("lean1", "SELECT pg_walfile_name(pg_current_wal_lsn())")
    for _turn in range(6):
        ask("lean1", "CREATE TABLE IF NOT EXISTS filled (n int); INSERT INTO filled VALUES (1); SELECT pg_switch_wal()")
        ask("lean1", "CHECKPOINT")
    assert ask("lean1", f"SELECT count(*) FROM pg_ls_waldir() WHERE name = '{first}'") == "1"
    on("pg2", "pg_ctlcluster 15 lean start")
    proven("away")
    settled(lean)


def test_slots_are_made_for_a_cluster_that_had_none(lean: Path) -> None:
    before = pids()
    output, changed = site(lean, "--check", pgtandem_slots=True)
    assert any(changed.values()) and (slots(), streams()) == (NONE, WITHOUT), output
    site(lean, pgtandem_slots=True)
    wait_until(lambda: streams() == WITH, 20, what=lambda: str(streams()))
    assert slots() == USED
    assert pids() == before
    proven("slots")
    settled(lean, pgtandem_slots=True)


def test_slots_go_where_they_are_used_no_longer(lean: Path) -> None:
    before = pids()
    output, changed = site(lean, "--check")
    assert any(changed.values()) and (slots(), streams()) == (USED, WITH), output
    assert " ".join(output.split()).count("Would drop the slot") == 2, output
    output = site(lean)[0]
    assert (slots(), streams()) == (NONE, WITHOUT), output
    assert "slot lean" not in output.split("PLAY [Show the topology]")[1], output
    assert {ask(name, "SHOW primary_slot_name") for name in HOSTS} == {""}
    assert pids() == before
    proven("none")
    settled(lean)


def test_a_slot_that_such_a_run_left_goes_by_the_next_one(lean: Path) -> None:
    """As when it was killed before its end; others' slots stay."""
    ask("lean2", "SELECT pg_create_physical_replication_slot('lean3', true)")
    ask("lean2", "SELECT pg_create_physical_replication_slot('archive', true)")
    settled(lean, "--skip-tags", "slots")
    changed = site(lean)[1]
    assert changed["lean3"] == 1 and changed["lean1"] == changed["lean2"] == 0, changed
    assert slots() == {**NONE, "lean2": "archive unused"}
    settled(lean)
    ask("lean2", "SELECT pg_drop_replication_slot('archive')")
