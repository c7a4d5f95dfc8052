# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small model of PostgreSQL clusters: what servers are in truth, and what a run reads of them.

WAL is counted in records of one unit. A timeline has its number, which servers of a split cluster give twice, and an
identity, which they do not: so the model knows what the decisions have to find out.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pickle
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import format_lsn
from nodes import Node, empty, history, host, receiver, seen, sender

#: Of a record, in bytes.
RECORD = 16


class Line(t.NamedTuple):
    """One timeline that a server came through."""

    number: int
    identity: int
    begin: int


@functools.lru_cache(maxsize=None)
def _pickled(name: str, group: str, variables: tuple[tuple[str, t.Any], ...]) -> bytes:
    return pickle.dumps(host(name, group, **dict(variables)))


def _fresh(name: str, group: str, **variables: t.Any) -> Node:
    """A host of the inventory; the roles' defaults are read once."""
    return t.cast(Node, pickle.loads(_pickled(name, group, tuple(sorted(variables.items())))))


def lsn(record: int) -> str:
    return format_lsn(record * RECORD)


@dataclasses.dataclass
class Server:
    """A host with its server."""

    name: str
    cluster: str
    group: str
    #: 0: there is no data.
    system: int = 0
    lines: tuple[Line, ...] = ()
    #: How many records it has, on disk.
    records: int = 0
    #: Whether a start makes a standby of it.
    signal: bool = False
    running: bool = False
    #: Whether the running server is a primary.
    leads: bool = False
    clean: bool = True
    upstream: str = ""
    #: Whom a failover noted here: the target, and away from which timeline of which system.
    claim: tuple[str, int, int] | None = None
    #: Whether another hand promoted it, so that no host has a note of it.
    strange: bool = False
    #: Whether it receives nothing, whatever its upstream does.
    held: bool = False
    #: Whether it is on the controller's side of the network, and lets the controller in.
    near: bool = True
    ssh: bool = True

    @property
    def readable(self) -> bool:
        return self.near and self.ssh

    @property
    def is_primary(self) -> bool:
        return self.running and self.leads

    @property
    def state(self) -> str:
        if not self.system:
            return "empty"
        return "standby" if self.signal else "primary"

    def holds(self, other: Server) -> bool:
        """Whether all WAL of another server is a part of this one's."""
        if self.system != other.system:
            return False
        identities = [line.identity for line in self.lines]
        last = other.lines[-1].identity
        if last not in identities:
            return False
        index = identities.index(last)
        end = self.lines[index + 1].begin if index + 1 < len(self.lines) else self.records
        return other.records <= end

    def same_as(self, other: Server) -> None:
        self.system, self.lines, self.records = other.system, other.lines, other.records


class World:
    """Clusters of servers."""

    def __init__(self, *servers: Server) -> None:
        self.servers = {server.name: server for server in servers}
        self._counter = itertools.count(1)

    def of(self, cluster: str) -> list[Server]:
        return [server for server in self.servers.values() if server.cluster == cluster]

    @property
    def clusters(self) -> list[str]:
        return sorted({server.cluster for server in self.servers.values()})

    # --- What happens ---

    def make(self, server: Server) -> None:
        """Initialise a cluster and start it."""
        server.system = next(self._counter)
        server.lines, server.records = (Line(1, next(self._counter), 0),), 1
        server.signal, server.running, server.leads, server.clean = False, True, True, True
        server.strange = False

    def streams(self, server: Server) -> bool:
        above = self.servers.get(server.upstream)
        return bool(
            server.running and not server.leads and not server.held
            and above and above.running and above is not server and above.near == server.near
            and (above.holds(server))
        )  # fmt: skip

    def flow(self) -> None:
        """WAL goes down, level by level."""
        for _level in self.servers:
            for server in self.servers.values():
                if self.streams(server):
                    server.same_as(self.servers[server.upstream])

    def write(self) -> None:
        for server in self.servers.values():
            if server.is_primary:
                server.records += 1
        self.flow()

    def stop(self, server: Server, *, clean: bool) -> None:
        if server.is_primary and clean:
            # The checkpoint of the shutdown, which streams before the end.
            server.records += 1
            self.flow()
        server.running, server.clean = False, clean

    def start(self, server: Server) -> None:
        """As the disk says."""
        server.running, server.leads = True, not server.signal
        self.flow()

    def promote(self, server: Server) -> None:
        line = Line(server.lines[-1].number + 1, next(self._counter), server.records)
        server.lines, server.records = (*server.lines, line), server.records + 1
        server.signal, server.leads = False, True
        self.flow()

    def follow(self, server: Server, upstream: str) -> None:
        server.signal, server.upstream, server.strange = True, upstream, False
        self.start(server)

    # --- What a run reads ---

    def read(self, server: Server, **variables: t.Any) -> Node:
        node = _fresh(server.name, server.group, cluster=server.cluster, **variables)
        if not server.readable:
            return {**node, "unread_reason": "no route to host"}
        if not server.system:
            return empty(node)
        above = self.servers.get(server.upstream)
        role = "primary" if (server.leads if server.running else not server.signal) else "standby"
        changes: dict[str, t.Any] = {
            "running": server.running,
            "system_identifier": str(server.system),
            "timeline": server.lines[-1].number,
            "timeline_history": history(
                **{f"t{line.number}": lsn(after.begin) for line, after in zip(server.lines, server.lines[1:])}
            ),
            "control": self._control(server),
            "upstream": {"host": f"10.0.0.{above.name[-1]}", "port": 5432} if above and role == "standby" else None,
        }
        if role == "primary":
            changes["positions"] = dict.fromkeys(("current", "flush", "insert"), lsn(server.records))
        else:
            changes["positions"] = dict.fromkeys(("receive", "replay"), lsn(server.records))
            if self.streams(server):
                changes["wal_receiver"] = receiver(server.upstream, local_port=40000 + int(server.name[-1]))
        changes["wal_senders"] = [
            sender(
                one.name, client_addr=f"10.0.0.{one.name[-1]}", client_port=40000 + int(one.name[-1]),
                pid=int(one.name[-1]),
            )
            for one in self.of(server.cluster)
            if one.upstream == server.name and self.streams(one)
        ]  # fmt: skip
        node = seen(node, role, **changes)
        directory = node["status"]["data_directory"]
        directory["state"] = server.state
        if server.claim is not None:
            target, timeline, system = server.claim
            directory["claim"] = {"target": target, "timeline": timeline, "system_identifier": str(system)}
        if server.signal:
            directory["signal_files"] = ["standby.signal"]
        return node

    @staticmethod
    def _control(server: Server) -> dict[str, t.Any]:
        if server.running:
            state = "in production" if server.leads else "in archive recovery"
        elif server.leads:
            state = "shut down" if server.clean else "in production"
        else:
            state = "shut down in recovery" if server.clean else "in archive recovery"
        control = {"block_size": 8192, "wal_segment_bytes": 16777216, "floors": {}, "state": state}
        # Where its last record begins.
        control["checkpoint_lsn"] = format_lsn((server.records - 1) * RECORD)
        control["timeline"] = server.lines[-1].number
        control["minimum_recovery_lsn"] = None if server.leads else lsn(server.records)
        return control

    def nodes(self, **variables: t.Any) -> list[Node]:
        return [self.read(server, **variables) for server in self.servers.values()]
