# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_replication_slot on real servers."""

from __future__ import annotations

import signal
import subprocess
import typing as t

import pytest
from conftest import SERVERS, Cluster, MakeCluster, MakeFolder, Task, run_module, run_tasks
from site_runs import wait_until

MODULE = "pg_replication_slot"


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, make_cluster: MakeCluster) -> Cluster:
    return make_cluster(request.param, max_replication_slots="6", wal_level="logical", max_slot_wal_keep_size="16MB")


def task(cluster: Cluster, *names: str, check: bool = False, diff: bool = False, **options: t.Any) -> Task:
    return Task(MODULE, {**cluster.options, "names": list(names), **options}, check, diff)


def slots(cluster: Cluster) -> str:
    return cluster.psql(
        "SELECT string_agg(slot_name || CASE WHEN restart_lsn IS NULL THEN '-' ELSE '+' END, ' ' ORDER BY slot_name) "
        "FROM pg_replication_slots"
    )


@pytest.mark.same_on_every_version
def test_check_run_check_run(server: Cluster) -> None:
    results = run_tasks([task(server, "a", "b", check=check, diff=True) for check in (True, False, True, False)])
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["diff"] == results[1]["diff"]
    assert results[0]["actions"] == results[1]["actions"] and results[0]["queries"] == results[1]["queries"]
    assert slots(server) == "a+ b+"
    assert [slot["name"] for slot in results[3]["slots"]] == ["a", "b"]
    drops = run_tasks([task(server, "a", "b", "c", check=check, state="absent") for check in (True, False, False)])
    assert [result["changed"] for result in drops] == [True, True, False]
    assert slots(server) == ""


def test_a_slot_that_reserves_nothing_is_made_anew(server: Cluster) -> None:
    server.psql("SELECT pg_create_physical_replication_slot('lazy')")
    left, made, again = run_tasks([task(server, "lazy", reserve=False), task(server, "lazy"), task(server, "lazy")])
    assert [result["changed"] for result in (left, made, again)] == [False, True, False]
    assert slots(server) == "lazy+"
    run_module(MODULE, {**server.options, "name": "lazy", "state": "absent"})


def test_a_logical_slot_is_left_alone(server: Cluster) -> None:
    server.psql("SELECT pg_create_logical_replication_slot('decoder', 'pgoutput')")
    results = run_tasks([task(server, "before", "decoder", state=state) for state in ("present", "absent")])
    assert all(result["failed"] and "logical" in result["msg"] for result in results)
    assert slots(server) == "decoder+"
    server.psql("SELECT pg_drop_replication_slot('decoder')")


@pytest.mark.same_on_every_version
def test_too_few_places_stop_before_the_first(server: Cluster) -> None:
    server.psql("SELECT pg_create_physical_replication_slot('taken')")
    results = run_tasks([task(server, *"abcdef", check=check) for check in (True, False)])
    for result in results:
        assert result["failed"] and "max_replication_slots" in result["msg"] and "at least 7" in result["msg"]
    assert slots(server) == "taken-"
    assert run_module(MODULE, {**server.options, "names": list("abcde")})["changed"]
    run_module(MODULE, {**server.options, "names": ["taken", *"abcde"], "state": "absent"})


def test_a_slot_in_use_is_not_dropped(server: Cluster) -> None:
    run_module(MODULE, {**server.options, "name": "used"})
    server.psql("CREATE ROLE reader LOGIN REPLICATION PASSWORD 'secret 20'")
    program = str(server.bin_directory / "pg_receivewal")
    reader = subprocess.Popen(
        [program, "-h", "127.0.0.1", "-p", str(server.port), "-U", "reader", "-S", "used", "-D", server.folder],
        env={"PGPASSWORD": "secret 20", "PGAPPNAME": "reading"},
        stderr=subprocess.PIPE,
    )
    try:
        active = "SELECT active FROM pg_replication_slots"
        wait_until(lambda: server.psql(active) == "t", "the reader")
        present, check, absent = run_tasks(
            [
                task(server, "used"),
                task(server, "used", state="absent", check=True),
                task(server, "used", state="absent"),
            ]
        )
        assert not present["changed"] and present["slots"][0]["active"]
        for result in (check, absent):
            assert result["failed"] and "in use by process" in result["msg"]
            assert "reading as reader from 127.0.0.1" in result["msg"]
    finally:
        reader.send_signal(signal.SIGKILL)
        reader.communicate()
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    wait_until(lambda: server.psql(active) == "f", "the end of the reader")
    server.psql("SELECT pg_drop_replication_slot('used')")


def test_a_lost_slot_is_made_anew(server: Cluster) -> None:
    run_module(MODULE, {**server.options, "name": "lost"})
    for _unused in range(4):
        server.psql("CREATE TABLE IF NOT EXISTS filler (); DROP TABLE filler; SELECT pg_switch_wal()")
        server.psql("CHECKPOINT")
    assert server.psql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'lost'") == "lost"
    check, run, again = run_tasks([task(server, "lost", check=check, diff=True) for check in (True, False, False)])
    assert check["changed"] and run["changed"] and not again["changed"]
    assert "invalidated" in run["actions"][0]
    assert run["diff"]["before"] == {"lost": "invalid"}
    assert run["slots"][0]["wal_status"] == "reserved"
    run_module(MODULE, {**server.options, "name": "lost", "state": "absent"})


def test_slots_on_a_standby(server: Cluster, make_cluster: MakeCluster, make_folder: MakeFolder) -> None:
    copy = make_cluster.adopt(server.standby(make_folder()))  # type: ignore[attr-defined]
    copy.start()
    results = run_tasks([task(copy, "next", check=check) for check in (True, False, False)])
    assert [result["changed"] for result in results] == [True, True, False]
    assert slots(copy) == "next+" and slots(server) == ""


def test_a_server_that_does_not_run(make_cluster: MakeCluster) -> None:
    stopped = make_cluster("embedded", start=False)
    check, run = run_tasks([task(stopped, "a", check=True, diff=True), task(stopped, "a")])
    assert check["changed"] and check["diff"]["after"] == {"a": "created"}
    assert run["failed"] and "No server runs" in run["msg"]


def test_wal_level_minimal(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("embedded", wal_level="minimal", max_wal_senders="0")
    result = run_module(MODULE, {**cluster.options, "names": ["a", "B"]})
    assert result["failed"] and "'B'" in result["msg"]
    result = run_module(MODULE, {**cluster.options, "name": "a"})
    assert result["failed"] and "wal_level" in result["msg"]
