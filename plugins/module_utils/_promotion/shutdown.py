# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What the shutdown of a primary waits for: WAL senders whose clients do not answer, and the archiver.

A fast shutdown ends sessions, and then waits until every WAL sender's client has confirmed all WAL and the archiver
has archived it (manual, Shutting Down the Server). A WAL sender with a full socket keeps even the checkpoint of the
shutdown from being written, and without it no standby can take over.
"""

from __future__ import annotations

import signal
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import read_control_data
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import (
    Lifetime,
    children_of,
    is_archiver,
    lifetime_of,
    replication_part,
    seconds_of,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

#: Clients say how far they are at least every 10 seconds, if nobody configured something else
#: (wal_receiver_status_interval; pg_receivewal --status-interval).
STATUS_INTERVAL = 10.0
#: A client that has something to confirm and was silent for so long is looked at for as long.
SILENCE = STATUS_INTERVAL + 1.0
#: Files of the WAL that may wait for the archiver.
READY_LIMIT = 64
#: Seconds between two requests to the same process.
AGAIN = 0.5
#: What the control file says while the last checkpoint is written; then WAL senders wait for nothing but that.
WRITING = "shutting down"
WRITTEN = "shut down"


@dataclass(frozen=True)
class Client:
    """A WAL sender's client, as the primary sees it."""

    pid: int
    name: str
    address: str
    #: Bytes of WAL that it has not been sent, and that were sent and are not confirmed as written; None: it never said.
    unsent: int
    unconfirmed: int | None
    #: Seconds since its last message by its own clock; None before 12.
    silent: float | None = None
    #: What changes with each message.
    mark: tuple[str, ...] = ()

    @property
    def owes(self) -> bool:
        """Whether the server waits for a message of it."""
        return self.unsent > 0 or self.unconfirmed is None or self.unconfirmed > 0

    @property
    def shown(self) -> str:
        """For messages."""
        return f"{self.name or 'a client without a name'} at {self.address or 'a local socket'} (process {self.pid})"


@dataclass(frozen=True)
class Archiver:
    """How far a primary's archiver is, where it archives at all."""

    ready: int = 0
    #: The file that it failed to archive last, if nothing was archived since.
    failing: str = ""
    #: The command that runs now.
    command: str = ""
    command_pid: int = 0
    command_seconds: float = 0.0


def silent_clients(clients: t.Iterable[Client]) -> list[Client]:
    """Those that may be stuck (pure): they owe a message, and were silent for longer than any interval.

    A clock that is behind makes a client look so, so they have to be watched before anything is said.
    """
    return [client for client in clients if client.owes and (client.silent is None or client.silent > SILENCE)]


def still_silent(before: t.Iterable[Client], now: t.Iterable[Client]) -> list[Client]:
    """Those that have said nothing since and still owe a message (pure)."""
    current = {client.pid: client for client in now}
    return [
        current[client.pid]
        for client in before
        if client.pid in current and current[client.pid].mark == client.mark and current[client.pid].owes
    ]


def stalled_problem(clients: t.Sequence[Client], maximum_pause: float) -> str | None:
    """What to say of clients that do not answer, None where there is none (pure)."""
    if not clients:
        return None
    said = "; ".join(
        f"{client.shown} has "
        + ("never answered" if client.unconfirmed is None else f"{client.unsent + client.unconfirmed} bytes to confirm")
        + ("" if client.silent is None else f" and was silent for {client.silent:.0f} s")
        for client in clients
    )
    return (
        f"Clients of WAL senders do not answer: {said}. The shutdown would wait for them, with nobody to write to, for "
        f"up to {maximum_pause:g} seconds (pgtandem_switchover_maximum_pause). See to those programs, or end them here "
        f"(SELECT pg_terminate_backend({clients[0].pid}), twice where once does not help), and run again."
    )


def archiver_problem(archiver: Archiver | None, maximum_pause: float) -> str | None:
    """Why the shutdown would wait for the archiver, or leave a gap in the archive; None where nothing is wrong (pure).

    >>> archiver_problem(None, 10) is archiver_problem(Archiver(ready=3), 10) is None
    True
    """
    if archiver is None:
        return None
    if archiver.command_pid and archiver.command_seconds >= maximum_pause:
        return (
            f"archive_command has been running for {archiver.command_seconds:.0f} s (process {archiver.command_pid}: "
            f"{archiver.command}), and the shutdown would wait for its end. See why it hangs and end that process, "
            "then run again."
        )
    if archiver.failing and archiver.ready:
        return (
            f"Archiving fails ({archiver.failing}), and {archiver.ready} files of the WAL wait for it: nobody would "
            "archive them once this server is a standby. Correct archive_command, whose messages are in the server's "
            "log; or do without those files and set archive_command to '' until the roles have changed."
        )
    if archiver.ready > READY_LIMIT:
        return (
            f"{archiver.ready} files of the WAL wait to be archived ({READY_LIMIT} are taken for normal), and the "
            "shutdown would wait until they are. Run again when the archiver has caught up."
        )
    return None


