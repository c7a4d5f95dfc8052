# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a run makes of each host: its role, its upstream, its rules. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import peer_address
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import application_name, slot_name
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import (
    milliseconds,
    recovery_settings,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    follows,
    runs,
    state_of,
    system_of,
    why_unread,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.upstream_login import login_options
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.inventory_checks import senders_needed
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.primary import Roles
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.parameter_order import Order
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.rejoin import left_slot, reseeds, strange_slots
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.synchronous import Synchronous
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.policy import (
    connection_options,
    ident_rules,
    secured,
    tls_plan,
)


def upstream_of(node: Node, roles: Roles, names: t.Mapping[str, Node]) -> Node:
    """Whom a standby follows. Where the primary moved, the old one takes the new one's place and what followed the
    old one by name follows the new."""
    if node["upstream"] and node is not roles.primary:
        wanted = names[node["upstream"]]
        if not (roles.moved and "primary" in wanted["groups"]):
            leads_on = _leads_on(node, wanted) and not follows_replaced(node, roles)
            return wanted if leads_on else _above(wanted, roles, names, {wanted["name"]})
    return roles.primary


def follows_replaced(node: Node, roles: Roles) -> bool:
    """Whether a host that holds data follows one that is copied anew, and is not itself."""
    return node["upstream"] in roles.replaced and node["name"] not in roles.replaced and state_of(node) == "standby"


def _leads_on(node: Node, upstream: Node) -> bool:
    """Whether a host may follow another one: that was read, or feeds it right now."""
    return node["status"] is None or upstream["status"] is not None or follows(node, upstream)


def _above(lost: Node, roles: Roles, names: t.Mapping[str, Node], seen: set[str]) -> Node:
    """Whom the followers of a host that could not be read follow meanwhile: its own upstream, as the inventory says."""
    above = names.get(lost["upstream"]) or roles.primary
    if above is roles.primary or (roles.moved and "primary" in above["groups"]) or above["name"] in seen:
        return roles.primary
    in_sight = above["status"] is not None and above["name"] not in roles.replaced
    return above if in_sight else _above(above, roles, names, seen | {above["name"]})


def leaving_first(nodes: t.Sequence[Node], roles: Roles, upstreams: t.Mapping[str, str | None]) -> dict[str, list[str]]:
    """For each host that is copied anew those that follow another one before."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        if follows_replaced(node, roles) and upstreams[node["name"]] != node["upstream"]:
            found.setdefault(node["upstream"], []).append(node["name"])
    return found


def upstream_notes(nodes: t.Sequence[Node], roles: Roles) -> list[Problem]:
    """Standbys whose upstream of the inventory could not be read: those that it feeds stay, the others go above it."""
    names = {node["name"]: node for node in nodes}
    found = []
    for node in nodes:
        wanted = names.get(node["upstream"])
        if wanted is None or wanted["status"] is not None or node["status"] is None or node is roles.primary:
            continue
        name, upstream = node["name"], upstream_of(node, roles, names)
        if upstream is wanted:
            what = f"and still feeds {name}, which is left as it is"
            remedy = f"Make {wanted['name']} reachable and run again."
        else:
            what = f"so {name} follows {upstream['name']} meanwhile"
            remedy = f"Run site.yml when {wanted['name']} is back, or name another pgtandem_upstream."
        found.append(Problem("upstream-unread", (name,), f"{why_unread(wanted)}, {what}.", remedy))
    return found


def levels_of(
    upstreams: t.Mapping[str, str | None], after: t.Mapping[str, t.Sequence[str]] | None = None
) -> dict[str, int]:
    """In which order hosts are set up: each after its upstream, and after those that have to go before it."""
    levels: dict[str, int] = {}

    def level(name: str, hops: int = 0) -> int:
        upstream = upstreams[name]
        if upstream is None or hops > len(upstreams):
            return 0
        before = [upstream, *(after or {}).get(name, ())]
        return levels.setdefault(name, 1 + max(level(other, hops + 1) for other in before))

    return {name: level(name) for name in upstreams}


def plan_of(
    node: Node,
    nodes: t.Sequence[Node],
    upstreams: t.Mapping[str, str | None],
    levels: t.Mapping[str, int],
    order: Order,
    waits: Synchronous,
) -> dict[str, t.Any]:
    level = levels[node["name"]]
    raises = list(order.raises)
    turn = raises.index(node["name"]) if node["name"] in raises else None
    names = {other["name"]: other for other in nodes}
    upstream = names[t.cast(str, upstreams[node["name"]])] if upstreams[node["name"]] else None
    downstream = sorted(name for name, above in upstreams.items() if above == node["name"])
    addresses = sorted({peer_address(other["address"]) for other in nodes})
    primary = next(name for name, above in upstreams.items() if above is None)
    rules: list[dict[str, t.Any]] = [
        {"database": "replication", "user": node["replication_user"], "address": address, "method": "auto"}
        for address in addresses
    ]
    # pg_rewind logs in to a database, for which the rule above does not count.
    rules += [dict(rule, database=node["login_db"]) for rule in rules]
    return {
        "cluster": node["cluster"],
        "role": "standby" if upstream else "primary",
        "level": level,
        "address": node["address"],
        "port": node["port"],
        "place": {"name": node["name"], "host": node["address"], "port": node["port"]},
        "application_name": application_name(node["name"]),
        "slot": slot_name(node["name"]) if node["slots"] else "",
        "upstream": {"name": upstream["name"], "host": upstream["address"], "port": upstream["port"]}
        if upstream
        else None,
        "primary": primary,
        "downstream": downstream,
        "downstream_names": [application_name(name) for name in downstream],
        "downstream_slots": [slot_name(name) for name in downstream if names[name]["slots"]],
        "strange_slots": strange_slots(node, nodes, downstream),
        "left_slot": left_slot(node, upstream),
        # Set where the host has to come back first.
        "returning": None,
        # Set where the server is shutting down, so that this run goes on without it.
        "later": False,
        # Set where its upstream could not be read and feeds it: what is configured there nobody can see.
        "unseen_upstream": upstream is not None and upstream["status"] is None and node["status"] is not None,
        "reseed": bool(upstream) and reseeds(node),
        "hba_rules": secured(rules, node) + list(node["hba_rules"]),
        "ident_rules": ident_rules(node, nodes),
        "tls": tls_plan(node),
        "peers": [{"host": other["address"], "port": other["port"]} for other in nodes if other is not node],
        # Whose servers this host tries to reach, as far as they run.
        "reach": [
            {"name": other["name"], "host": other["address"], "port": other["port"]}
            for other in nodes
            if other is not node and runs(other)
        ],
        "senders": senders_needed(nodes),
        # Parameters besides the user's, and for whom commits wait once the standbys are proven.
        "parameters": {**waits.everywhere, **({} if upstream else waits.primary)},
        "synchronous": {} if upstream else waits.as_plan(),
        # What the primary will run with, which a standby must not have lower.
        "floors": order.after if upstream else {},
        # When this standby restarts before its primary does: its turn, the values, and whose turns come first.
        "raise_turn": turn,
        "raise_floors": order.raises.get(node["name"], {}),
        "raise_before": raises[: turn or 0],
        # The standbys that restart before it, of which none may have failed.
        "tried_by": [] if upstream else raises,
        # What a primary raises, which none of its standbys must have lower by then.
        "raised": {} if upstream else order.raised,
        # Standbys of one cluster and level restart in this order.
        "turn": sorted(name for name in upstreams if levels[name] == level).index(node["name"]),
        "recovery": recovery_settings(apply_delay=node["apply_delay"], restore_command=node["restore_command"]),
        # What is received there is replayed only later, so the proof does not wait for it.
        "delayed": bool(upstream and milliseconds(node["apply_delay"])),
        "connection_options": {
            **login_options(node, upstream),
            **node["connection_options"],
            **connection_options(node),
        },
        "system_identifier": system_of(names[primary]),
        "options": (node["status"] or {}).get("instance") or node["options"],
    }
