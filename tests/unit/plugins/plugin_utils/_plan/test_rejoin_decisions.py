# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What brings a host back, as a table."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.rejoin import (
    Asked,
    Return,
    left_slot,
    returning,
)
from nodes import Node, empty, history, host, receiver, seen

T2: dict[str, t.Any] = {"timeline": 2, "timeline_history": history(t1="0/5000000")}


def old(**changes: t.Any) -> Node:
    """pg1, the inventory's primary, which is down."""
    return seen(host("pg1", "primary", **changes.pop("variables", {})), "primary", **{"running": False, **changes})


def new(**changes: t.Any) -> Node:
    """pg2, which was promoted."""
    return seen(host("pg2"), "primary", **{**T2, **changes})


def third(**changes: t.Any) -> Node:
    """pg3, which follows pg2."""
    variables = changes.pop("variables", {})
    return seen(host("pg3", **variables), "standby", **{**T2, "wal_receiver": receiver("pg2"), **changes})


def ask(*names: str, **more: t.Any) -> Asked:
    return Asked(frozenset(names), **more)


def named(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {"variables": {"reseed": name, **more}}


OFF: dict[str, t.Any] = {
    "timeline": 1, "timeline_history": [], "wal_receiver": None, "positions": {"receive": "0/6000000"}
}  # fmt: skip
BEHIND: dict[str, t.Any] = {"wal_receiver": None, "positions": {"receive": "0/3000000", "replay": "0/3000000"}}
KEPT: dict[str, t.Any] = {"oldest_wal_lsn": "0/4000000"}


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        pytest.param([old(), new()], ask("pg1"), {"pg1": (False, False, "standby")}, id="an old primary"),
        pytest.param([old(), new()], ask(), {}, id="nobody asked"),
        pytest.param([old(running=True), new()], ask("pg1", stop=True), {"pg1": (False, False, "always")}, id="stop"),
        pytest.param([old(), new(), third()], ask("pg3"), {}, id="a sound standby"),
        pytest.param([old(), new(), third()], ask("pg1", "pg2", "pg3"), {"pg1": (False, False, "standby")}, id="all"),
        pytest.param(
            [old(), new(), third(**OFF)],
            ask("pg3"), {"pg3": (False, False, "standby")}, id="a diverged standby",
        ),
        pytest.param([old(), new(), empty(host("pg3"))], ask("pg3"), {}, id="nothing is there"),
        pytest.param([old(**named("pg1")), new()], ask(), {"pg1": (False, True, "standby")}, id="reseed it"),
        pytest.param([new(), third(**named("pg3"))], ask(), {}, id="reseed a sound standby"),
        pytest.param([new(), third(**named("pg9, pg3", reseed_mode="copy"))], ask(), {"pg3": (True, True, "standby")},
                     id="copy it in any case"),
        pytest.param([new(), third(**named("pg9", reseed_mode="copy"))], ask(), {}, id="another one is named"),
        pytest.param([new(**KEPT), third(**BEHIND, **named("pg3"))], ask(), {"pg3": (True, True, "standby")},
                     id="its WAL is gone"),
        pytest.param([new(**KEPT), third(**BEHIND, settings={"restore_command": "cp"}, **named("pg3"))], ask(), {},
                     id="an archive may have it"),
    ],
)  # fmt: skip
def test_who_comes_back(nodes: list[Node], asked: Asked, expected: dict[str, t.Any]) -> None:
    found = returning("main", nodes, asked)
    assert found.problems == []

    def told(one: Return) -> tuple[bool, bool, str]:
        return one.copy, one.reseed, one.stop

    assert {name: told(one) for name, one in found.hosts.items()} == expected


def test_a_copy_that_waits_for_its_proof_is_not_made_again() -> None:
    standby = third(**named("pg3", reseed_mode="copy"))
    for proven, hosts in ((False, set()), (True, {"pg3"})):
        standby["status"]["data_directory"]["set_aside"] = {"path": "/data.pgtandem-aside", "proven": proven}
        assert set(returning("main", [new(), standby], ask()).hosts) == hosts


