# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A cluster as a change of roles will leave it, and what the gate will say of it then: pure decisions.

A change of roles ends with what site.yml does, behind the same gate. What would stop that is looked for before the
first step, so that no run swaps the roles and then stops with standbys that follow nobody.
"""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import latest_lsn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    leads,
    state_of,
    system_of,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.timelines import reached
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.rejoin import Asked, as_standby


def as_primary(node: Node, position: str | None = None) -> Node:
    """A standby as it will be after its promotion, at a later position than it was read at where that is known."""
    node = copy.deepcopy(node)
    status = node["status"]
    position = latest_lsn(position, reached(status)) or "0/1"
    if status["timeline"] is not None and status["timeline_history"] is not None:
        status["timeline_history"].append({"timeline": status["timeline"], "lsn": position, "reason": ""})
        status["timeline"] += 1
    status.update(role="primary", running=True, wal_receiver=None, upstream=None, stale_settings=[])
    status["data_directory"].update(state="primary", signal_files=[])
    status["positions"].update(current=position)
    return node


def _last_position(nodes: t.Iterable[Node], target: str) -> str | None:
    """How far any host was on the target's timeline. Hosts are read one after the other, while the primary writes."""
    seen = {node["name"]: node for node in nodes if node["status"]}
    if target not in seen:
        return None
    timeline, system = seen[target]["status"]["timeline"], system_of(seen[target])
    return latest_lsn(
        *(
            reached(node["status"])
            for node in seen.values()
            if node["status"]["timeline"] == timeline and system_of(node) == system
        )
    )


def _as_left(node: Node, target: str, back: t.Container[str], position: str | None) -> Node:
    """A host when the target is the primary."""
    if node["name"] == target:
        node = node if leads(node) else as_primary(node, position)
    elif node["status"] and state_of(node) in ("primary", "standby") and node["name"] in back:
        node = as_standby(node)
    return dict(node, on_role_change="follow")


def problems_after(
    nodes: t.Sequence[Node],
    target: str,
    back: t.Collection[str],
    *,
    passwords: t.Mapping[str, str] | None = None,
    dead: t.Collection[str] = (),
    gets_all: bool = False,
    more: t.Sequence[Problem] = (),
) -> list[Problem]:
    """What will stop the end of a change of roles of one cluster, after which C(back) follow the target or wait to.

    C(gets_all): the target is promoted only once it has all WAL of the primary, so it leaves the timeline behind
    everything that any host was read with.
    """
    position = _last_position(nodes, target) if gets_all else None
    future = [_as_left(node, target, back, position) for node in nodes]
    try:
        settle(future, passwords, asked=Asked(dead=frozenset(dead)), more=more)
    except ReplicationError as error:
        return [
            Problem(one["id"], tuple(one["hosts"]), one["evidence"], one["remedy"]) for one in error.details["reasons"]
        ]
    return []
