# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The topology of the clusters in an inventory: pure decisions over what the inventory says and what was seen.

Every reason to stop is found here, before anything is touched, and all of them are told at once.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._hba import peer_address, rule_from
from ansible_collections.pgtandem.replication.plugins.module_utils._names import application_name, slot_name
from ansible_collections.pgtandem.replication.plugins.module_utils._parameters import check_names, normalise
from ansible_collections.pgtandem.replication.plugins.module_utils._quoting import connection_option_problems
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    NEWEST,
    floor_parameters,
    parse_major,
)

Node = t.Dict[str, t.Any]

#: While its base backup runs a standby takes two WAL senders: one for the copy, one for the WAL meanwhile.
SENDERS_EACH = 2


def _state(node: Node) -> str | None:
    status = node["status"]
    return status["data_directory"]["state"] if status else None


def _system(node: Node) -> str | None:
    status = node["status"]
    return status["system_identifier"] if status else None


def _described(node: Node) -> str:
    status = node["status"] or {}
    return (status.get("data_directory") or {}).get("description") or "nothing is known of it"


def _of_state(nodes: t.Iterable[Node], state: str) -> list[Node]:
    return [node for node in nodes if _state(node) == state]


def _named(nodes: t.Iterable[Node]) -> str:
    return ", ".join(node["name"] for node in nodes)


def inventory_problems(cluster: str, nodes: t.Sequence[Node]) -> list[str]:
    """What is wrong with the inventory alone."""
    problems = []
    primaries = [node for node in nodes if "primary" in node["groups"]]
    for node in nodes:
        if len(node["groups"]) > 1:
            problems.append(
                f"{node['name']} is in the group of primaries and in the group of standbys; leave it in one."
            )
    if not primaries:
        problems.append(
            f"Cluster {cluster!r} has no primary: none of {_named(nodes)} is in the group of primaries. "
            "Put one there, or check pgtandem_cluster of these hosts."
        )
    elif len(primaries) > 1:
        problems.append(
            f"Cluster {cluster!r} has {len(primaries)} primaries in the inventory: {_named(primaries)}. Leave one "
            "there, "
            "or give the others a pgtandem_cluster of their own."
        )
    without = [node for node in nodes if not node["has_password"]]
    if without:
        problems.append(
            f"pgtandem_replication_password is not set for {_named(without)}. Set it for the whole cluster, in a vault."
        )
    if any(not node["password_fits_file"] for node in nodes):
        problems.append("pgtandem_replication_password holds a line break or a NUL, which no password file can hold.")
    names = {node["name"]: node for node in nodes}
    places: dict[tuple[str, int], str] = {}
    slots: dict[str, str] = {}
    for node in nodes:
        place = (node["address"], node["port"])
        if place in places:
            problems.append(
                f"{places[place]} and {node['name']} have the same address and port ({place[0]}:{place[1]}). Set "
                "pgtandem_port or pgtandem_address of one of them."
            )
        places[place] = node["name"]
        slot = slot_name(node["name"])
        if slot in slots:
            problems.append(f"{slots[slot]} and {node['name']} would share the slot {slot!r}; rename one of them.")
        slots[slot] = node["name"]
        upstream = node["upstream"]
        if upstream == node["name"]:
            problems.append(f"pgtandem_upstream of {node['name']} is {node['name']} itself.")
        elif upstream and upstream not in names:
            problems.append(
                f"pgtandem_upstream of {node['name']} is {upstream!r}, which is no host of cluster {cluster!r} "
                f"({', '.join(sorted(names))})."
            )
    return problems + _cycle_problems(names)


def _login_problems(cluster: str, nodes: t.Sequence[Node], passwords: t.Mapping[str, str]) -> list[str]:
    """Standbys log in with the primary's role, so one of other name or password would be cut off, if not at once then
    at its next connect. The passwords themselves are not told."""
    problems = []
    users = {node["name"]: node["replication_user"] for node in nodes}
    for variable, values in (("replication_user", users), ("replication_password", passwords)):
        said: dict[str, list[str]] = {}
        for node in nodes:
            if values.get(node["name"]):
                said.setdefault(values[node["name"]], []).append(node["name"])
        if len(said) > 1:
            problems.append(
                f"pgtandem_{variable} differs between {' and '.join(', '.join(names) for names in said.values())}. All "
                f"hosts of cluster {cluster!r} share one role for replication: set it once for all of them."
            )
    return problems