@pytest.mark.parametrize(
    ("nodes", "asked", "problem"),
    [
        pytest.param([old(running=True), new()], ask("pg1"), "rejoin-running", id="it runs as a primary"),
        pytest.param([old(running=True, data_directory={"state": "standby"}), new()], ask("pg1"), "rejoin-running",
                     id="it runs as a primary and starts as a standby"),
        pytest.param([old(), new()], ask("pg2"), "rejoin-primary", id="it is the primary"),
        pytest.param([old(), third()], ask("pg3"), "rejoin-no-primary", id="nobody is"),
        pytest.param([old(running=True), new()], ask("pg1", "pg2"), "two-primaries", id="both are named"),
        pytest.param([old(running=True), new(), third()], ask("pg3"), "two-primaries", id="to which of them"),
        pytest.param([host("pg1", "primary"), new()], ask("pg1"), "rejoin-unread", id="not read"),
        pytest.param([old(), new(), host("pg3"), host("pg4"), host("pg5")], ask("pg1"), "no-quorum", id="few"),
        pytest.param([new(**KEPT), third(**BEHIND)], ask("pg3"), "wal-gone", id="its WAL is gone"),
        pytest.param([old(running=True, variables={"reseed": True})], ask(), "reseed-primary", id="reseed the primary"),
        pytest.param([old(**named("pg1")), third(**named("pg3")), new()], ask(), None, id="two are named"),
        pytest.param(
            [old(variables={"reseed": True}), third(variables={"reseed": True}), new()], ask(), "inventory-reseed",
            id="a true for all",
        ),
    ],
)  # fmt: skip
def test_what_stands_against_it(nodes: list[Node], asked: Asked, problem: str | None) -> None:
    assert [one.id for one in returning("main", nodes, asked).problems] == ([problem] if problem else [])


def test_the_gate_takes_them_for_the_standbys_that_they_will_be() -> None:
    nodes = [old(variables={"on_role_change": "follow"}, control={"state": "in production"}), new(), third()]
    with pytest.raises(ReplicationError, match="two primaries of system"):
        settle(nodes)
    plans = settle(nodes, asked=ask("pg1"))["nodes"]
    assert {name: plan["role"] for name, plan in plans.items()} == {
        "pg1": "standby",
        "pg2": "primary",
        "pg3": "standby",
    }
    assert plans["pg1"]["returning"]["source"] == {"name": "pg2", "host": "10.0.0.2", "port": 5432}
    assert plans["pg1"]["strange_slots"] == ["pg2", "pg3"] and plans["pg2"]["strange_slots"] == []
    assert plans["pg3"]["returning"] is None


def test_names_that_are_nobodys() -> None:
    with pytest.raises(ReplicationError, match="'pg7', which pgtandem_reseed names, is no host") as caught:
        settle([new(), third(variables={"reseed": ["pg7"]})], asked=ask("pg8"))
    assert "'pg8', which pgtandem_target names, is no host" in caught.value.message


def test_another_systems_directory_is_not_brought_back() -> None:
    foreign = third(system_identifier="1", **named("pg3", reseed_mode="copy"))
    assert returning("main", [new(), foreign], ask()).hosts == {}


def slot(name: str, **changes: t.Any) -> dict[str, t.Any]:
    return {"slot_name": name, "slot_type": "physical", "temporary": False, "active": False, **changes}


@pytest.mark.parametrize(
    ("slots", "wanted", "left"),
    [
        pytest.param([slot("pg3")], False, "pg3", id="its own"),
        pytest.param([slot("pg3", active=True)], False, "pg3", id="used until the run changes that"),
        pytest.param([slot("pg3")], True, "", id="it is to have one"),
        pytest.param([slot("archive"), slot("pg2")], False, "", id="others"),
        pytest.param([slot("pg3", slot_type="logical")], False, "", id="a subscription"),
        pytest.param([slot("pg3", temporary=True)], False, "", id="of a session"),
        pytest.param([], False, "", id="none"),
    ],
)
def test_the_slot_that_a_standby_left(slots: list[dict[str, t.Any]], wanted: bool, left: str) -> None:
    assert left_slot(third(variables={"slots": wanted}), new(slots=slots)) == left


def test_a_slot_is_left_on_an_upstream_that_was_read() -> None:
    assert left_slot(third(variables={"slots": False}), host("pg2")) == ""
    assert left_slot(new(variables={"slots": False}), None) == ""
