# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What is wrong with the inventory alone: pure decisions over one cluster's hosts."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import (
    unmet_session_attribute,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import slot_name
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import parameter_texts
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node, Problem, named
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.synchronous import synchronous_problems

#: While its base backup runs a standby takes two WAL senders: one for the copy, one for the WAL meanwhile.
SENDERS_EACH = 2


def senders_needed(nodes: t.Sequence[Node]) -> int:
    """The WAL senders that any node of the cluster may need at once."""
    return SENDERS_EACH * (len(nodes) - 1) + 1


def inventory_problems(cluster: str, nodes: t.Sequence[Node], passwords: t.Mapping[str, str]) -> list[Problem]:
    """Every reason to stop that the inventory itself gives. C(passwords) are compared and not told."""
    checks = (
        _role_problems,
        _password_problems,
        _place_problems,
        _upstream_problems,
        _sender_problems,
        synchronous_problems,
    )
    found = [problem for check in checks for problem in check(cluster, nodes)]
    return found + list(_login_problems(cluster, nodes, passwords))


def _role_problems(cluster: str, nodes: t.Sequence[Node]) -> t.Iterator[Problem]:
    for node in nodes:
        if len(node["groups"]) > 1:
            yield Problem(
                "inventory-both-groups",
                (node["name"],),
                f"{node['name']} is in the group of primaries and in the group of standbys.",
                "Leave it in one.",
            )
    primaries = [node for node in nodes if "primary" in node["groups"]]
    if not primaries:
        yield Problem(
            "inventory-no-primary",
            (),
            f"Cluster {cluster!r} has no primary: none of {named(nodes)} is in the group of primaries.",
            "Put one there, or check pgtandem_cluster of these hosts.",
        )
    elif len(primaries) > 1:
        yield Problem(
            "inventory-primaries",
            tuple(node["name"] for node in primaries),
            f"Cluster {cluster!r} has {len(primaries)} primaries in the inventory: {named(primaries)}.",
            "Leave one there, or give the others a pgtandem_cluster of their own.",
        )


def _password_problems(_cluster: str, nodes: t.Sequence[Node]) -> t.Iterator[Problem]:
    without = [node for node in nodes if not node["has_password"]]
    if without:
        yield Problem(
            "inventory-password",
            tuple(node["name"] for node in without),
            f"pgtandem_replication_password is not set for {named(without)}.",
            "Set it for the whole cluster, in a vault.",
        )
    if any(not node["password_fits_file"] for node in nodes):
        yield Problem(
            "inventory-password",
            (),
            "pgtandem_replication_password holds a line break or a NUL, which no password file can hold.",
            "Choose another one.",
        )


def _login_problems(cluster: str, nodes: t.Sequence[Node], passwords: t.Mapping[str, str]) -> t.Iterator[Problem]:
    """Standbys log in with the primary's role, so one of other name or password would be cut off, if not at once then
    at its next connect."""
    users = {node["name"]: node["replication_user"] for node in nodes}
    for variable, values in (("replication_user", users), ("replication_password", passwords)):
        said: dict[str, list[str]] = {}
        for node in nodes:
            if values.get(node["name"]):
                said.setdefault(values[node["name"]], []).append(node["name"])
        if len(said) > 1:
            yield Problem(
                "inventory-login",
                tuple(name for names in said.values() for name in names),
                f"pgtandem_{variable} differs between {' and '.join(', '.join(names) for names in said.values())}. All "
                f"hosts of cluster {cluster!r} share one role for replication.",
                "Set it once for all of them.",
            )


def _place_problems(_cluster: str, nodes: t.Sequence[Node]) -> t.Iterator[Problem]:
    places: dict[tuple[str, int], str] = {}
    slots: dict[str, str] = {}
    for node in nodes:
        name = node["name"]
        place = (node["address"], node["port"])
        if place in places:
            yield Problem(
                "inventory-same-place",
                (places[place], name),
                f"{places[place]} and {name} have the same address and port ({place[0]}:{place[1]}).",
                "Set pgtandem_port or pgtandem_address of one of them.",
            )
        places[place] = name
        slot = slot_name(name)
        if slot in slots:
            yield Problem(
                "inventory-same-slot",
                (slots[slot], name),
                f"{slots[slot]} and {name} would share the slot {slot!r}.",
                "Rename one of them.",
            )
        slots[slot] = name