def _cycle_problems(names: t.Mapping[str, Node]) -> list[str]:
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
    return [
        f"pgtandem_upstream of {', '.join(cycle)} leads in a circle, so none of them would reach the primary."
        for cycle in sorted(found)
    ]


def host_problems(node: Node) -> list[str]:
    """What is wrong on one host, from what was seen there and what is asked of it."""
    name, status = node["name"], node["status"]
    problems = []
    version = None
    if status:
        if status["instance_error"]:
            return [f"{name}: {status['instance_error']}"]
        version = parse_major(status["instance"]["version"])
        if status["data_directory"]["error"]:
            problems.append(f"{name}: {status['data_directory']['error']}")
        if _state(node) in ("foreign", "partial"):
            problems.append(f"{name}: {_described(node)}. Move it away, or name another pgtandem_data_directory.")
        if not status["host"]["psycopg"] and not node["manage_packages"]:
            problems.append(
                f"{name}: its Python has neither psycopg nor psycopg2, and pgtandem_manage_packages is off. Install "
                "python3-psycopg2, or psycopg2-binary for the interpreter that Ansible uses there."
            )
        if not status["installed"] and status["instance"]["layout"] == "custom":
            problems.append(
                f"{name}: there is no {status['instance']['bin_directory']}/postgres. The custom layout uses a "
                "PostgreSQL that is there already."
            )
        elif status["installed"] and {"pg_controldata", "pg_ctl"} & set(status["missing_programs"]):
            problems.append(
                f"{name}: {status['instance']['bin_directory']} has the server but not "
                f"{', '.join(status['missing_programs'])}; pg_ctl and pg_controldata are needed. Install them, or name "
                "the folder of the client programs in pgtandem_client_bin_directory."
            )
        elif not status["installed"] and not node["manage_packages"]:
            problems.append(
                f"{name}: PostgreSQL {status['instance']['version']} is not installed and pgtandem_manage_packages is "
                "off."
            )
        if status["port_taken_by"]:
            problems.append(
                f"{name}: port {status['instance']['port']} is taken by {status['port_taken_by']}, so the instance in "
                f"{status['data_directory']['path']} could not start. Stop that, or set another pgtandem_port."
            )
        if status["running"] and status["host"]["psycopg"] and status["database_error"]:
            starting = "starting up" in status["database_error"] or "not yet accepting" in status["database_error"]
            if not starting:
                problems.append(f"{name}: {status['database_error']}")
    elif node["options"]["version"]:
        version = parse_major(node["options"]["version"])
    if version is not None:
        names = [str(parameter).lower() for parameter in node["parameters"]]
        problems += [f"{name}: {problem}" for problem in check_names(names, version)]
        if not check_names(names, version):
            try:
                normalise(node["parameters"], version)
            except ReplicationError as error:
                problems.append(f"{name}: {error.message}")
    problems += [f"{name}: {problem}" for problem in connection_option_problems(node["connection_options"])]
    for rule in node["hba_rules"]:
        try:
            rule_from(rule)
        except ReplicationError as error:
            problems.append(f"{name}: {error.message}")
    return problems


def _version_problems(nodes: t.Sequence[Node]) -> list[str]:
    versions: dict[str, list[str]] = {}
    machines: dict[str, list[str]] = {}
    for node in nodes:
        if node["status"] and node["status"]["instance"]:
            versions.setdefault(node["status"]["instance"]["version"], []).append(node["name"])
            machines.setdefault(node["status"]["host"]["architecture"], []).append(node["name"])
    problems = []
    if len(versions) > 1:
        shown = "; ".join(f"PostgreSQL {version} on {', '.join(names)}" for version, names in sorted(versions.items()))
        problems.append(
            f"{shown}: physical replication needs one major version on all hosts of a cluster. Set pgtandem_version."
        )
    if len(machines) > 1:
        shown = "; ".join(f"{machine} on {', '.join(names)}" for machine, names in sorted(machines.items()))
        problems.append(f"{shown}: physical replication needs one processor architecture on all hosts of a cluster.")
    return problems


class Roles(t.NamedTuple):
    """Who is what, after all that was seen."""

    primary: Node
    #: The inventory's primary differs from the live one.
    moved: bool


