# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who takes over from a dead primary, as a table."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.failover import (
    Failover,
    Wish,
    takeover,
    takeovers,
    who_reached,
)
from nodes import Node, empty, history, host, receiver, seen

WHERE = {"host": "10.0.0.1", "port": 5432}


def dead() -> Node:
    return dict(host("pg1", "primary"), unread_reason="No route to host")


def down(state: str = "in production", lsn: str = "0/5000000") -> Node:
    """The host answers, the server does not run."""
    control = {"state": state, "checkpoint_lsn": lsn, "block_size": 8192}
    return seen(host("pg1", "primary"), "primary", running=False, control=control)


def standby(name: str, lsn: str = "0/5000000", **changes: t.Any) -> Node:
    variables = changes.pop("variables", {})
    values: dict[str, t.Any] = {"positions": {"receive": lsn, "replay": lsn}, "upstream": WHERE}
    return seen(host(name, **variables), "standby", **{**values, **changes})


def promoted(name: str) -> Node:
    return seen(host(name), "primary", timeline=2, timeline_history=history(t1="0/5000000"))


MORE = "0/5000100"


def marked(name: str) -> Node:
    """A running primary that a switchover has marked as the standby that it is to be."""
    node = seen(host(name, "primary"), "primary")
    node["status"]["data_directory"].update(state="standby", signal_files=["standby.signal"])
    return node


@pytest.mark.parametrize(
    ("nodes", "wish", "target", "lost", "exact"),
    [
        pytest.param([dead(), standby("pg2")], Wish(), "pg2", 0, False, id="one standby"),
        pytest.param([dead(), standby("pg2"), standby("pg3", MORE)], Wish(), "pg3", 0, False, id="the most WAL"),
        pytest.param(
            [dead(), standby("pg2", MORE), standby("pg3", timeline=2)], Wish(), "pg3", 256, False, id="newest timeline"
        ),
        pytest.param(
            [dead(), standby("pg2", settings={"recovery_min_apply_delay": "3600000"}), standby("pg3")], Wish(),
            "pg3", 0, False, id="of equals the one without delay",
        ),
        pytest.param(
            [dead(), standby("pg2", wal_receiver=receiver("pg1", latest_end_lsn=MORE))], Wish(), "pg2", 256, False,
            id="the primary told of more",
        ),
        pytest.param([down("shut down"), standby("pg2", MORE)], Wish(), "pg2", 0, True, id="shut down in order"),
        pytest.param([down(), standby("pg2")], Wish(), "pg2", 0, False, id="killed"),
        pytest.param(
            [dead(), standby("pg2"), standby("pg3", MORE)], Wish("pg2", accept_loss=True), "pg2", 256, False,
            id="named, with less",
        ),
        pytest.param([dead(), standby("pg2")], Wish(answering=frozenset({"pg2"}), fenced=True), "pg2", 0, False,
                     id="fenced"),
        pytest.param([dead(), standby("pg2"), host("pg3"), standby("pg4")], Wish(), "pg2", 0, False,
                     id="one standby was not read"),
        pytest.param(
            [seen(host("pg1", "primary"), "primary"), standby("pg2")], Wish(will_fence=True), "pg2", 0, False,
            id="to be fenced",
        ),
    ],
)  # fmt: skip
def test_who_takes_over(nodes: list[Node], wish: Wish, target: str, lost: int, exact: bool) -> None:
    found = takeover("main", nodes, wish)
    assert isinstance(found, Failover), found
    assert (found.target["name"], found.lost, found.exact, found.done) == (target, lost, exact, False)
    assert found.old is not None and found.old["name"] == "pg1"


def test_a_standby_takes_over_where_the_primary_lost_its_data() -> None:
    found = takeover("main", [empty(host("pg1", "primary")), standby("pg2")], Wish())
    assert isinstance(found, Failover) and found.target["name"] == "pg2" and not found.done


def test_what_an_earlier_run_promoted_is_gone_on_with() -> None:
    for wish in (Wish(), Wish("pg2")):
        found = takeover("main", [dead(), promoted("pg2"), standby("pg3")], wish)
        assert isinstance(found, Failover) and found.done and found.target["name"] == "pg2"


