# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Who the primary of a cluster is: the servers decide, not the inventory. Pure decisions.

What a host that was not read may be is taken for the worst: it may be the primary, or a standby that was promoted
meanwhile. So the run goes on without it only where the primary is proven: it runs, and no unread host can be another.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    UNSIGNAL,
    Node,
    Problem,
    because,
    described,
    follows,
    named,
    of_state,
    quorum,
    remedy_for_unread,
    runs,
    signalled,
    state_of,
    system_of,
    unread,
    why_unread,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.cluster_checks import (
    follower_problems,
    primaries_problem,
)


class Roles(t.NamedTuple):
    """Who is what, after all that was seen."""

    primary: Node
    #: The inventory's primary differs from the live one.
    moved: bool
    #: What does not stop the run and is to be told.
    notes: tuple[Problem, ...] = ()
    #: Standbys that are copied anew in this run: their followers would not find there what they need.
    replaced: frozenset[str] = frozenset()


def live_primary(cluster: str, nodes: t.Sequence[Node]) -> Roles | list[Problem]:
    """The primary to work with, or the reasons to stop."""
    inventory = next(node for node in nodes if "primary" in node["groups"])
    if inventory["status"] is None:
        return _primary_unread(cluster, inventory, nodes)
    state = state_of(inventory)
    if state == "primary":
        return _primary_in_place(cluster, inventory, nodes)
    if state == "standby":
        return _primary_moved(cluster, inventory, nodes)
    return _primary_to_make(cluster, inventory, nodes)


def _same_system(primary: Node, nodes: t.Iterable[Node]) -> list[Node]:
    return [node for node in of_state(nodes, "primary") if system_of(node) == system_of(primary)]


def _unread_notes(primary: Node, nodes: t.Sequence[Node]) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            "standby-unread",
            (node["name"],),
            f"{why_unread(node)}, and is left as it is: {primary['name']} runs as the primary.",
            remedy_for_unread(node),
        )
        for node in unread(nodes)
    )


def _primary_in_place(cluster: str, primary: Node, nodes: t.Sequence[Node]) -> Roles | list[Problem]:
    others = [node for node in nodes if node is not primary]
    same = _same_system(primary, nodes)
    problems = [primaries_problem(cluster, same)] if len(same) > 1 else []
    problems += follower_problems(cluster, primary, [node for node in others if node not in same])
    if not runs(primary):
        for node in unread(nodes):
            problems.append(
                Problem(
                    "unread-could-be-primary",
                    (node["name"],),
                    f"{why_unread(node)}, and {primary['name']}, the primary of cluster {cluster!r}, is stopped "
                    f"({described(primary)}). {node['name']} may have been promoted meanwhile; then starting "
                    f"{primary['name']} would make two primaries.",
                    f"Make {node['name']} reachable, or see that it is down for good and take it out of the inventory.",
                )
            )
    return problems or Roles(primary, False, _unread_notes(primary, nodes))


def _primary_unread(cluster: str, inventory: Node, nodes: t.Sequence[Node]) -> Roles | list[Problem]:
    name = inventory["name"]
    hosts = (name,)
    why = f"{why_unread(inventory)}. It is the primary of cluster {cluster!r} in the inventory"
    found = [node for node in of_state(nodes, "primary") if runs(node)]
    if not found:
        return [
            Problem(
                "primary-unread",
                hosts,
                f"{name}, the primary of cluster {cluster!r}, could not be read, so nothing is known of what its "
                f"standbys should follow{because(inventory)}.",
                "Make it reachable, or correct the inventory if another host is the primary now.",
            )
        ]
    if len(found) > 1:
        return (
            [primaries_problem(cluster, found)]
            if len(_same_system(found[0], found)) > 1
            else [
                Problem(
                    "foreign-system",
                    hosts,
                    f"{why}, and {named(found)} are primaries of different systems.",
                    "Put one of them into the group of primaries, and give the others a pgtandem_cluster of their own.",
                )
            ]
        )
    live = found[0]
    still = [node for node in nodes if follows(node, inventory)]
    if still:
        return [
            Problem(
                "two-primaries",
                (name, live["name"]),
                f"{why} and still sends WAL to {named(still)}, while {live['name']} is a primary too "
                f"({described(live)}).",
                "Find out which of them has the data that counts and stop the other.",
            )
        ]
    seen = f"{live['name']} runs as a primary ({described(live)}, timeline {live['status']['timeline']})"
    if live["on_role_change"] != "follow":
        return [
            Problem(
                "primary-unread",
                hosts,
                f"{why}, while {seen}.",
                f"See that {name} is down or a standby, then exchange the two in the inventory or set "
                "pgtandem_on_role_change: follow.",
            )
        ]
    if not quorum(nodes):
        return [
            Problem(
                "primary-unread",
                hosts,
                f"{why}, while {seen}; but of the {len(nodes)} hosts of the cluster fewer than half could be read, so "
                "which side of a broken network counts is not known.",
                f"Make more of {named(unread(nodes))} reachable.",
            )
        ]
    others = [node for node in nodes if node is not live]
    problems = [primaries_problem(cluster, same)] if len(same := _same_system(live, nodes)) > 1 else []
    problems += follower_problems(cluster, live, [node for node in others if node not in same])
    return problems or Roles(live, True, _unread_notes(live, nodes))


