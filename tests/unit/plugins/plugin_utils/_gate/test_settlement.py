# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every reason to stop, and the plan where there is none."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import empty_status
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle

Node = t.Dict[str, t.Any]
OPTIONS = {"version": "17", "layout": "debian", "instance": "main", "port": 5432}
ONE, OTHER = "7711000000000000001", "7722000000000000002"


def seen(state: str, system: str | None = None, **more: t.Any) -> dict[str, t.Any]:
    """What pg_replication_status says of a host."""
    status: dict[str, t.Any] = {
        **empty_status(),
        "host": {"architecture": "x86_64", "psycopg": "psycopg2"},
        "instance": dict(OPTIONS, bin_directory="/bin", data_directory="/data"),
        "instance_error": None,
        "installed": True,
        "missing_programs": [],
        "port_taken_by": None,
        "data_directory": {"path": "/data", "state": state, "description": f"/data is {state}", "error": None},
        "running": state in ("primary", "standby"),
        "database_error": None,
        "system_identifier": system,
        "timeline": 1,
        "settings": {},
    }
    for path, value in more.items():
        place = status
        *above, last = path.split("__")
        for key in above:
            place = place[key]
        place[last] = value
    return status


def node(name: str, group: str, status: dict[str, t.Any] | None = None, **more: t.Any) -> Node:
    values: Node = {
        "name": name,
        "cluster": "main",
        "groups": [group],
        "upstream": "",
        "address": f"10.0.0.{name[-1]}",
        "port": 5432,
        "wrong": [],
        "has_password": True,
        "password_fits_file": True,
        "replication_user": "replica",
        "login_db": "postgres",
        "on_role_change": "fail",
        "manage_packages": True,
        "slots": True,
        "reseed": False,
        "reseed_mode": "auto",
        "parameters": {},
        "hba_rules": [],
        "connection_options": {},
        "tls": {},
        "apply_delay": "",
        "restore_command": "",
        "options": dict(OPTIONS),
        "status": status if status is not None else seen("absent"),
    }
    return dict(values, **more)


def primary(state: str = "absent", system: str | None = None, name: str = "pg1", **more: t.Any) -> Node:
    return node(name, "primary", seen(state, system), **more)


def standby(state: str = "absent", system: str | None = None, name: str = "pg2", **more: t.Any) -> Node:
    return node(name, "standby", seen(state, system), **more)


