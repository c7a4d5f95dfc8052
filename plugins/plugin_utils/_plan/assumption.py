# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What the first look at a host takes for granted, and whether the plan bears it out. Pure.

On a quiet run the first look is the only one: it is told what each host has to be if roles are as the inventory has
them, and answers whether that is so. The gate then plans from what was read. Where a cluster's plan asks of every host
what the look had asked, and every host answered that all is so, nothing is left to do there. Everywhere else the look
was an ordinary look.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.host_plan import (
    levels_of,
    plan_of,
    upstream_of,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.inventory_checks import inventory_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.primary import Roles
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.arguments import PLANNED
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.parameter_order import NOTHING, Order
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.synchronous import synchronous_of

Plan = t.Mapping[str, t.Any]

#: Where no major is named, one whose defaults are those of most servers.
_USUAL_MAJOR = "17"


def assumed_plans(cluster: str, nodes: t.Sequence[Node]) -> dict[str, dict[str, t.Any]]:
    """Return what each host of a cluster has to be if the inventory is right, as far as `PLANNED` goes.

    `followers` are the names of all other hosts where every one of them follows the primary itself, else None. Empty
    where the cluster is of a kind that one look is not enough for: certificates, standbys that replay late on purpose,
    or an inventory with problems, which the gate reports.
    """
    known = [_as_usual(node) for node in nodes]
    primary = next((node for node in known if "primary" in node["groups"]), None)
    if primary is None or inventory_problems(cluster, known, {}):
        return {}
    if any(node["tls"] or node["apply_delay"] for node in known):
        return {}
    names = {node["name"]: node for node in known}
    roles = Roles(primary, False)
    upstreams = {
        node["name"]: None if node is primary else t.cast(str, upstream_of(node, roles, names)["name"])
        for node in known
    }
    levels = levels_of(upstreams)
    try:
        waits = synchronous_of(cluster, primary, None, known, upstreams)
        if waits.wanted is not None:
            waits = waits._replace(primary={"synchronous_standby_names": waits.wanted})
        plans = {node["name"]: plan_of(node, known, upstreams, levels, NOTHING, waits) for node in known}
    except ReplicationError:
        return {}
    direct = plans[primary["name"]]["downstream"]
    return {
        name: {
            **{key: plan[key] for key in PLANNED},
            "followers": plan["downstream_names"] if len(direct) == len(known) - 1 else None,
            "reach": [other["place"] for other in plans.values() if other is not plan],
        }
        for name, plan in plans.items()
    }


def _as_usual(node: Node) -> Node:
    options = node["options"]
    return {**node, "status": None, "options": {**options, "version": options["version"] or _USUAL_MAJOR}}


def is_settled(nodes: t.Sequence[Node], plans: t.Mapping[str, Plan], order: Order, run: t.Container[str]) -> bool:
    """Return whether nothing is left to do for a cluster, and that is proven."""
    return not order.steps and all(
        node["name"] in run and node["name"] in plans and _is_as_planned(node, plans[node["name"]]) for node in nodes
    )


def group_of(plan: Plan) -> str:
    """Return what the rest of a run makes of a host: its role, `settled`, or `later` where it is left alone: a server
    that is shutting down, and one that is fed by a host that could not be read."""
    if plan["later"] or plan["unseen_upstream"]:
        return "later"
    return "settled" if plan["settled"] else str(plan["role"])


def _is_as_planned(node: Node, plan: Plan) -> bool:
    assumed, answer, status = node.get("assumed"), node.get("answer"), node["status"]
    if not (assumed and answer and status and answer["as_asked"] and answer["proven"]):
        return False
    if any(assumed[key] != plan[key] for key in PLANNED):
        return False
    if plan["returning"] or plan["later"] or plan["reseed"] or plan["left_slot"] or plan["unseen_upstream"]:
        return False
    # A standby was judged with what its own control file holds of its primary's parameters.
    floors, waits = answer["floors"], plan["synchronous"]
    return all(floors.get(name, -1) >= value for name, value in plan["floors"].items()) and (
        waits.get("wanted") is None or waits["wanted"] == waits["before"]
    )
