# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Slots that a change of roles leaves behind, and slots that are to be synchronised and are not: pure decisions.

A standby's slot on its upstream is the collection's own. What another program or a subscription has is known to its
owner alone, and does not exist on the new primary (manual, Logical Decoding Concepts).
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import slot_name
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import parse_conninfo
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node, leads

Row = t.Mapping[str, t.Any]


def slots_left_behind(nodes: t.Sequence[Node], old: Node | None, target: Node) -> list[Row]:
    """The slots of the old primary that the target does not have, but for those of the cluster's own hosts."""
    if old is None or not old["status"]:
        return []
    status = old["status"]
    own = {slot_name(node["name"]) for node in nodes}
    there = {
        slot["slot_name"]
        for slot in (target["status"] or {}).get("slots") or []
        if slot["slot_type"] == "physical" or (slot.get("synced") and not slot.get("temporary"))
    }
    return [
        slot
        for slot in status["slots"] or status.get("slots_on_disk") or []
        if not slot.get("temporary")
        and slot["slot_name"] not in there
        and not (slot["slot_type"] == "physical" and slot["slot_name"] in own)
    ]


def left_behind_note(nodes: t.Sequence[Node], old: Node | None, target: Node) -> str:
    """The same as a warning; empty where there are none."""
    found = slots_left_behind(nodes, old, target)
    if not found or old is None:
        return ""
    logical = [_described(slot) for slot in found if slot["slot_type"] == "logical"]
    physical = [_described(slot) for slot in found if slot["slot_type"] != "logical"]
    remedies = []
    if logical:
        remedies.append("Make logical ones anew there; their subscribers then begin at the position of that moment.")
    if physical:
        remedies.append("Point their program to the new primary and make its slot there.")
    return (
        f"Slots of {old['name']} that {target['name']} does not have stay behind: {', '.join([*logical, *physical])}. "
        f"Who uses them gets nothing from {target['name']}. {' '.join(remedies)} Drop them on {old['name']} "
        "afterwards, where they would keep WAL."
    )


def _described(slot: Row) -> str:
    text = f"{slot['slot_type']} {slot['slot_name']!r}"
    return f"{text} (database {slot['database']})" if slot.get("database") else text


def unmet_companions(node: Node, nodes: t.Sequence[Node]) -> list[str]:
    """Why C(sync_replication_slots) of a standby has no effect, as clauses; empty where it has, or is off."""
    settings = node["status"]["settings"]
    if settings.get("sync_replication_slots") != "on":
        return []
    try:
        options = parse_conninfo(settings.get("primary_conninfo") or "")
    except ReplicationError:
        options = {}
    found = []
    if not options.get("dbname"):
        found.append("primary_conninfo has no dbname")
    if not settings.get("primary_slot_name"):
        found.append("primary_slot_name is empty")
    if settings.get("hot_standby_feedback") != "on":
        found.append("hot_standby_feedback is off")
    for primary in nodes:
        if leads(primary) and primary["status"]["settings"].get("wal_level") not in (None, "logical"):
            found.append(f"wal_level of {primary['name']} is {primary['status']['settings']['wal_level']}")
    return found
