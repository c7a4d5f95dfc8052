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
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.listening import listening_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    quorum,
    state_of,
    unread,
    without_stopping,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.cluster_checks import (
    collation_notes,
    sameness_problems,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.host_checks import host_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.host_plan import (
    leaving_first,
    levels_of,
    plan_of,
    upstream_notes,
    upstream_of,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.inventory_checks import (
    inventory_problems,
    problems_between,
    senders_needed,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.primary import Roles, live_primary
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.assumption import is_settled
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.parameter_order import NOTHING, Order, order_of
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.rejoin import (
    Asked,
    Returning,
    as_standby,
    cascade_below,
    returning,
    unknown_names,
    without_stream,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.removal import left_slots, removal_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.synchronous import (
    NONE,
    Synchronous,
    synchronous_of,
)


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
    problems += listening_problems(nodes)
    notes = collation_notes(nodes)
    roles = None
    # Without one primary in the inventory that could be looked at there is nothing to hold against what was seen.
    if len(named) == 1 and not (named[0]["status"] and state_of(named[0]) in (None, "foreign", "partial")):
        found = live_primary(cluster, nodes)
        if isinstance(found, Roles):
            roles = found
            notes += [*found.notes, *upstream_notes(nodes, found)]
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


def in_the_run(nodes: t.Sequence[Node], in_run: t.Collection[str] | None) -> list[Node]:
    """The hosts of the clusters that have a host in the run; C(in_run) is None where that is all of them."""
    if in_run is None:
        return list(nodes)
    clusters = {node["cluster"] for node in nodes if node["name"] in in_run}
    return [node for node in nodes if node["cluster"] in clusters]


def refusal(problems: t.Sequence[Problem], opening: str) -> ReplicationError:
    """All reasons to stop in one message. C(opening) is a sentence that says what the run has changed."""
    count = f" {len(problems)} reasons:" if len(problems) > 1 else ""
    texts = [problem.text for problem in problems]
    numbered = texts if len(texts) == 1 else [f"({number}) {text}" for number, text in enumerate(texts, 1)]
    return ReplicationError(
        f"{opening}{count} {' '.join(numbered)}",
        problems=texts,
        reasons=[problem.as_result() for problem in problems],
    )


def settle(
    nodes: t.Sequence[Node],
    passwords: t.Mapping[str, str] | None = None,
    *,
    accept: t.Collection[str] = (),
    in_run: t.Collection[str] | None = None,
    asked: Asked | None = None,
    more: t.Sequence[Problem] = (),
    opening: str = "",
) -> dict[str, t.Any]:
    """The plan of every host: its role, its upstream, its rules.

    Each cluster is judged by itself: one that has a reason to stop is in C(refused) and has no plan. Where that is so
    of all of them this raises with every reason. A cluster without a host in the run (C(in_run), None where that is
    all hosts) is not looked at.

    C(passwords) are the replication passwords by host, as far as they are known; they are only compared. C(more) are
    problems that were found elsewhere, in files of the controller. C(opening) says what the run has done so far, where
    that is not nothing.

    A playbook whose job is one of these very states accepts its id: the problem is then a note, and where it keeps the
    primary from being known the cluster has none and its hosts have no plan.

    C(asked) are hosts that are to come back. They count as the standbys that they will be, and their plan says how.
    """
    asked = asked or Asked()
    nodes = without_stopping(nodes)
    known = {node["name"]: node["cluster"] for node in nodes}
    everybody = in_the_run(nodes, in_run)
    if asked.leaving & known.keys():
        # Only the clusters that a host leaves are worked on.
        meant = {known[name] for name in asked.leaving & known.keys()}
        everybody = [node for node in everybody if node["cluster"] in meant]
    leaving = {name: removal_problems(name, members, asked.leaving) for name, members in clusters_of(everybody).items()}
    # With a host that may not leave, the others are judged with it: its reasons are then the only ones about it.
    nodes = [node for node in everybody if leaving[node["cluster"]] or node["name"] not in asked.leaving]
    clusters = clusters_of(nodes)
    back = {cluster: returning(cluster, members, asked) for cluster, members in clusters.items()}
    dead = [node for node in nodes if node["name"] in asked.dead]
    found: dict[str, Assessment] = {}
    for cluster, members in clusters.items():
        seen = [without_stream(node, dead) for node in _as_they_will_be(members, back[cluster])]
        found[cluster] = assess(cluster, seen, passwords)
    below: dict[str, list[Problem]] = {cluster: [] for cluster in found}
    for cluster, one in found.items():
        replaced = frozenset(name for name, how in back[cluster].hosts.items() if how.copy or how.reseed)
        if one.roles is not None and replaced:
            roles = one.roles._replace(replaced=replaced)
            problems, notes = cascade_below(one.nodes, _upstreams(one.nodes, roles), replaced, in_run)
            found[cluster] = one._replace(roles=roles, notes=(*one.notes, *notes))
            below[cluster] = problems
    orders = {cluster: _order(one, in_run, accept, back[cluster].hosts) for cluster, one in found.items()}
    waits = {cluster: _synchronous(one, accept) for cluster, one in found.items()}
    shared = [*problems_between(nodes), *more]
    refused: dict[str, list[Problem]] = {}
    for cluster, members in clusters.items():
        first = [*unknown_names(members, asked, known), *leaving[cluster], *back[cluster].problems, *below[cluster]]
        names = {node["name"] for node in members}
        others = [problem for problem in shared if not problem.hosts or not names.isdisjoint(problem.hosts)]
        others += [*found[cluster].problems, *orders[cluster].problems, *waits[cluster].problems]
        said = {(problem.id, problem.hosts) for problem in first}
        problems = first + [
            problem for problem in others if problem.id not in accept and (problem.id, problem.hosts) not in said
        ]
        if problems:
            refused[cluster] = problems
    if refused and len(refused) == len(clusters):
        # What is told of several clusters is told once.
        problems = list(dict.fromkeys(problem for one in refused.values() for problem in one))
        raise refusal(problems, opening or "Nothing was changed.")
    found = {cluster: one for cluster, one in found.items() if cluster not in refused}
    plans: dict[str, dict[str, t.Any]] = {}
    for cluster, one in found.items():
        if one.roles is not None:
            plans.update(plans_of(one.nodes, one.roles, orders[cluster], waits[cluster]))
    hosts = {name: how for cluster in found for name, how in back[cluster].hosts.items()}
    for name in plans.keys() & hosts.keys():
        plans[name]["returning"] = hosts[name].as_plan()
    for node in nodes:
        if node.get("stopping") and node["name"] in plans:
            plans[node["name"]]["later"] = True
    for cluster in found:
        run = known.keys() if in_run is None else in_run
        settled = is_settled(clusters[cluster], plans, orders[cluster], run)
        for node in clusters[cluster]:
            if node["name"] in plans:
                plans[node["name"]]["settled"] = settled
    return {
        "nodes": plans,
        "depth": max((plan["level"] for plan in plans.values()), default=0),
        # How often standbys restart one after the other before the primaries, clusters beside each other.
        "raise_turns": max((len(orders[cluster].raises) for cluster in found), default=0),
        "parameter_plan": [line for cluster in found for line in orders[cluster].lines(cluster)],
        "notes": [
            text
            for cluster, one in found.items()
            for text in (*(note.text for note in (*one.problems, *one.notes)), *waits[cluster].notes)
        ],
        "clusters": {
            cluster: {
                "primary": one.roles.primary["name"] if one.roles else None,
                "accepted": [problem.as_result() for problem in one.problems],
                "unread": [node["name"] for node in unread(one.nodes)],
                # Without it nothing may be promoted or deleted.
                "quorum": quorum(one.nodes),
                "left_slots": left_slots(cluster, everybody, asked.leaving),
            }
            for cluster, one in found.items()
        },
        # Clusters that have a reason to stop, while others have none.
        "refused": {
            cluster: refusal(problems, opening or f"Nothing was changed in cluster {cluster!r}.").result()
            for cluster, problems in refused.items()
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
    levels = levels_of(upstreams, leaving_first(nodes, roles, upstreams))
    return {node["name"]: plan_of(node, nodes, upstreams, levels, order, waits) for node in nodes}
