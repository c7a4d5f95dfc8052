# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The gate before every run: the topology of the clusters in an inventory, or every reason to stop.

Pure decisions over what the inventory says and what was seen. Every reason is found here, before anything is touched,
and all of them are told at once.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster_checks import (
    collation_notes,
    sameness_problems,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._host_checks import host_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._inventory_checks import (
    inventory_problems,
    problems_between,
    senders_needed,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._nodes import (
    Node,
    Problem,
    quorum,
    state_of,
    unread,
    without_stopping,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._parameter_order import NOTHING, Order, order_of
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan import levels_of, plan_of, upstream_of
from ansible_collections.pgtandem.replication.plugins.plugin_utils._rejoin import (
    Asked,
    Returning,
    as_standby,
    returning,
    unknown_names,
    without_stream,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._removal import left_slots, removal_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._roles import Roles, live_primary
from ansible_collections.pgtandem.replication.plugins.plugin_utils._synchronous import NONE, Synchronous, synchronous_of


class Assessment(t.NamedTuple):
    """What was found out about one cluster."""

    cluster: str
    nodes: tuple[Node, ...]
    #: None where there are problems that keep it from being known.
    roles: Roles | None
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]


def clusters_of(nodes: t.Sequence[Node]) -> dict[str, list[Node]]:
    """The hosts of each cluster, in the order of the clusters' names."""
    clusters: dict[str, list[Node]] = {}
    for node in nodes:
        clusters.setdefault(node["cluster"], []).append(node)
    return dict(sorted(clusters.items()))


def assess(cluster: str, nodes: t.Sequence[Node], passwords: t.Mapping[str, str] | None = None) -> Assessment:
    """Everything about one cluster that could stop a run, and who its primary is."""
    problems = inventory_problems(cluster, nodes, passwords or {})
    named = [node for node in nodes if "primary" in node["groups"]]
    for node in nodes:
        problems += host_problems(node)
    problems += sameness_problems(nodes)
    notes = collation_notes(nodes)
    roles = None
    # Without one primary in the inventory that could be looked at there is nothing to hold against what was seen.
    if len(named) == 1 and not (named[0]["status"] and state_of(named[0]) in (None, "foreign", "partial")):
        found = live_primary(cluster, nodes)
        if isinstance(found, Roles):
            roles = found
            notes += found.notes
            if found.moved:
                notes.append(
                    Problem(
                        "primary-followed",
                        (found.primary["name"],),
                        f"{found.primary['name']} is the primary of cluster {cluster!r} now; the run follows it.",
                        "Exchange the hosts in the inventory.",
                    )
                )
        else:
            problems += found
    return Assessment(cluster, tuple(nodes), roles, tuple(problems), tuple(notes))


def settle(
    nodes: t.Sequence[Node],
    passwords: t.Mapping[str, str] | None = None,
    *,
    accept: t.Collection[str] = (),
    in_run: t.Container[str] | None = None,
    asked: Asked | None = None,
    more: t.Sequence[Problem] = (),
) -> dict[str, t.Any]:
    """The plan of every host: its role, its upstream, its rules. Raises with every reason to stop.

    C(passwords) are the replication passwords by host, as far as they are known; they are only compared. C(more) are
    problems that were found elsewhere, in files of the controller. C(in_run) are the hosts that the run works on, None
    where that is all of them.

    A playbook whose job is one of these very states accepts its id: the problem is then a note, and where it keeps the
    primary from being known the cluster has none and its hosts have no plan.

    C(asked) are hosts that are to come back. They count as the standbys that they will be, and their plan says how.
    """
    asked = asked or Asked()
    nodes = without_stopping(nodes)
    leaving = [
        problem
        for cluster, members in clusters_of(nodes).items()
        for problem in removal_problems(cluster, members, asked.leaving)
    ]
    everybody = nodes
    # With a host that may not leave, the others are judged with it: its reasons are then the only ones about it.
    nodes = nodes if leaving else [node for node in nodes if node["name"] not in asked.leaving]
    clusters = clusters_of(nodes)
    back = {cluster: returning(cluster, members, asked) for cluster, members in clusters.items()}
    dead = [node for node in nodes if node["name"] in asked.dead]
    found = [
        assess(cluster, [without_stream(node, dead) for node in _as_they_will_be(members, back[cluster])], passwords)
        for cluster, members in clusters.items()
    ]
    orders = {one.cluster: _order(one, in_run, accept, back[one.cluster].hosts) for one in found}
    waits = {one.cluster: _synchronous(one, accept) for one in found}
    of_clusters = (
        problem
        for one in found
        for problem in (*one.problems, *orders[one.cluster].problems, *waits[one.cluster].problems)
    )
    problems = unknown_names(everybody, asked) + leaving
    problems += [problem for one in back.values() for problem in one.problems]
    said = {(problem.id, problem.hosts) for problem in problems}
    problems += [
        problem
        for problem in (*problems_between(nodes), *more, *of_clusters)
        if problem.id not in accept and (problem.id, problem.hosts) not in said
    ]
    if problems:
        raise ReplicationError(
            ("Nothing was changed. " if len(problems) == 1 else f"Nothing was changed. {len(problems)} reasons: ")
            + " ".join(
                [problems[0].text]
                if len(problems) == 1
                else (f"({number}) {problem.text}" for number, problem in enumerate(problems, 1))
            ),
            problems=[problem.text for problem in problems],
            reasons=[problem.as_result() for problem in problems],
        )
    plans: dict[str, dict[str, t.Any]] = {}
    for one in found:
        if one.roles is not None:
            plans.update(plans_of(one.nodes, one.roles, orders[one.cluster], waits[one.cluster]))
    hosts = {name: how for cluster in back.values() for name, how in cluster.hosts.items()}
    for name in plans.keys() & hosts.keys():
        plans[name]["returning"] = hosts[name].as_plan()
    for node in nodes:
        if node.get("stopping") and node["name"] in plans:
            plans[node["name"]]["later"] = True
    return {
        "nodes": plans,
        "depth": max((plan["level"] for plan in plans.values()), default=0),
        # How often standbys restart one after the other before the primaries, clusters beside each other.
        "raise_turns": max((len(order.raises) for order in orders.values()), default=0),
        "parameter_plan": [line for one in found for line in orders[one.cluster].lines(one.cluster)],
        "notes": [
            text
            for one in found
            for text in (*(note.text for note in (*one.problems, *one.notes)), *waits[one.cluster].notes)
        ],
        "clusters": {
            one.cluster: {
                "primary": one.roles.primary["name"] if one.roles else None,
                "accepted": [problem.as_result() for problem in one.problems],
                "unread": [node["name"] for node in unread(one.nodes)],
                # Without it nothing may be promoted or deleted.
                "quorum": quorum(one.nodes),
                "left_slots": left_slots(one.cluster, everybody, asked.leaving),
            }
            for one in found
        },
    }


def _as_they_will_be(nodes: t.Sequence[Node], back: Returning) -> list[Node]:
    return [as_standby(node) if node["name"] in back.hosts else node for node in nodes]


def _upstreams(nodes: t.Sequence[Node], roles: Roles) -> dict[str, str | None]:
    names = {node["name"]: node for node in nodes}
    return {node["name"]: None if node is roles.primary else upstream_of(node, roles, names)["name"] for node in nodes}


def _order(one: Assessment, in_run: t.Container[str] | None, accept: t.Container[str], back: t.Container[str]) -> Order:
    """In which order its hosts take over parameters; nothing where its problems stop the run anyway. Hosts that are to
    come back follow nobody yet."""
    if one.roles is None or any(problem.id not in accept for problem in one.problems):
        return NOTHING
    levels = levels_of(_upstreams(one.nodes, one.roles))
    nodes = [node for node in one.nodes if node["name"] not in back]
    return order_of(one.roles.primary, nodes, levels, senders=senders_needed(one.nodes), in_run=in_run)


def _synchronous(one: Assessment, accept: t.Container[str]) -> Synchronous:
    """For whom its commits wait; nothing where its problems stop the run anyway."""
    if one.roles is None or any(problem.id not in accept for problem in one.problems):
        return NONE
    old = next(node["name"] for node in one.nodes if "primary" in node["groups"]) if one.roles.moved else None
    return synchronous_of(one.cluster, one.roles.primary, old, one.nodes, _upstreams(one.nodes, one.roles))


def plans_of(
    nodes: t.Sequence[Node], roles: Roles, order: Order = NOTHING, waits: Synchronous = NONE
) -> dict[str, dict[str, t.Any]]:
    """What becomes of each host of a cluster when one of them is the primary."""
    upstreams = _upstreams(nodes, roles)
    levels = levels_of(upstreams)
    return {node["name"]: plan_of(node, nodes, upstreams, levels, order, waits) for node in nodes}
