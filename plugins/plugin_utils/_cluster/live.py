# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Who follows whom, as the servers say themselves: pure values from what was read of each host.

The inventory says what is wanted; this says what is, for the tree, the report, the metrics and the live inventory.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import latest_lsn, lsn_distance
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import application_name
from ansible_collections.pgtandem.replication.plugins.module_utils._values.wal_senders import likeliest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node

Row = t.Mapping[str, t.Any]
_LOCAL = ("127.0.0.1", "::1", None)


def live_members(nodes: t.Sequence[Node]) -> list[dict[str, t.Any]]:
    """Each host of a cluster with its place in the topology, in the inventory's order.

    C(connection) is what joins a standby to its upstream, from both sides; C(fed) is what an upstream says of one that
    could not be read; C(strangers) are WAL senders that feed none of these hosts.
    """
    upstreams = {node["name"]: _upstream_of(node, nodes) for node in nodes}
    names = {node["name"]: node for node in nodes}
    claimed: dict[str, set[int]] = {node["name"]: set() for node in nodes}
    members = []
    for node in nodes:
        upstream = names[upstreams[node["name"]] or ""] if upstreams[node["name"]] else None
        sender = _sender_for(node, upstream) if upstream else None
        if upstream and sender:
            claimed[upstream["name"]].add(sender["pid"])
        members.append(_member(node, upstream, sender))
    for member in members:
        member["downstream"] = [name for name, above in upstreams.items() if above == member["name"]]
        member["level"] = _level(member["name"], upstreams)
        status = names[member["name"]]["status"]
        member["strangers"] = [
            {key: row[key] for key in ("application_name", "client_addr", "client_port", "state", "sync_state")}
            for row in (status["wal_senders"] if status else [])
            if row["pid"] not in claimed[member["name"]] and not _is_members(row, nodes)
        ]
    return members


def _is_members(row: Row, nodes: t.Iterable[Node]) -> bool:
    """Whether a WAL sender feeds one of the hosts, which follows somebody else by now or was not read."""
    return any(
        row["application_name"] == _said_name(node) and row["client_addr"] in (node["address"], *_LOCAL)
        for node in nodes
    )


def position_of(status: Node | None) -> str | None:
    """How far a server's data goes: what a primary wrote, or what a standby replayed."""
    positions = (status or {}).get("positions") or {}
    return positions.get("current") or positions.get("replay")


def sending_position(status: Node | None) -> str | None:
    """How far a server's WAL goes; a standby sends on what it received before it has replayed it."""
    positions = (status or {}).get("positions") or {}
    return latest_lsn(*(positions.get(name) for name in ("current", "receive", "replay")))


def _replayed(status: Node, sender: Row | None) -> str | None:
    """How far a standby has replayed, by its own word or by its WAL sender's, whichever is the later one."""
    return latest_lsn(status["positions"]["replay"], (sender or {}).get("replay_lsn"))


def _member(node: Node, upstream: Node | None, sender: Row | None) -> dict[str, t.Any]:
    status = node["status"]
    member: dict[str, t.Any] = {
        "name": node["name"],
        "cluster": node["cluster"],
        "address": node["address"],
        "port": node["port"],
        "wanted_role": node["groups"][0] if len(node["groups"]) == 1 else None,
        "wanted_upstream": node["upstream"] or None,
        "read": status is not None,
        "unread_reason": node.get("unread_reason"),
        **dict.fromkeys(("role", "running", "timeline", "system_identifier", "major", "position", "description")),
        "upstream": None,
        "connection": None,
        "slots": [],
        "pending_restart": [],
        "samples": node.get("samples") or [],
        "fed": None,
    }
    if status is None and upstream and sender:
        member["upstream"] = {"name": upstream["name"], "host": upstream["address"], "port": upstream["port"]}
        member["fed"] = {key: sender.get(key) for key in ("state", "sync_state", "slot_name")}
    if status is None:
        return member
    member.update({key: status[key] for key in ("role", "running", "timeline", "system_identifier", "major")})
    member["description"] = status["instance_error"] or status["data_directory"]["description"]
    member["position"] = position_of(status)
    member["slots"] = status["slots"]
    member["pending_restart"] = status["pending_restart"]
    if status["role"] == "standby":
        said = status["upstream"] or {}
        member["position"] = _replayed(status, sender)
        member["upstream"] = {
            "name": upstream["name"] if upstream else None,
            "host": said.get("host"),
            "port": said.get("port"),
        }
        member["connection"] = _connection(node, upstream, sender)
    return member


