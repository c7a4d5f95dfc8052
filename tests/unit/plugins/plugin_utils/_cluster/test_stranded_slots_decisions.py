# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.stranded_slots import (
    left_behind_note,
    slots_left_behind,
    unmet_companions,
)
from nodes import Node, host, seen, slot


def pair(old: list[dict[str, t.Any]], new: list[dict[str, t.Any]]) -> list[Node]:
    return [seen(host("pg1", "primary"), "primary", slots=old), seen(host("pg2"), "standby", slots=new)]


LOGICAL = {"slot_type": "logical", "database": "app"}
UNFINISHED = {**LOGICAL, "temporary": True}


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        pytest.param([slot("pg2"), slot("barman")], [], ["barman"], id="of-another-program"),
        pytest.param([slot("barman")], [slot("barman")], [], id="made-there-already"),
        pytest.param([slot("pg2", **LOGICAL)], [], ["pg2"], id="logical-with-a-hosts-name"),
        pytest.param([slot("sub", **LOGICAL)], [slot("sub", synced=True, **LOGICAL)], [], id="synchronised"),
        pytest.param(
            [slot("sub", **LOGICAL)],
            [slot("sub", synced=True, **UNFINISHED)],
            ["sub"],
            id="not-yet",
        ),
        pytest.param([slot("backup", temporary=True)], [], [], id="temporary"),
    ],
)
def test_what_stays_behind(old: list[dict[str, t.Any]], new: list[dict[str, t.Any]], left: list[str]) -> None:
    nodes = pair(old, new)
    assert [one["slot_name"] for one in slots_left_behind(nodes, nodes[0], nodes[1])] == left
    assert all(name in left_behind_note(nodes, nodes[0], nodes[1]) for name in left)


def test_a_primary_that_was_not_read_has_none() -> None:
    nodes = [host("pg1", "primary"), seen(host("pg2"), "standby")]
    assert left_behind_note(nodes, nodes[0], nodes[1]) == ""


def test_what_synchronisation_lacks() -> None:
    nodes = pair([], [])
    assert unmet_companions(nodes[1], nodes) == []
    nodes[1]["status"]["settings"].update(sync_replication_slots="on", primary_conninfo="host=10.0.0.1", wal_level="x")
    assert len(unmet_companions(nodes[1], nodes)) == 4
    nodes[1]["status"]["settings"].update(
        primary_conninfo="host=10.0.0.1 dbname=postgres", primary_slot_name="pg2", hot_standby_feedback="on"
    )
    nodes[0]["status"]["settings"]["wal_level"] = "logical"
    assert unmet_companions(nodes[1], nodes) == []