def problems_between(nodes: t.Sequence[Node]) -> list[Problem]:
    """What hosts of all clusters may not share. Within one cluster an address and a port are looked at with it."""
    found = []
    places: dict[tuple[str, int], Node] = {}
    directories: dict[tuple[str, str], Node] = {}
    for node in nodes:
        other = places.setdefault((node["address"], node["port"]), node)
        if other["cluster"] != node["cluster"]:
            found.append(
                Problem(
                    "inventory-same-place",
                    (other["name"], node["name"]),
                    f"{other['name']} of cluster {other['cluster']!r} and {node['name']} of cluster "
                    f"{node['cluster']!r} have the same address and port ({node['address']}:{node['port']}).",
                    "Set pgtandem_port or pgtandem_address of one of them, or one pgtandem_cluster for both.",
                )
            )
        directory = ((node["status"] or {}).get("instance") or {}).get("data_directory")
        if not directory:
            continue
        owner = directories.setdefault((node["address"], directory), node)
        if owner is not node:
            found.append(
                Problem(
                    "inventory-same-directory",
                    (owner["name"], node["name"]),
                    f"{owner['name']} and {node['name']} have the same address ({node['address']}) and the same data "
                    f"directory ({directory}).",
                    "Give one of them another pgtandem_instance, pgtandem_data_directory or pgtandem_address.",
                )
            )
    return found


def _upstream_problems(cluster: str, nodes: t.Sequence[Node]) -> t.Iterator[Problem]:
    names = {node["name"]: node for node in nodes}
    for node in nodes:
        upstream = node["upstream"]
        if upstream == node["name"]:
            yield Problem(
                "inventory-upstream",
                (node["name"],),
                f"pgtandem_upstream of {node['name']} is {node['name']} itself.",
                "Name the host that it is to follow, or leave it out.",
            )
        elif upstream and upstream not in names:
            yield Problem(
                "inventory-upstream",
                (node["name"],),
                f"pgtandem_upstream of {node['name']} is {upstream!r}, which is no host of cluster {cluster!r} "
                f"({', '.join(sorted(names))}).",
                "Name one of them, or leave it out.",
            )
        above = "standby" if upstream in names and "primary" not in names[upstream]["groups"] else "primary"
        if "standby" in node["groups"] and unmet_session_attribute(
            node["connection_options"], upstream_is_primary=above == "primary"
        ):
            yield Problem(
                "inventory-connection-option",
                (node["name"],),
                f"{node['name']}: pgtandem_connection_options has target_session_attrs = "
                f"{node['connection_options']['target_session_attrs']}, and its upstream is a {above}, so it would "
                "never connect.",
                "Leave that option out.",
            )
    for cycle in _cycles(names):
        yield Problem(
            "inventory-upstream",
            cycle,
            f"pgtandem_upstream of {', '.join(cycle)} leads in a circle, so none of them would reach the primary.",
            "Have one of them follow the primary, or another standby.",
        )


def _cycles(names: t.Mapping[str, Node]) -> list[tuple[str, ...]]:
    found = set()
    for start in names:
        path = [start]
        while True:
            upstream = names[path[-1]]["upstream"]
            if not upstream or upstream not in names or upstream == path[-1]:
                break
            if upstream in path:
                found.add(tuple(sorted(path[path.index(upstream) :])))
                break
            path.append(upstream)
    return sorted(found)


def _sender_problems(_cluster: str, nodes: t.Sequence[Node]) -> t.Iterator[Problem]:
    needed = senders_needed(nodes)
    for node in nodes:
        texts, _problems = parameter_texts(node["parameters"])
        for name in ("max_wal_senders", "max_replication_slots"):
            least = needed if name == "max_wal_senders" else len(nodes) - 1
            said = texts.get(name, str(least))
            if said.isdigit() and int(said) < least:
                yield Problem(
                    "inventory-too-few-senders",
                    (node["name"],),
                    f"{node['name']}: pgtandem_parameters has {name} = {said}, too few for {len(nodes) - 1} standbys: "
                    "each takes two WAL senders while its base backup runs and a slot of its own.",
                    f"Leave it out, or set at least {least}.",
                )