PROBLEMS = [
    pytest.param([standby()], "has no primary: none of pg2", id="no primary"),
    pytest.param([primary(), primary(name="pg2")], "has 2 primaries in the inventory: pg1, pg2.", id="two primaries"),
    pytest.param(
        [primary(), standby(groups=["primary", "standby"])], "pg2 is in the group of primaries and in", id="both groups"
    ),
    pytest.param([primary(has_password=False), standby()], "is not set for pg1.", id="no password"),
    pytest.param([primary(password_fits_file=False)], "holds a line break or a NUL", id="line break"),
    pytest.param(
        [primary(), standby(address="10.0.0.1")], "pg1 and pg2 have the same address and port (10.0.0.1:5432)",
        id="same address and port",
    ),
    pytest.param(
        [primary(), standby(name="pg-2"), standby(name="pg_2", port=5433)],
        "pg-2 and pg_2 would share the slot 'pg_2'", id="same slot",
    ),
    pytest.param([primary(), standby(upstream="pg2")], "of pg2 is pg2 itself", id="upstream itself"),
    pytest.param([primary(), standby(upstream="pg9")], "'pg9', which is no host of cluster 'main'", id="unknown"),
    pytest.param(
        [primary(), standby(), standby(name="pg3", upstream="other3"), node("other3", "primary", cluster="other")],
        "'other3', which is no host of cluster 'main' (pg1, pg2, pg3)", id="upstream of another cluster",
    ),
    pytest.param(
        [primary(), standby(upstream="pg3"), standby(name="pg3", upstream="pg2")],
        "pgtandem_upstream of pg2, pg3 leads in a circle", id="cycle",
    ),
    pytest.param(
        [primary(), standby(name="pg4", upstream="pg3"), standby(upstream="pg3"), standby(name="pg3", upstream="pg2")],
        "pgtandem_upstream of pg2, pg3 leads in a circle", id="below a cycle",
    ),
    pytest.param(
        [primary(), node("pg2", "standby", seen("absent", instance__version="16"))],
        "PostgreSQL 16 on pg2; PostgreSQL 17 on pg1: physical replication needs one major", id="versions",
    ),
    pytest.param(
        [primary(), node("pg2", "standby", seen("absent", host__architecture="aarch64"))],
        "aarch64 on pg2; x86_64 on pg1: physical replication needs one processor", id="architectures",
    ),
    pytest.param(
        [primary(), node("pg2", "standby", seen("absent", instance_error="No program."))], "pg2: No program.",
        id="no instance",
    ),
    pytest.param([primary(), standby("foreign")], "pg2: /data is foreign. Move it away", id="foreign files"),
    pytest.param([primary("partial")], "pg1: /data is partial. Move it away", id="half a copy"),
    pytest.param(
        [primary(), node("pg2", "standby", seen("absent", data_directory__error="It cannot be read."))],
        "pg2: It cannot be read.", id="unreadable directory",
    ),
    pytest.param(
        [node("pg1", "primary", seen("absent", host__psycopg=None), manage_packages=False)],
        "pg1: its Python has neither psycopg nor psycopg2", id="no driver",
    ),
    pytest.param(
        [node("pg1", "primary", seen("absent", installed=False), manage_packages=False)],
        "pg1: PostgreSQL 17 is not installed and pgtandem_manage_packages is off", id="not installed",
    ),
    pytest.param(
        [node("pg1", "primary", seen("absent", installed=False, instance__layout="custom"))],
        "pg1: there is no /bin/postgres", id="custom and not there",
    ),
    pytest.param(
        [node("pg1", "primary", seen("primary", ONE, database_error="FATAL: no peer"))], "pg1: FATAL: no peer",
        id="cannot log in",
    ),
    pytest.param(
        [node("pg1", "primary", seen("absent", port_taken_by="process 7 (x)"))],
        "pg1: port 5432 is taken by process 7 (x)", id="port",
    ),
    pytest.param(
        [node("pg1", "primary", seen("absent", missing_programs=["pg_ctl"]))], "has the server but not pg_ctl",
        id="half an installation",
    ),
    pytest.param([primary(parameters={"wal_keep_segments": 9})], "has no wal_keep_segments: use wal", id="old name"),
    pytest.param([primary(parameters={"WAL_level": "minimal"})], "minimal rules out replication", id="wal_level"),
    pytest.param(
        [node("pg1", "primary", parameters={"wal_keep_segments": 9}, status={})], "has no wal_keep_segments",
        id="old name on a host that was not read",
    ),
    pytest.param([primary(hba_rules=[{"method": "md5"}])], "needs an address", id="rule"),
    pytest.param(
        [primary(parameters={"max_wal_senders": "2"}), standby()], "max_wal_senders = 2, too few for 1", id="senders"
    ),
    pytest.param(
        [primary(), standby(parameters={"max_replication_slots": 0})], "max_replication_slots = 0, too few", id="slots"
    ),
    pytest.param(
        [primary(), standby(replication_user="other")],
        "pgtandem_replication_user differs between pg1 and pg2.", id="two roles for replication",
    ),
    pytest.param(
        [primary("primary", ONE), standby("primary", ONE)],
        f"has two primaries of system {ONE}: pg1 (timeline 1), running: /data", id="split brain",
    ),
    pytest.param(
        [primary("primary", ONE), standby("primary", OTHER)],
        f"pg2: /data is primary, but it is to become a standby of pg1 (system {ONE}). A base backup would destroy it",
        id="another cluster's primary",
    ),
    pytest.param(
        [primary("primary", ONE), standby("standby", OTHER)], "That standby belongs to another cluster",
        id="another cluster's standby",
    ),
    pytest.param(
        [primary("standby", ONE), standby("primary", ONE)], "is pg2 now, not pg1 as the inventory says", id="moved"
    ),
    pytest.param(
        [
            primary("standby", ONE, on_role_change="follow"),
            standby("primary", ONE),
            standby("primary", ONE, name="pg3"),
        ],
        f"has two primaries of system {ONE}: pg2", id="moved to two places",
    ),
    pytest.param(
        [primary("standby", ONE, on_role_change="follow"), standby("primary", OTHER)],
        "is a standby, and no primary of its system was found", id="no primary is left",
    ),
    pytest.param(
        [primary("absent"), standby("standby", ONE)], "A new cluster beside existing data", id="empty beside data"
    ),
    pytest.param([primary("empty"), standby("primary", ONE)], "pg2: /data is primary", id="empty beside a primary"),
    pytest.param(
        [node("pg1", "primary", {}), standby("standby", ONE)], "pg1, the primary of cluster 'main', could not be read",
        id="unread primary",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "message"), PROBLEMS)