def _primary_moved(cluster: str, inventory: Node, nodes: t.Sequence[Node]) -> Roles | list[Problem]:
    name = inventory["name"]
    elsewhere = _same_system(inventory, nodes)
    if len(elsewhere) > 1:
        return [primaries_problem(cluster, elsewhere)]
    if not elsewhere:
        missing = "".join(f" {why_unread(node)}; it may be the primary." for node in unread(nodes))
        marked = next((node for node in nodes if signalled(node)), None)
        if marked is not None:
            return [
                Problem(
                    "no-primary",
                    (marked["name"],),
                    f"{marked['name']} runs as the primary of cluster {cluster!r}, and {signalled(marked)}.",
                    UNSIGNAL,
                )
            ]
        return [
            Problem(
                "no-primary",
                (name,),
                f"{name}, the primary of cluster {cluster!r} in the inventory, is a standby, and no primary of its "
                f"system was found: {described(inventory)}.{missing}",
                "Promote the right host, or correct the inventory.",
            )
        ]
    live = elsewhere[0]
    if inventory["on_role_change"] != "follow":
        return [
            Problem(
                "primary-moved",
                (name, live["name"]),
                f"The primary of cluster {cluster!r} is {live['name']} now, not {name} as the inventory says: "
                f"{live['name']}: {described(live)}; {name}: {described(inventory)}.",
                "Exchange them in the inventory, or set pgtandem_on_role_change: follow.",
            )
        ]
    problems = follower_problems(cluster, live, [node for node in nodes if node is not live])
    if not runs(live):
        problems += [
            Problem(
                "unread-could-be-primary",
                (node["name"],),
                f"{why_unread(node)}, and {live['name']}, the one primary that was found, is stopped "
                f"({described(live)}). {node['name']} may have been promoted.",
                f"Make {node['name']} reachable.",
            )
            for node in unread(nodes)
        ]
    return problems or Roles(live, True, _unread_notes(live, nodes))


def _primary_to_make(cluster: str, inventory: Node, nodes: t.Sequence[Node]) -> Roles | list[Problem]:
    """Nothing is there yet on the host that is to be the primary."""
    name = inventory["name"]
    place = inventory["status"]["data_directory"]
    with_data = [node for node in nodes if node is not inventory and system_of(node)]
    told = [f"{node['name']}: {described(node)}" for node in with_data]
    if place.get("expected_by"):
        instance = inventory["status"]["instance"]
        debian = instance["layout"] == "debian"
        return [
            Problem(
                "primary-unmounted",
                (name,),
                f"{name}: {place['expected_by']} is the configuration of a cluster, whose data is not there "
                f"({described(inventory)}). Its disk may not be mounted, and a new cluster in its place is almost "
                f"surely a mistake{''.join(f'; {text}' for text in told)}.",
                "Mount it. "
                + (
                    "Where its data is lost, have a standby take over (failover.yml)."
                    if with_data
                    else "Where a new cluster is meant, take that configuration away first"
                    + (f" (pg_dropcluster {instance['version']} {instance['instance']})." if debian else ".")
                ),
            )
        ]
    if with_data:
        return [
            Problem(
                "primary-empty",
                (name,),
                f"{name} is to be the primary of cluster {cluster!r} and holds no data ({described(inventory)}), but "
                + "; ".join(told)
                + ". A new cluster beside existing data is almost surely a mistake.",
                "Put the right host into the group of primaries, or take those directories away.",
            )
        ]
    missing = unread(nodes)
    if missing:
        return [
            Problem(
                "unread-could-be-primary",
                tuple(node["name"] for node in missing),
                f"{'; '.join(why_unread(node) for node in missing)}, and {name}, which is to be the primary of cluster "
                f"{cluster!r}, holds no data ({described(inventory)}). Data may be where nobody could look, and a new "
                "cluster beside it is almost surely a mistake.",
                f"Make {named(missing)} reachable, or take it out of the inventory.",
            )
        ]
    return Roles(inventory, False)