def test_the_inventorys_primary_that_was_promoted_again_is_gone_on_with_by_the_note_of_it() -> None:
    """Roles have changed twice, and the inventory is as it was."""
    back = promoted("pg1")
    back["groups"] = ["primary"]
    nodes = [back, dict(host("pg2"), unread_reason="gone"), standby("pg3")]
    assert isinstance(takeover("main", nodes, Wish()), list)
    back["status"]["data_directory"]["claim"] = {"target": "pg1", "timeline": 1}
    found = takeover("main", nodes, Wish())
    assert isinstance(found, Failover) and found.done
    # Named and fenced, another one may follow it all the same.
    found = takeover("main", nodes, Wish("pg3", will_fence=True))
    assert isinstance(found, Failover) and not found.done and found.target["name"] == "pg3"
    assert isinstance(takeover("main", [dead(), promoted("pg2"), standby("pg3")], Wish("pg3", will_fence=True)), list)
    back["status"]["data_directory"]["claim"] = {"target": "pg1", "timeline": 0}
    assert isinstance(takeover("main", nodes, Wish()), list)


def test_nobody_is_promoted_beside_a_host_that_an_earlier_run_may_have_promoted() -> None:
    """It was cut short behind the promotion of pg2, whose host cannot be reached now; pg1 is the primary before."""
    nodes = [dead(), host("pg2"), standby("pg3"), standby("pg4")]
    nodes[1]["unread_reason"] = "no route to host"
    assert isinstance(takeover("main", nodes, Wish()), Failover)
    system = nodes[3]["status"]["system_identifier"]
    noted = {"target": "pg2", "timeline": nodes[2]["status"]["timeline"], "system_identifier": system}
    nodes[3]["status"]["data_directory"]["claim"] = noted
    for wish in (Wish(), Wish("pg3"), Wish(fenced=True), Wish(accept_loss=True)):
        answer = takeover("main", nodes, wish)
        assert isinstance(answer, list) and [one.id for one in answer] == ["promotion-noted"]
    # The primary before has come back, and a fence of it would change nothing.
    back = seen(host("pg1", "primary"), "primary")
    follower = standby("pg3", upstream={"host": "10.0.0.2", "port": 5432}, timeline=2)
    answer = takeover("main", [back, nodes[1], follower], Wish(will_fence=True))
    assert isinstance(answer, list) and [one.id for one in answer] == ["primary-unread"]
    for stale in (dict(noted, timeline=0), dict(noted, system_identifier="7")):
        nodes[3]["status"]["data_directory"]["claim"] = stale
        assert isinstance(takeover("main", nodes, Wish()), Failover)


@pytest.mark.parametrize(
    ("nodes", "wish", "problem"),
    [
        pytest.param([seen(host("pg1", "primary"), "primary"), standby("pg2")], Wish(), "primary-answers", id="lives"),
        pytest.param(
            [seen(host("pg1", "primary"), "primary"), standby("pg2")], Wish(fenced=True), "primary-answers",
            id="the fence did nothing",
        ),
        pytest.param([marked("pg1"), standby("pg2")], Wish("pg2"), "primary-answers", id="a standby at its next start"),
        pytest.param([dead(), standby("pg2")], Wish(answering=frozenset({"pg2"})), "primary-answers", id="for others"),
        pytest.param([dead(), standby("pg2"), host("pg3")], Wish(), "no-quorum", id="a minority"),
        pytest.param([dead(), standby("pg2"), standby("pg3", MORE)], Wish("pg2"), "less-wal", id="named, with less"),
        pytest.param([down("shut down", MORE), standby("pg2")], Wish(), "less-wal", id="the old one has more"),
        pytest.param([dead(), standby("pg2", running=False)], Wish(), "no-standby", id="its standby is down"),
        pytest.param([dead(), standby("pg2"), standby("pg3", running=False)], Wish("pg3"), "no-standby", id="named"),
        pytest.param([dead(), standby("pg2")], Wish("pg9"), "inventory-unknown-host", id="unknown"),
        pytest.param([dead(), promoted("pg2"), standby("pg3")], Wish("pg3"), "primary-answers", id="done for another"),
        pytest.param([dead(), promoted("pg2"), promoted("pg3")], Wish(), "two-primaries", id="two already"),
    ],
)  # fmt: skip
def test_why_nobody_does(nodes: list[Node], wish: Wish, problem: str) -> None:
    found = takeover("main", nodes, wish)
    assert isinstance(found, list) and [one.id for one in found] == [problem], found


