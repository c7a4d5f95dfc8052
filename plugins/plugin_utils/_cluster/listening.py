# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Whether each server is to be found at the address where the other hosts look for it: pure decisions."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.listening import (
    listening_instead,
    listens_at,
    would_listen_at,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    leads,
    runs,
    state_of,
)

_WHERE = {
    "elsewhere": "in its configuration files",
    "managed": "as pgtandem_listen_addresses says",
    "auto": "in postgresql.auto.conf",
    "command-line": "on its command line",
}


def _network(node: Node) -> t.Mapping[str, t.Any]:
    return ((node["status"] or {}).get("network")) or {}


def place_of(node: Node) -> str:
    """Where the others look for a server."""
    return f"{node['address']}:{node['port']}"


def is_deaf(node: Node) -> bool:
    """Whether a server that runs certainly does not listen at the address of its host."""
    on, own = _network(node).get("listens_on"), _network(node).get("addresses")
    return runs(node) and on is not None and listens_at(node["address"], on=on, own=own or ()) is False


def deafness(node: Node) -> str:
    """What C(is_deaf) saw, as a clause."""
    on = ", ".join(_network(node).get("listens_on") or ()) or "no address"
    return f"its server listens on {on}, and not at {place_of(node)}, where the others look for it"


def _another_listens(node: Node) -> bool:
    """Whether certainly another process listens where the others look for a server.

    It may be a forwarder. It may be another server as well: before a host follows, it asks whose data that has.
    """
    address, on, own = node["address"], _network(node).get("listens_on"), _network(node).get("addresses")
    value = ((node["status"] or {}).get("settings") or {}).get("listen_addresses")
    if not runs(node) or value is None or on is None or own is None:
        return False
    return listens_at(address, on=on, own=own) is True and would_listen_at(value, address, own=own) is False


def listening_problems(nodes: t.Sequence[Node]) -> list[Problem]:
    """Hosts whose server would not listen where the others look for it, once a run has configured it."""
    primary = next((node for node in nodes if leads(node)), None)
    problems = []
    for node in nodes:
        if is_deaf(node) and not leads(node):
            # It follows its upstream as it is, and is no reason to leave the others alone: the run ends with it.
            continue
        if _another_listens(node):
            continue
        found = _after(node, primary)
        own = _network(node).get("addresses")
        if found is None or own is None or would_listen_at(found[0], node["address"], own=own) is not False:
            continue
        value, place, source = found
        comes = f", which a copy of {source['name']} brings along" if source is not node else ""
        remedy = {
            "elsewhere": "Add its address there, or write * .",
            "managed": f"Correct pgtandem_listen_addresses: * , or {node['address']} for this host.",
            "auto": f"Say ALTER SYSTEM RESET listen_addresses on {source['name']}; pgtandem_listen_addresses sets it.",
            "command-line": "Take -h or -c listen_addresses out of its unit or pg_ctl.conf.",
        }[place]
        problems.append(
            Problem(
                "host-listens",
                (node["name"],),
                f"{node['name']}: listen_addresses is {value!r} {_WHERE[place]}{comes}, so its server would not "
                f"listen at {place_of(node)}, where the other hosts look for it.",
                remedy.replace(" .", "."),
            )
        )
    return problems


def _after(node: Node, primary: Node | None) -> tuple[str, str, Node] | None:
    """What listen_addresses will be, in which place it stands, and whose that is; None where it is not known."""
    status = node["status"]
    copied = status and primary is not None and state_of(node) in ("absent", "empty", "incoming")
    source = t.cast(Node, primary) if copied else node
    theirs = (source["status"] or {}).get("configured")
    own = (status or {}).get("configured") or {}
    if theirs is None or (copied and not (status or {}).get("instance")):
        return None
    instance = (status or {}).get("instance") or {}
    # Files outside the data directory do not come with it.
    inside = instance.get("config_directory") == instance.get("data_directory")
    files = theirs if not copied or inside else own
    over = {"command-line": own.get("command-line"), "auto": theirs.get("auto")}
    for place, values in over.items():
        if values and "listen_addresses" in values:
            return str(values["listen_addresses"]), place, source if place == "auto" else node
    said = (files.get("elsewhere") or {}).get("listen_addresses")
    instead = listening_instead(
        said, node["listen_addresses"], address=node["address"], own=_network(node).get("addresses")
    )
    if instead is not None:
        return instead, "managed", node
    return None if said is None else (str(said), "elsewhere", source)


class Unreached(t.NamedTuple):
    """A server that hosts of its cluster could not make a connection to."""

    node: Node
    #: Who tried in vain, with the reasons.
    by: tuple[tuple[str, str], ...]
    #: Whether all that tried did so in vain.
    by_all: bool

    @property
    def evidence(self) -> str:
        """A sentence without the host's name."""
        said = ", ".join(f"{name} ({reason})" for name, reason in self.by)
        return (
            f"its server runs, and no connection to {place_of(self.node)}, where the others look for it, can be made "
            f"from {said}."
        )


REMEDY = (
    "Open that port in the firewalls between them, or correct pgtandem_address. Where nobody is ever to follow that "
    "host, pgtandem_accept: [not-reached] lets site.yml go on."
)


def not_reached(nodes: t.Sequence[Node]) -> list[Unreached]:
    """Servers that run and that other hosts could not reach."""
    found = []
    for node in nodes:
        status = node["status"]
        if not runs(node) or not status["accepts_connections"] or is_deaf(node):
            continue
        tried = {
            other["name"]: {(row["name"], row["host"], row["port"]): row["reason"] for row in seen}
            for other in nodes
            for seen in [(other["status"] or {}).get("unreached")]
            if other is not node and seen is not None and runs(other)
        }
        key = (node["name"], node["address"], node["port"])
        by = tuple((name, rows[key]) for name, rows in sorted(tried.items()) if key in rows)
        if by:
            found.append(Unreached(node, by, len(by) == len(tried)))
    return found


def unreached_problems(nodes: t.Sequence[Node]) -> list[Problem]:
    """The servers that no host of their cluster could reach, or that listen elsewhere, once all is done."""
    found = [
        Problem("not-listening", (node["name"],), f"{node['name']}: {deafness(node)}.", "Correct listen_addresses.")
        for node in nodes
        if is_deaf(node)
    ]
    return found + [
        Problem("not-reached", (one.node["name"],), f"{one.node['name']}: {one.evidence}", REMEDY)
        for one in not_reached(nodes)
        if one.by_all
    ]