def clients_of(database: Database) -> list[Client]:
    """The clients of all WAL senders, of logical ones as well."""
    wal, lsn = ("wal", "lsn") if supports(database.version, "wal_names") else ("xlog", "location")
    # Never the flush position: pg_receivewal flushes at the end of a file, and when a shutdown asks for it.
    replied = "reply_time" if supports(database.version, "sender_reply_time") else "NULL::timestamptz"
    rows = database.rows(
        "SELECT pid, application_name AS name, host(client_addr) AS address, "
        f"coalesce(pg_{wal}_{lsn}_diff(pg_current_{wal}_{lsn}(), sent_{lsn}), 0)::bigint AS unsent, "
        f"pg_{wal}_{lsn}_diff(sent_{lsn}, write_{lsn})::bigint AS unconfirmed, "
        f"extract(epoch FROM clock_timestamp() - coalesce({replied}, backend_start))::float AS silent, "
        f"sent_{lsn}::text AS sent, write_{lsn}::text AS written, {replied}::text AS replied "
        # Who has not begun to stream ends with the shutdown at once, as any session does.
        "FROM pg_stat_replication WHERE state NOT IN ('backup', 'startup') ORDER BY pid"
    )
    return [
        Client(
            row["pid"],
            row["name"] or "",
            row["address"] or "",
            row["unsent"],
            row["unconfirmed"],
            row["silent"] if supports(database.version, "sender_reply_time") else None,
            (str(row["written"]), str(row["replied"])),
        )
        for row in rows
    ]


def stalled_clients(database: Database) -> list[Client]:
    """The clients that do not answer. Whoever looks like it is watched for as long as a healthy one may be silent."""
    suspects = silent_clients(clients_of(database))
    deadline = time.monotonic() + SILENCE
    while suspects and time.monotonic() < deadline:
        time.sleep(0.2)
        suspects = still_silent(suspects, clients_of(database))
    return suspects


def archiver_of(host: Host, database: Database, postmaster_pid: int) -> Archiver | None:
    """The archiver, None where nothing is archived."""
    row = database.rows(
        "SELECT current_setting('archive_mode') AS mode, current_setting('archive_command') AS command, "
        "current_setting('archive_library', true) AS library, "
        "CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') THEN last_failed_wal END AS failing "
        "FROM pg_stat_archiver"
    )[0]
    if row["mode"] == "off" or row["command"] in ("", "(disabled)") and not row["library"]:
        return None
    folder = "pg_wal" if supports(database.version, "wal_names") else "pg_xlog"
    names = host.files.list_names(f"{host.instance.data_directory}/{folder}/archive_status")
    running = _archive_command(postmaster_pid)
    return Archiver(
        ready=sum(name.endswith(".ready") for name in names),
        failing=row["failing"] or "",
        command=running[1] if running else "",
        command_pid=running[0] if running else 0,
        command_seconds=seconds_of(running[0]) or 0.0 if running else 0.0,
    )


def _archive_command(postmaster_pid: int) -> tuple[int, str] | None:
    """The command that the archiver runs now."""
    for child in children_of(postmaster_pid):
        if is_archiver(child.title):
            for command in children_of(child.pid):
                return command.pid, command.title
    return None


class Watch:
    """Looks after a shutdown: what it waits for longer than allowed is ended, or named.

    Only SIGTERM is sent. A WAL sender whose socket is full hangs after the first one, and ends after the second; after
    SIGKILL the server would have crashed, and no standby could take over.
    """

    def __init__(self, host: Host, postmaster_pid: int, clients: t.Iterable[Client], *, successor: str, pause: float):
        self._host, self._postmaster, self._pause = host, postmaster_pid, pause
        #: Noted while there can be a session; none can be opened during a shutdown.
        self._clients: list[tuple[Client, Lifetime | None]] = [(client, lifetime_of(client.pid)) for client in clients]
        self._successor = successor
        self._began = time.monotonic()
        self._next = self._began + pause
        self.ended: list[Client] = []

    def _alive(self, *, successor: bool) -> list[Client]:
        found = []
        for client, noted in self._clients:
            now = lifetime_of(client.pid)
            same = now is not None and now == noted and now.parent == self._postmaster
            if same and replication_part(t.cast(Lifetime, now).title) == "walsender":
                found.append(client)
        return [client for client in found if (client.name == self._successor) == successor]

    def look(self) -> str | None:
        """End what must not be waited for any longer; where that does not help, what is waited for."""
        now = time.monotonic()
        if now < self._next:
            return None
        self._next = now + AGAIN
        control = read_control_data(self._host)
        if control is not None and control.state == WRITING:
            return None
        stuck = self._alive(successor=False)
        if not stuck and now - self._began > 2 * self._pause + AGAIN:
            # Its connection is broken, and the server would wait for it as long as for any other.
            stuck = self._alive(successor=True)
        for client in stuck:
            self._host.files.signal(client.pid, signal.SIGTERM)
            if client not in self.ended:
                self.ended.append(client)
        if stuck or control is None or control.state != WRITTEN:
            return None
        running = _archive_command(self._postmaster)
        seconds = (seconds_of(running[0]) or 0.0) if running else 0.0
        if running is None or seconds < self._pause or self._alive(successor=True):
            return None
        return (
            f"it waits for its archive_command, which has been running for {seconds:.0f} s (process {running[0]}: "
            f"{running[1]})"
        )

    def notes(self) -> list[str]:
        """What was ended, as sentences."""
        return [
            f"The WAL sender of {client.shown} did not end within {self._pause:g} seconds of the shutdown, so it was "
            "ended."
            for client in self.ended
        ]