def test_reasons_to_stop(nodes: list[Node], message: str) -> None:
    nodes = copy.deepcopy(nodes)
    for one in nodes:
        one["status"] = one["status"] or None
    with pytest.raises(ReplicationError) as raised:
        settle(nodes)
    problems = raised.value.details["problems"]
    assert len([problem for problem in problems if message in problem]) == 1, problems
    assert raised.value.message.startswith("Nothing was changed. ")


def test_every_reason_of_every_cluster_is_told() -> None:
    with pytest.raises(ReplicationError) as raised:
        settle([standby(), node("b1", "primary", cluster="b", has_password=False)])
    assert raised.value.message.startswith("Nothing was changed. 2 reasons: (1) pgtandem_replication_password")


@pytest.mark.parametrize(
    ("passwords", "fits"),
    [({}, True), ({"pg1": "a"}, True), ({"pg1": "a", "pg2": ""}, True), ({"pg1": "a", "pg2": "a"}, True)]
    + [({"pg1": "Zitrone", "pg2": "Falter"}, False)],
)
def test_one_password_for_all(passwords: dict[str, str], fits: bool) -> None:
    if fits:
        assert "Zitrone" not in str(settle([primary(), standby()], passwords))
        return
    with pytest.raises(ReplicationError, match="pgtandem_replication_password differs between pg1 and pg2") as raised:
        settle([primary(), standby()], passwords)
    assert not any(word in str(raised.value.result()) for word in passwords.values())