@pytest.mark.parametrize(
    ("said", "gone", "hidden"),
    [
        pytest.param({}, ["pg4"], False, id="nobody is waited for"),
        pytest.param({"mode": "any"}, [], False, id="all are there"),
        pytest.param({"mode": "any"}, ["pg4"], True, id="it may have the last commit alone"),
        pytest.param({"mode": "any", "count": 2}, ["pg4"], False, id="another one has it too"),
        pytest.param({"mode": "first", "standbys": ["pg2", "pg3"]}, ["pg4"], False, id="it is not in the list"),
        pytest.param({"mode": "first", "standbys": ["pg2", "pg3"]}, ["pg3"], True, id="it is"),
    ],
)
def test_what_only_an_unread_host_may_have(said: dict[str, object], gone: list[str], hidden: bool) -> None:
    names = ("pg2", "pg3", "pg4")
    nodes = [dead(), *(host(name) if name in gone else standby(name) for name in names)]
    for node in nodes:
        node["synchronous"] = said
    found = takeover("main", nodes, Wish())
    assert isinstance(found, list) == hidden, found
    if isinstance(found, list):
        assert [one.id for one in found] == ["less-wal"] and gone[0] in found[0].evidence
        assert isinstance(takeover("main", nodes, Wish(accept_loss=True)), Failover)
        below = [dict(node, upstream="pg2") if node["name"] == gone[0] else node for node in nodes]
        assert isinstance(takeover("main", below, Wish()), list) == bool(said.get("standbys"))
        nodes[names.index(gone[0]) + 1] = dict(standby(gone[0], running=False), synchronous=said)
        found = takeover("main", nodes, Wish())
        assert isinstance(found, list) and "does not run" in found[0].evidence


def test_slots_and_who_has_to_come_back() -> None:
    nodes = [down(), standby("pg2"), standby("pg3", MORE), standby("pg4", variables={"upstream": "pg3"})]
    found = takeover("main", nodes, Wish("pg2", accept_loss=True))
    assert isinstance(found, Failover)
    assert found.slots == ("pg1", "pg3")
    assert found.claims == ("pg1", "pg2", "pg3", "pg4")
    assert found.as_result()["returning"] == ["pg1", "pg3"]
    assert "at least 256 bytes" in found.told()


def test_a_healthy_cluster_beside_one_that_needs_it_is_left_alone() -> None:
    healthy = [seen(host("pg5", "primary"), "primary"), standby("pg6")]
    found, problems = takeovers({"main": [dead(), standby("pg2")], "other": healthy}, Wish())
    assert [one.cluster for one in found] == ["main"] and problems == {}
    found, problems = takeovers({"main": healthy, "other": healthy}, Wish())
    assert found == [] and {one.id for reasons in problems.values() for one in reasons} == {"primary-answers"}


def test_a_primary_of_before_is_not_the_one_that_is_out_of_sight() -> None:
    """pg1 was replaced by pg2 and never came back; now pg2 is out of sight and may live."""
    forks = history(t1="0/4000000")
    nodes = [
        seen(host("pg1", "primary"), "primary", running=False, control={"state": "shut down"}),
        host("pg2"),
        standby("pg3", timeline=2, timeline_history=forks, upstream={"host": "10.0.0.2", "port": 5432}),
    ]
    answer = takeover("main", nodes, Wish(answering=frozenset({"pg3"})))
    assert not isinstance(answer, Failover) and [one.id for one in answer] == ["primary-answers"]
    assert answer[0].hosts == ("pg2",)
    answer = takeover("main", nodes, Wish())
    assert isinstance(answer, Failover) and answer.old is nodes[1]
    # It comes back with this run.
    assert answer.as_result()["returning"] == ["pg1"]


def test_who_reached_the_old_primary_is_known_from_what_was_read() -> None:
    row = {"name": "pg1", "host": "10.0.0.1", "port": 5432, "reason": "Connection timed out"}
    nodes = [
        dead(),
        standby("pg2", unreached=[row]),
        standby("pg3", unreached=[{**row, "name": "pg2"}]),
        standby("pg4"),
    ]
    assert who_reached(nodes) == {"pg3"}
    assert who_reached([standby("pg2", unreached=[])]) == set()