def _connection(node: Node, upstream: Node | None, sender: Row | None) -> dict[str, t.Any]:
    """Both sides of a connection as one."""
    status = node["status"]
    receiver = status["wal_receiver"] or {}
    streams = receiver.get("status") == "streaming" and (sender is None or sender["state"] == "streaming")
    lag_seconds = status["replay"]["lag_seconds"] if streams else None
    return {
        "streaming": bool(streams),
        "receiver_status": receiver.get("status"),
        "sender_state": sender["state"] if sender else None,
        "sync_state": sender["sync_state"] if sender else None,
        "application_name": sender["application_name"] if sender else None,
        "slot_name": (sender or {}).get("slot_name") or receiver.get("slot_name"),
        # Both sides' words: what a WAL sender knows of replay may be old, and so may what was read of the standby.
        "lag_bytes": lsn_distance(
            sending_position(upstream["status"] if upstream else None), _replayed(status, sender)
        ),
        "lag_seconds": lag_seconds,
        "paused": bool(status["replay"]["paused"]),
    }


def _is_at(node: Node, host: str | None, port: int | None) -> bool:
    return host in (node["address"], node["name"]) and port == node["port"]


def _upstream_of(node: Node, nodes: t.Sequence[Node]) -> str | None:
    """The host that a standby follows: by its address, else by the WAL sender that serves its receiver."""
    status = node["status"]
    others = [other for other in nodes if other is not node]
    if not status:
        feeding = [other for other in others if _by_name(node, other["status"])]
        return t.cast(str, feeding[0]["name"]) if len(feeding) == 1 else None
    if status["role"] != "standby":
        return None
    said = status["upstream"] or {}
    found = [other for other in others if _is_at(other, said.get("host"), said.get("port"))]
    if not found and status["wal_receiver"]:
        found = [other for other in others if _by_port(node, other["status"])]
    if not found:
        found = [other for other in others if _by_name(node, other["status"])]
    return t.cast(str, found[0]["name"]) if len(found) == 1 else None


def _rows(status: Node | None) -> list[Row]:
    return (status or {}).get("wal_senders") or []


def _by_port(node: Node, status: Node | None) -> Row | None:
    port = ((node["status"] or {}).get("wal_receiver") or {}).get("local_port")
    for row in _rows(status):
        fits = row["client_addr"] in (node["address"], *_LOCAL) or row["application_name"] == _said_name(node)
        if port is not None and row["client_port"] == port and fits:
            return row
    return None


def _by_name(node: Node, status: Node | None) -> Row | None:
    return likeliest(row for row in _rows(status) if row["application_name"] == _said_name(node))


def _said_name(node: Node) -> str:
    return application_name(node["name"])


def _sender_for(node: Node, upstream: Node) -> Row | None:
    return _by_port(node, upstream["status"]) or _by_name(node, upstream["status"]) or _by_address(node, upstream)


def _by_address(node: Node, upstream: Node) -> Row | None:
    """The one sender to the host's address, where the standby goes by a name of its own."""
    rows = [row for row in _rows(upstream["status"]) if row["client_addr"] == node["address"]]
    return rows[0] if len(rows) == 1 and node["address"] not in _LOCAL else None


def _level(name: str, upstreams: t.Mapping[str, str | None]) -> int:
    level, above = 0, upstreams[name]
    while above is not None and level <= len(upstreams):
        level, above = level + 1, upstreams[above]
    return level