def live_primary(cluster: str, nodes: t.Sequence[Node]) -> Roles | list[str]:
    """The primary to work with, or the reasons to stop. The servers decide, not the inventory."""
    named = next(node for node in nodes if "primary" in node["groups"])
    others = [node for node in nodes if node is not named]
    seen = named["status"] is not None
    primaries = _of_state(nodes, "primary")
    if not seen:
        return [
            f"{named['name']}, the primary of cluster {cluster!r}, could not be read, so nothing is known of what its "
            "standbys should follow. Make it reachable, or correct the inventory if another host is the primary now."
        ]
    if _state(named) == "primary":
        problems = []
        for node in primaries:
            if node is named:
                continue
            if _system(node) == _system(named):
                problems.append(
                    f"Cluster {cluster!r} has two primaries of system {_system(named)}: {named['name']} (timeline "
                    f"{named['status']['timeline']}) and {node['name']} (timeline {node['status']['timeline']}). "
                    f"{node['name']}: {_described(node)}. Find out which of them has the data that counts, stop the "
                    "other, and make that one a standby again."
                )
            else:
                problems.append(
                    f"{node['name']}: {_described(node)}, but it is to become a standby of {named['name']} (system "
                    f"{_system(named)}). A base backup would destroy it. Move that directory away, or name another "
                    "pgtandem_data_directory."
                )
        problems += [
            f"{node['name']}: {_described(node)}, but {named['name']} is system {_system(named)}. That standby belongs "
            "to another cluster. Correct pgtandem_cluster or the host's data directory."
            for node in _of_state(others, "standby")
            if _system(node) != _system(named)
        ]
        return problems or Roles(named, False)
    if _state(named) == "standby":
        elsewhere = [node for node in primaries if _system(node) == _system(named)]
        if len(elsewhere) == 1:
            found = elsewhere[0]
            if named["on_role_change"] == "follow":
                return Roles(found, True)
            return [
                f"The primary of cluster {cluster!r} is {found['name']} now, not {named['name']} as the inventory "
                "says: "
                f"{found['name']}: {_described(found)}; {named['name']}: {_described(named)}. Exchange them in the "
                "inventory, or set pgtandem_on_role_change: follow."
            ]
        if len(elsewhere) > 1:
            return [
                f"Cluster {cluster!r} has {len(elsewhere)} primaries of one system: {_named(elsewhere)}. Stop all but "
                "one."
            ]
        return [
            f"{named['name']}, the primary of cluster {cluster!r} in the inventory, is a standby, and no primary of "
            "its "
            f"system was found: {_described(named)}. Promote the right host, or correct the inventory."
        ]
    # Nothing is there yet on the host that is to be the primary.
    # Its own half made cluster does not count: that was begun by an earlier run, which this one ends.
    with_data = [node for node in others if _system(node)]
    if with_data:
        return [
            f"{named['name']} is to be the primary of cluster {cluster!r} and holds no data ({_described(named)}), but "
            + "; ".join(f"{node['name']}: {_described(node)}" for node in with_data)
            + ". A new cluster beside existing data is almost surely a mistake. Put the right host into the group of "
            "primaries, or take those directories away."
        ]
    return Roles(named, False)


def _upstream_of(node: Node, roles: Roles, names: t.Mapping[str, Node]) -> Node:
    """Whom a standby follows. Where the primary moved, the old one takes the new one's place and what followed the
    old one by name follows the new."""
    if node["upstream"] and node is not roles.primary:
        wanted = names[node["upstream"]]
        if not (roles.moved and "primary" in wanted["groups"]):
            return wanted
    return roles.primary


def _levels(upstreams: t.Mapping[str, str | None]) -> dict[str, int]:
    levels: dict[str, int] = {}

    def level(name: str, hops: int = 0) -> int:
        upstream = upstreams[name]
        if upstream is None or hops > len(upstreams):
            return 0
        return levels.setdefault(name, 1 + level(upstream, hops + 1))

    return {name: level(name) for name in upstreams}


def _floors_of(upstream: Node | None) -> dict[str, int]:
    """What the upstream runs with, of the parameters that a standby must not have lower."""
    settings = ((upstream or {}).get("status") or {}).get("settings") or {}
    found = {name: settings.get(name) for name in floor_parameters(NEWEST)}
    return {name: int(value) for name, value in found.items() if value is not None}


