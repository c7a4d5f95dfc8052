# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running cluster handed over to Patroni on real hosts: the same servers, the same data, and Patroni in charge."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import on, playbook
from steps import psql as sql
from steps import wait_until as wait_for

HOSTS = ("pg1", "pg2", "pg3")
#: What a copy or a restart would change: when the data directory was made, and when the server was started.
SAME = "stat -c '%i %w' /var/lib/postgresql/15/main/PG_VERSION; head -3 /var/lib/postgresql/15/main/postmaster.pid"


def members() -> dict[str, dict[str, t.Any]]:
    said = on("pg1", "patronictl -c /etc/patroni/15-main.yml list -f json")
    return {member["Member"]: member for member in json.loads(said)}


def wait_until(condition: t.Callable[[], object], seconds: float = 60) -> None:
    listed = "patronictl -c /etc/patroni/15-main.yml list"
    wait_for(condition, seconds, what=lambda: on("pg1", listed, check=False))


def rows_of(host: str) -> str:
    return sql(host, "SELECT count(*), md5(string_agg(line, '' ORDER BY n)) FROM ledger")


@pytest.fixture(scope="module")
def before() -> dict[str, t.Any]:
    """The cluster as the collection left it, with data of a user's."""
    sql(
        "pg1", "CREATE TABLE IF NOT EXISTS ledger AS SELECT n, md5(n::text) AS line FROM generate_series(1, 20000) AS n"
    )
    return {
        "system": sql("pg1", "SELECT system_identifier FROM pg_control_system()"),
        "rows": rows_of("pg1"),
        "servers": {host: on(host, SAME) for host in HOSTS},
    }


def test_it_refuses_a_consensus_store_that_does_not_answer(before: dict[str, t.Any]) -> None:
    done = playbook("patroni_handover", "-e", '{"pgtandem_patroni_dcs": {"etcd3": {"hosts": ["127.0.0.1:9"]}}}')
    assert done.returncode != 0
    assert "does not answer" in done.text and "The servers were not touched." in done.text
    assert {host: on(host, SAME) for host in HOSTS} == before["servers"]
    assert on("pg1", "systemctl is-active postgresql@15-main") == "active"


def test_it_refuses_without_a_consensus_store() -> None:
    done = playbook("patroni_handover", "-e", '{"pgtandem_patroni_dcs": {}}')
    assert done.returncode != 0
    assert "pgtandem_patroni_dcs is not set" in done.text and "Nothing was changed." in done.text


def test_check_mode_changes_nothing(before: dict[str, t.Any]) -> None:
    done = playbook("patroni_handover", "--check", "--diff")
    assert done.returncode == 0, done.text
    assert on("pg1", "systemctl is-active postgresql@15-main") == "active"
    assert {host: on(host, SAME) for host in HOSTS} == before["servers"]


def test_the_handover(before: dict[str, t.Any]) -> None:
    done = playbook("patroni_handover")
    assert done.returncode == 0, done.text
    assert "hunter2" not in done.text
    found = members()
    assert {name: member["Role"] for name, member in found.items()} == {
        "pg1": "Leader", "pg2": "Replica", "pg3": "Replica",
    }  # fmt: skip
    assert {member["State"] for member in found.values()} <= {"running", "streaming"}


def test_nothing_was_copied_and_nothing_restarted(before: dict[str, t.Any]) -> None:
    assert {host: on(host, SAME) for host in HOSTS} == before["servers"]
    for host in HOSTS:
        assert sql(host, "SELECT system_identifier FROM pg_control_system()") == before["system"]
        assert rows_of(host) == before["rows"]


def test_both_standbys_stream_by_their_slots() -> None:
    statement = (
        "SELECT application_name, state, slot_name FROM pg_stat_replication "
        "JOIN pg_replication_slots ON active_pid = pid ORDER BY 1"
    )
    wait_until(lambda: sql("pg1", statement).splitlines() == ["pg2|streaming|pg2", "pg3|streaming|pg3"])


def test_systemd_has_patroni_and_no_longer_the_server() -> None:
    for host in HOSTS:
        assert on(host, "systemctl is-active patroni@15-main") == "active"
        assert on(host, "systemctl is-enabled patroni@15-main") == "enabled"
        assert on(host, "systemctl is-active postgresql@15-main", check=False) == "inactive"
        assert on(host, "stat -c '%a %U' /etc/patroni/15-main.yml") == "600 postgres"


def test_a_second_handover_changes_nothing() -> None:
    done = playbook("patroni_handover")
    assert done.returncode == 0, done.text
    assert done.text.count("changed=0") == len(HOSTS), done.text


@pytest.mark.stops("host-patroni")
def test_site_refuses_to_manage_what_patroni_runs(before: dict[str, t.Any]) -> None:
    done = playbook("site")
    assert done.returncode != 0
    assert "Nothing was changed." in done.text
    assert "is run by Patroni" in done.text
    assert {host: on(host, SAME) for host in HOSTS} == before["servers"]


def test_status_goes_on_to_work() -> None:
    done = playbook("status")
    assert done.returncode == 0, done.text
    assert "is run by Patroni" in done.text


def test_a_switchover_by_patroni(before: dict[str, t.Any]) -> None:
    on("pg1", "patronictl -c /etc/patroni/15-main.yml switchover --master pg1 --candidate pg2 --force main")
    wait_until(lambda: members().get("pg2", {}).get("Role") == "Leader")
    wait_until(
        lambda: (
            {(member["Role"], member["State"], member.get("TL")) for member in members().values()}
            == {("Leader", "running", 2), ("Replica", "running", 2)}
        )
    )
    sql("pg2", "INSERT INTO ledger SELECT n, md5(n::text) FROM generate_series(20001, 20100) AS n")
    after = rows_of("pg2")
    assert after != before["rows"]
    wait_until(lambda: rows_of("pg1") == after and rows_of("pg3") == after)
    assert sql("pg1", "SELECT system_identifier FROM pg_control_system()") == before["system"]
    # No copy either: the data directories are those of the beginning.
    for host in HOSTS:
        assert on(host, SAME).splitlines()[0] == before["servers"][host].splitlines()[0]


def test_the_parameters_are_those_of_before() -> None:
    assert {sql(host, "SHOW max_connections") for host in HOSTS} == {"120"}


def test_patroni_replaces_a_dead_leader() -> None:
    on("pg2", "systemctl kill --signal=KILL patroni@15-main; pkill -9 -u postgres -x postgres", check=False)
    wait_until(lambda: any(m["Role"] == "Leader" and name != "pg2" for name, m in members().items()), 90)
    on("pg2", "systemctl start patroni@15-main")
    wait_until(lambda: members().get("pg2", {}).get("Role") == "Replica", 90)
