# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the first look takes for granted, and when it is the only one."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.assumption import assumed_plans, group_of
from nodes import Node, empty, host, receiver, seen, sender, slot


def cluster(**variables: t.Any) -> list[Node]:
    """A primary and two standbys, as the inventory has them."""
    return [host("pg1", "primary", **variables), host("pg2", **variables), host("pg3", **variables)]


def running(nodes: list[Node]) -> list[Node]:
    """They are what the inventory says, and each answered so."""
    assumed = assumed_plans("main", nodes)
    first, *others = nodes
    seen(
        first,
        "primary",
        wal_senders=[sender(node["name"], slot_name=node["name"]) for node in others],
        slots=[slot(node["name"]) for node in others],
    )
    for node in others:
        seen(
            node,
            "standby",
            wal_receiver=receiver("pg1", slot_name=node["name"]),
            upstream={"host": "10.0.0.1", "port": 5432},
        )
    for node in nodes:
        node["assumed"] = assumed.get(node["name"])
        node["answer"] = {
            "as_asked": True,
            "proven": True,
            "why": [],
            "floors": {"max_wal_senders": 10},
            "warnings": [],
        }
    return nodes


def is_settled(nodes: list[Node], in_run: t.Collection[str] | None = None) -> bool:
    plans = settle(nodes, {}, in_run=in_run)["nodes"]
    (answer,) = {plan["settled"] for plan in plans.values()}
    return bool(answer)


def test_nothing_is_left_to_do_where_every_host_is_as_assumed() -> None:
    assert is_settled(running(cluster()))


def test_each_host_is_asked_for_what_the_others_of_its_cluster_need() -> None:
    assumed = assumed_plans("main", cluster(parameters={"work_mem": "8MB"}))
    assert [plan["role"] for plan in assumed.values()] == ["primary", "standby", "standby"]
    assert assumed["pg1"]["followers"] == ["pg2", "pg3"] and assumed["pg1"]["downstream_slots"] == ["pg2", "pg3"]
    assert assumed["pg2"]["upstream"]["host"] == "10.0.0.1" and assumed["pg2"]["slot"] == "pg2"
    assert [place["name"] for place in assumed["pg3"]["reach"]] == ["pg1", "pg2"]


def answers(name: str, **more: t.Any) -> t.Callable[[list[Node]], None]:
    def change(nodes: list[Node]) -> None:
        next(node for node in nodes if node["name"] == name)["answer"].update(more)

    return change


def moved(nodes: list[Node]) -> None:
    """The primary is another one than the inventory's, and that is to be followed."""
    nodes[0]["status"], nodes[1]["status"] = nodes[1]["status"], nodes[0]["status"]
    for node in nodes:
        node["on_role_change"] = "follow"


def not_asked(nodes: list[Node]) -> None:
    nodes[2]["assumed"] = nodes[2]["answer"] = None


def asked_with_other_parameters(nodes: list[Node]) -> None:
    nodes[1]["assumed"] = {**nodes[1]["assumed"], "parameters": {"work_mem": "8MB"}}


def higher_on_the_primary(nodes: list[Node]) -> None:
    nodes[0]["status"]["settings"]["max_wal_senders"] = "20"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(answers("pg2", as_asked=False), id="a standby would change"),
        pytest.param(answers("pg1", as_asked=False), id="the primary would change"),
        pytest.param(answers("pg1", proven=False), id="not replayed everywhere"),
        pytest.param(answers("pg3", proven=False), id="a standby does not stream"),
        pytest.param(moved, id="another primary"),
        pytest.param(not_asked, id="a host that was not asked"),
        pytest.param(asked_with_other_parameters, id="asked for something else"),
        pytest.param(higher_on_the_primary, id="a standby's floors are out of date"),
    ],
)
def test_anything_else_takes_the_whole_run(change: t.Callable[[list[Node]], None]) -> None:
    nodes = running(cluster())
    change(nodes)
    assert not is_settled(nodes)


def test_a_host_that_the_run_leaves_out_takes_the_whole_run() -> None:
    assert not is_settled(running(cluster()), in_run={"pg1", "pg2"})


def test_commits_that_do_not_wait_yet_take_the_whole_run() -> None:
    nodes = running(cluster(synchronous={"mode": "any"}))
    wanted = settle(nodes, {})["nodes"]["pg1"]["synchronous"]["wanted"]
    assert wanted and not is_settled(nodes)
    nodes[0]["status"]["settings"]["synchronous_standby_names"] = wanted
    assert is_settled(nodes)


def test_a_new_host_takes_the_whole_run() -> None:
    nodes = running(cluster())
    empty(nodes[2])["answer"] = None
    assert not is_settled(nodes)


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(cluster(tls={"source": "managed"}), id="certificates"),
        pytest.param([host("pg1", "primary"), host("pg2", apply_delay="1h")], id="a standby that replays late"),
        pytest.param([host("pg2"), host("pg3")], id="no primary"),
        pytest.param([host("pg1", "primary"), host("pg2", "primary")], id="two primaries"),
        pytest.param([host("pg1", "primary"), host("pg2", upstream="pg9")], id="an inventory that the gate refuses"),
    ],
)
def test_nothing_is_assumed_of_what_one_look_cannot_judge(nodes: list[Node]) -> None:
    assert assumed_plans("main", nodes) == {}


def test_the_primary_of_a_cascade_writes_no_position_in_the_first_look() -> None:
    """Its own WAL senders would not tell of those that follow a standby."""
    assumed = assumed_plans("main", [host("pg1", "primary"), host("pg2"), host("pg3", upstream="pg2")])
    assert assumed["pg1"]["followers"] is None


@pytest.mark.parametrize(
    ("plan", "group"),
    [
        ({"role": "primary", "settled": True}, "settled"),
        ({"role": "primary"}, "primary"),
        ({"role": "standby"}, "standby"),
        ({"role": "standby", "later": True}, "later"),
        ({"role": "standby", "unseen_upstream": True, "settled": True}, "later"),
    ],
)
def test_a_host_joins_those_that_need_the_same(plan: dict[str, t.Any], group: str) -> None:
    assert group_of({"later": False, "unseen_upstream": False, "settled": False, **plan}) == group
