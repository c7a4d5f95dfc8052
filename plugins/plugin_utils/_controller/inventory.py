# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Every host of the two groups as the plugins on the controller see it: read in this run, or from the inventory."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import with_positions
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import defaults, node_from


def members(task_vars: t.Mapping[str, t.Any], template: t.Callable[[t.Any], t.Any]) -> list[str]:
    """The names of the hosts in the groups of primaries and standbys."""
    filled = defaults()
    names: list[str] = []
    for key in ("pgtandem_primary_group", "pgtandem_standby_group"):
        group = template(task_vars.get(key, filled[key]))
        names += [name for name in task_vars["groups"].get(group, []) if name not in names]
    return names


def read_node(variables: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
    """Return what pg_node returned for a host; None where it did not run there, or failed before it read anything."""
    node = variables.get("pgtandem_node")
    return node if node and "name" in node else None


def cluster_of(name: str, task_vars: t.Mapping[str, t.Any], template: t.Callable[[t.Any], t.Any]) -> str:
    """The cluster of a host: as it was read, or as its variables or those of the play say."""
    variables = task_vars["hostvars"][name]
    node = read_node(variables)
    if node:
        return str(node["cluster"])
    key = "pgtandem_cluster"
    if key in variables:
        return str(variables[key])
    mine = task_vars["hostvars"][task_vars["inventory_hostname"]]
    # What a play or a role's caller says is nobody's variable in the inventory, and counts for every host.
    given = task_vars[key] if key in task_vars and key not in mine else defaults()[key]
    return str(template(given))


def absent(
    task_vars: t.Mapping[str, t.Any], template: t.Callable[[t.Any], t.Any], skip: t.Container[str] = ()
) -> list[str]:
    """The hosts of this run's clusters that were not read in it: those outside of the play, and those of it that are
    new to it."""
    in_play = task_vars.get("ansible_play_hosts_all") or []
    alive = task_vars.get("ansible_play_hosts") or []
    names = members(task_vars, template)
    clusters = {name: cluster_of(name, task_vars, template) for name in names}
    own = {clusters[name] for name in names if name in in_play}
    hostvars = task_vars["hostvars"]
    return [
        name
        for name in names
        if (clusters[name] in own or not own)
        and ((name not in in_play and name not in skip) or (name in alive and read_node(hostvars[name]) is None))
    ]


def gather(
    task_vars: t.Mapping[str, t.Any],
    template: t.Callable[[t.Any], t.Any],
    others: t.Iterable[t.Mapping[str, t.Any]] = (),
) -> list[dict[str, t.Any]]:
    """Each host as a node. C(others) are results of pg_node for hosts that are not part of the play."""
    read, reasons = {}, {}
    for answer in others:
        if "name" in answer:
            read[answer["name"]] = answer
        else:
            reasons[answer.get("item")] = answer.get("msg")
    nodes = []
    for name in members(task_vars, template):
        variables = task_vars["hostvars"][name]
        node = read_node(variables) or read.get(name)
        if node is None:
            node = node_from(name, variables.get, task_vars["groups"])
            reason = variables.get("pgtandem_unread_reason") or reasons.get(name)
            node["unread_reason"] = " ".join(str(reason).split()) if reason else None
        nodes.append({**node, "status": with_positions(node["status"])})
    return nodes