def _plan(node: Node, nodes: t.Sequence[Node], upstreams: t.Mapping[str, str | None], level: int) -> dict[str, t.Any]:
    names = {other["name"]: other for other in nodes}
    upstream = names[t.cast(str, upstreams[node["name"]])] if upstreams[node["name"]] else None
    downstream = sorted(name for name, above in upstreams.items() if above == node["name"])
    addresses = sorted({peer_address(other["address"]) for other in nodes})
    primary = next(name for name, above in upstreams.items() if above is None)
    rules: list[dict[str, t.Any]] = [
        {"database": "replication", "user": node["replication_user"], "address": address, "method": "auto"}
        for address in addresses
    ]
    return {
        "cluster": node["cluster"],
        "role": "standby" if upstream else "primary",
        "level": level,
        "address": node["address"],
        "port": node["port"],
        "application_name": application_name(node["name"]),
        "slot": slot_name(node["name"]) if node["slots"] else "",
        "upstream": {"name": upstream["name"], "host": upstream["address"], "port": upstream["port"]}
        if upstream
        else None,
        "primary": primary,
        "downstream": downstream,
        "downstream_names": [application_name(name) for name in downstream],
        "downstream_slots": [slot_name(name) for name in downstream if names[name]["slots"]],
        "hba_rules": rules + list(node["hba_rules"]),
        "peers": [{"host": other["address"], "port": other["port"]} for other in nodes if other is not node],
        "senders": SENDERS_EACH * (len(nodes) - 1) + 1,
        "floors": _floors_of(upstream),
        "system_identifier": _system(names[primary]),
        "options": (node["status"] or {}).get("instance") or node["options"],
    }


def _sender_problems(nodes: t.Sequence[Node]) -> list[str]:
    needed = SENDERS_EACH * (len(nodes) - 1) + 1
    problems = []
    for node in nodes:
        for name in ("max_wal_senders", "max_replication_slots"):
            least = needed if name == "max_wal_senders" else len(nodes) - 1
            said = str(node["parameters"].get(name, least))
            if said.isdigit() and int(said) < least:
                problems.append(
                    f"{node['name']}: pgtandem_parameters has {name} = {said}, too few for {len(nodes) - 1} standbys: "
                    "each takes two WAL senders while its base backup runs and a slot of its own. Leave it out, or set "
                    f"at least {least}."
                )
    return problems


def settle(nodes: t.Sequence[Node], passwords: t.Mapping[str, str] | None = None) -> dict[str, t.Any]:
    """The plan of every host: its role, its upstream, its rules. Raises with every reason to stop.

    C(passwords) are the replication passwords by host, as far as they are known; they are only compared.
    """
    clusters: dict[str, list[Node]] = {}
    for node in nodes:
        clusters.setdefault(node["cluster"], []).append(node)
    problems: list[str] = []
    plans: dict[str, dict[str, t.Any]] = {}
    moved = []
    for cluster, members in sorted(clusters.items()):
        found = inventory_problems(cluster, members) + _login_problems(cluster, members, passwords or {})
        for node in members:
            found += host_problems(node)
        found += _version_problems(members) + _sender_problems(members)
        if found:
            problems += found
            continue
        roles = live_primary(cluster, members)
        if isinstance(roles, list):
            problems += roles
            continue
        if roles.moved:
            moved.append(f"{roles.primary['name']} is the primary of cluster {cluster!r} now; the run follows it.")
        names = {node["name"]: node for node in members}
        upstreams = {
            node["name"]: None if node is roles.primary else _upstream_of(node, roles, names)["name"]
            for node in members
        }
        levels = _levels(upstreams)
        plans.update({node["name"]: _plan(node, members, upstreams, levels[node["name"]]) for node in members})
    if problems:
        raise ReplicationError(
            ("Nothing was changed. " if len(problems) == 1 else f"Nothing was changed. {len(problems)} reasons: ")
            + " ".join(problems if len(problems) == 1 else (f"({n}) {text}" for n, text in enumerate(problems, 1))),
            problems=problems,
        )
    return {
        "nodes": plans,
        "depth": max((plan["level"] for plan in plans.values()), default=0),
        "notes": moved,
    }