STARTS = [
    pytest.param(primary(), [standby()], id="nothing is there"),
    pytest.param(primary("empty"), [standby("incoming")], id="stopped half-way"),
    pytest.param(primary("incoming", ONE), [standby("absent")], id="stopped while the new cluster moved up"),
    pytest.param(primary("primary", ONE), [standby("absent")], id="a standby joins"),
    pytest.param(primary("primary", ONE), [standby("standby", ONE)], id="all is there"),
    pytest.param(primary("primary", ONE), [node("pg2", "standby", {})], id="a standby was not read"),
    pytest.param(
        node("pg1", "primary", seen("primary", ONE, database_error="FATAL: ja, gleich", database_sqlstate="57P03")), [],
        id="starting up",
    ),
    pytest.param(
        node("pg1", "primary", seen("absent", installed=False, host__psycopg=None)), [], id="to be installed"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("first", "others"), STARTS)
def test_states_to_go_on_from(first: Node, others: list[Node]) -> None:
    nodes = copy.deepcopy([first, *others])
    for one in nodes:
        one["status"] = one["status"] or None
    plans = settle(nodes)["nodes"]
    assert {name: plan["role"] for name, plan in plans.items()} == {
        one["name"]: "primary" if one is nodes[0] else "standby" for one in nodes
    }


def test_the_plan_of_a_cascade() -> None:
    nodes = [
        primary("primary", ONE, hba_rules=[{"user": "x", "address": "::1", "method": "md5"}]),
        standby("standby", ONE, upstream="pg1"),
        standby("standby", ONE, name="PG-3", upstream="pg2", slots=False, address="pg3.example.com", port=5433),
        standby("standby", ONE, name="pg4", upstream="PG-3"),
    ]
    nodes[0]["status"]["settings"] = {"max_connections": "300", "work_mem": "4MB"}
    found = settle(nodes)
    plans = found["nodes"]
    assert found["depth"] == 3 and found["notes"] == []
    assert {name: plan["level"] for name, plan in plans.items()} == {"pg1": 0, "pg2": 1, "PG-3": 2, "pg4": 3}
    assert {name: plan["downstream"] for name, plan in plans.items()} == {
        "pg1": ["pg2"], "pg2": ["PG-3"], "PG-3": ["pg4"], "pg4": [],
    }  # fmt: skip
    third = plans["PG-3"]
    assert third["upstream"] == {"name": "pg2", "host": "10.0.0.2", "port": 5432}
    assert (third["slot"], third["application_name"]) == ("", "PG-3")
    assert plans["pg2"]["downstream_slots"] == [] and plans["pg2"]["downstream_names"] == ["PG-3"]
    assert third["downstream_slots"] == ["pg4"]
    assert third["floors"] == {"max_connections": 300} and plans["pg1"]["floors"] == {}
    assert {plan["primary"] for plan in plans.values()} == {"pg1"}
    assert {plan["system_identifier"] for plan in plans.values()} == {ONE}
    assert {plan["senders"] for plan in plans.values()} == {7}
    # Ready for both roles: every node admits every node, itself included.
    addresses = ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.4/32", "pg3.example.com"]
    for plan in plans.values():
        assert [rule["address"] for rule in plan["hba_rules"] if rule.get("database") == "replication"] == addresses
    assert plans["pg1"]["hba_rules"][-1] == {"user": "x", "address": "::1", "method": "md5"}
    assert {"host": "pg3.example.com", "port": 5433} in plans["pg1"]["peers"]
    assert {"host": "pg3.example.com", "port": 5433} not in third["peers"]


def test_a_moved_primary_is_followed() -> None:
    found = settle(
        [
            primary("standby", ONE, on_role_change="follow"),
            standby("primary", ONE, upstream="pg1"),
            standby("standby", ONE, name="pg3", upstream="pg1"),
            standby("standby", ONE, name="pg4", upstream="pg3"),
        ]
    )
    assert {name: (plan["upstream"] or {}).get("name") for name, plan in found["nodes"].items()} == {
        "pg1": "pg2", "pg2": None, "pg3": "pg2", "pg4": "pg3",
    }  # fmt: skip
    assert found["notes"] == [
        "pg2 is the primary of cluster 'main' now; the run follows it. Exchange the hosts in the inventory."
    ]


def test_clusters_do_not_see_each_other() -> None:
    nodes = [primary(), standby(), node("b1", "primary", cluster="b"), node("b2", "standby", cluster="b")]
    nodes[2]["address"], nodes[3]["address"] = "10.1.0.1", "10.1.0.2"
    plans = settle(nodes)["nodes"]
    assert plans["b2"]["upstream"]["name"] == "b1" and plans["b2"]["cluster"] == "b"
    assert plans["pg1"]["peers"] == [{"host": "10.0.0.2", "port": 5432}]


STREAM = {"status": "streaming", "sender_port": 5432}


@pytest.mark.parametrize(
    ("receiver", "upstream", "words"),
    [
        (None, "pg1", "so pg4 follows pg1 meanwhile"),
        ({"status": "streaming", "sender_host": "10.0.0.2", "sender_port": 5432}, "pg2", "still feeds pg4"),
        (
            {"status": "streaming", "sender_host": "10.0.0.1", "sender_port": 5432},
            "pg1",
            "so pg4 follows pg1 meanwhile",
        ),
    ],
    ids=["no stream", "fed from there", "fed by the primary"],
)
def test_a_child_of_an_upstream_that_could_not_be_read(receiver: t.Any, upstream: str, words: str) -> None:
    nodes = [
        node("pg1", "primary", seen("primary", ONE)),
        dict(standby(), status=None),
        node("pg4", "standby", seen("standby", ONE, wal_receiver=receiver), upstream="pg2"),
    ]
    topology = settle(nodes)
    plan = topology["nodes"]["pg4"]
    assert plan["upstream"]["name"] == upstream and plan["unseen_upstream"] is (upstream == "pg2")
    assert [note for note in topology["notes"] if words in note], topology["notes"]


def test_followers_go_before_their_upstream_is_copied_anew() -> None:
    nodes = [
        node("pg1", "primary", seen("primary", ONE, role="primary", positions__current="0/5000000")),
        node("pg2", "standby", seen("standby", ONE), reseed=True, reseed_mode="copy"),
        node("pg3", "standby", seen("standby", ONE), upstream="pg2"),
        # Nothing of it is there yet, so it may well be copied from the copy.
        node("pg4", "standby", seen("absent"), upstream="pg2"),
    ]
    plans = settle(nodes)["nodes"]
    assert {name: (plan["upstream"] or {}).get("name") for name, plan in plans.items()} == {
        "pg1": None, "pg2": "pg1", "pg3": "pg1", "pg4": "pg2",
    }  # fmt: skip
    assert plans["pg3"]["level"] < plans["pg2"]["level"] < plans["pg4"]["level"]
    assert plans["pg1"]["downstream_slots"] == ["pg2", "pg3"]
    with pytest.raises(ReplicationError, match="pg3 follows it and is not in this run"):
        settle(nodes, in_run=["pg1", "pg2"])
