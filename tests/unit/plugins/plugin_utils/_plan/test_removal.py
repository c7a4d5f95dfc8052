# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may leave, as a table."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.rejoin import Asked
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.removal import left_slots, removal_problems
from nodes import Node, host, receiver, seen, sender

NAMED = {"synchronous_standby_names": "FIRST 1 (pg3)"}


def primary(**variables: object) -> Node:
    return seen(host("pg1", "primary", **variables), "primary", wal_senders=[sender("pg2"), sender("pg3")])


def standby(name: str, **variables: object) -> Node:
    return seen(host(name, **variables), "standby", wal_receiver=receiver("pg1"))


@pytest.mark.parametrize(
    ("nodes", "leaving", "expected"),
    [
        pytest.param([primary(), standby("pg2"), standby("pg3")], "pg3", [], id="a standby"),
        pytest.param([primary(), standby("pg2"), host("pg3")], "pg3", [], id="a dead one"),
        pytest.param([primary(), standby("pg2")], "pg1", ["remove-primary"], id="the primary"),
        pytest.param([host("pg1", "primary"), standby("pg2")], "pg1", ["remove-primary"], id="a dead primary"),
        pytest.param([primary(), standby("pg2"), standby("pg3", upstream="pg2")], "pg2", ["remove-upstream"],
                     id="one that others follow"),
        pytest.param([primary(), standby("pg2"), standby("pg3", upstream="pg2")], "pg2 pg3", [], id="with those"),
        pytest.param([primary(parameters=NAMED), standby("pg3")], "pg3", ["remove-synchronous"], id="waited for"),
    ],
)  # fmt: skip
def test_who_may_leave(nodes: list[Node], leaving: str, expected: list[str]) -> None:
    assert [one.id for one in removal_problems("main", nodes, leaving.split())] == expected


def test_the_slots_that_they_leave() -> None:
    nodes = [primary(), standby("pg2"), standby("PG-3"), host("pg4", cluster="other")]
    assert left_slots("main", nodes, ["PG-3", "pg4"]) == ["pg_3"]
    topology = settle(nodes[:3], asked=Asked(leaving=frozenset(["PG-3"])))
    assert topology["clusters"]["main"]["left_slots"] == ["pg_3"]
    assert sorted(topology["nodes"]) == ["pg1", "pg2"]
