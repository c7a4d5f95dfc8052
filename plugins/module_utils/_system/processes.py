# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The way out to the process table: PostgreSQL's processes as the operating system shows them (proc(5))."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import Identity, acting_as


class Process(t.NamedTuple):
    """A process and the title that C(ps) would print."""

    pid: int
    title: str


class Postmaster(t.NamedTuple):
    """A running server, from its postmaster.pid (manual, storage.html: file names in PGDATA)."""

    pid: int
    port: int
    socket_directory: str
    listen_address: str
    #: As pg_ctl reads it, from 10 on: starting, stopping, ready, or standby (up, without taking sessions).
    status: str = ""
    #: Seconds since the epoch at its start.
    started: int = 0

    @property
    def up(self) -> bool:
        """Whether the server says that its start is over."""
        return self.status in ("ready", "standby")


def parse_postmaster_pid(text: str) -> Postmaster | None:
    """The lines are: pid, data directory, start time, port, socket directory, listen address, shared memory, status."""
    lines = [line.strip() for line in text.splitlines()] + [""] * 8
    # A single-user backend writes a negative pid; a server that is only starting has not written its port yet.
    if not all(re.fullmatch("[0-9]{1,10}", lines[place]) for place in (0, 3)):
        return None
    started = int(lines[2]) if re.fullmatch("[0-9]{1,10}", lines[2]) else 0
    # What libpq could not be given is as good as nothing.
    folder = lines[4] if lines[4].isprintable() else ""
    return Postmaster(int(lines[0]), int(lines[3]), folder, lines[5], lines[7], started)


def title_of(pid: int) -> str | None:
    """A process's title, None where it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _stat_of(pid: int) -> list[str]:
    """What follows the name in a process's stat file (proc(5)), empty where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError, IndexError):
        return []


def _parent_of(pid: int) -> int | None:
    fields = _stat_of(pid)
    return int(fields[1]) if fields else None


def _state_of(pid: int) -> str:
    fields = _stat_of(pid)
    return fields[0] if fields else "X"


class Lifetime(t.NamedTuple):
    """Which process had a pid at a moment: another one that gets the same pid has another start."""

    start: int
    parent: int
    title: str = ""

    def __eq__(self, other: object) -> bool:
        # A title changes with what the process does.
        return isinstance(other, Lifetime) and (self.start, self.parent) == (other.start, other.parent)

    def __hash__(self) -> int:
        return hash((self.start, self.parent))


def lifetime_of(pid: int) -> Lifetime | None:
    """The process that has a pid now, None where there is none."""
    fields = _stat_of(pid)
    if not fields or fields[0] in ("Z", "X"):
        return None
    return Lifetime(int(fields[19]), int(fields[1]), title_of(pid) or "")


def seconds_of(pid: int) -> float | None:
    """For how long a process has been running, None where it is gone."""
    lifetime = lifetime_of(pid)
    if lifetime is None:
        return None
    with open("/proc/uptime", encoding="ascii") as stream:
        return max(0.0, float(stream.read().split()[0]) - lifetime.start / os.sysconf("SC_CLK_TCK"))


def machine_identity() -> str | None:
    """What two instances of one machine or container have in common, and nothing else has."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return f"{stream.read().strip()} {os.readlink('/proc/self/ns/mnt')}"
    except OSError:
        return None


def command_lines_of(program: str) -> list[list[str]]:
    """The words of every process of a program, be that a script that an interpreter runs."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as stream:
                words = stream.read(65536).decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if any(os.path.basename(word) == program for word in words[:3]):
            found.append(words)
    return found


def runs_in_unit(pid: int, unit: str) -> bool:
    """Whether a process is in the control group of a systemd unit."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as stream:
            groups = [line.rstrip("\n").split(":", 2)[-1] for line in stream]
    except OSError:
        return False
    return any(unit in group.split("/") for group in groups)


def is_postmaster_of(pid: int, data_directory: str, *, identity: Identity) -> bool:
    """Whether a live process is the server of a data directory: the server's working directory is that directory.

    A pid alone proves nothing: after a crash or a restart of the host another program may have it.
    """
    if _state_of(pid) in ("Z", "X"):
        return False
    try:
        folder = os.readlink(f"/proc/{pid}/cwd")
    except PermissionError:
        # Root without CAP_SYS_PTRACE, as in a container, sees only what the server's own account sees.
        with acting_as(identity):
            try:
                folder = os.readlink(f"/proc/{pid}/cwd")
            except OSError:
                return False
    except OSError:
        return False
    with acting_as(identity):
        return os.path.realpath(folder) == os.path.realpath(data_directory)


def children_of(pid: int) -> list[Process]:
    """The processes that a server started, in the order of their pids."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and _parent_of(int(name)) == pid:
            title = title_of(int(name))
            if title is not None:
                found.append(Process(int(name), title))
    return sorted(found)


def processes_with_open(path: str, *, identity: Identity) -> list[Process]:
    """The processes of an account that have a file or folder open."""
    # Root without CAP_SYS_PTRACE, as in a container, sees less than the account itself.
    with acting_as(identity):
        return _processes_with_open(os.path.realpath(path))


def _open_files_of(pid: int | str) -> set[str]:
    """What a process has open, empty where this account may not see it."""
    found = set()
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            # One that was closed meanwhile says nothing about the others.
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


def _processes_with_open(wanted: str) -> list[Process]:
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        title = title_of(int(name)) if wanted in _open_files_of(name) else None
        if title:
            found.append(Process(int(name), title))
    return sorted(found)


_ROLE_TITLES = (
    ("walsender", re.compile(r"\bwal ?sender\b")),
    ("walreceiver", re.compile(r"\bwal ?receiver\b")),
    ("startup", re.compile(r"\bstartup\b")),
)


def replication_part(title: str) -> str | None:
    """Which part of replication a process plays: before 11 the titles read "wal sender process".

    >>> replication_part("postgres: walsender repl 10.0.0.2(53558) streaming 0/3028F78")
    'walsender'
    >>> replication_part("postgres: 10/main: wal receiver process   streaming 0/3000000")
    'walreceiver'
    """
    if not title.startswith("postgres:"):
        return None
    for part, pattern in _ROLE_TITLES:
        if pattern.search(title.split(" streaming ")[0]):
            return part
    return None


def is_archiver(title: str) -> bool:
    """Whether a server's process is its archiver.

    >>> is_archiver("postgres: 15/main: archiver last was 000000010000000000000003"), is_archiver("postgres: walwriter")
    (True, False)
    """
    return bool(re.match(r"postgres: (.*: )?archiver\b(?!:)", title))


def _sockets_of(pid: int | str) -> set[str]:
    """The inodes of a process's sockets, empty where this account may not see them."""
    return {link[8:-1] for link in _open_files_of(pid) if link.startswith("socket:[")}


class Connection(t.NamedTuple):
    """A row of /proc/net/tcp: the ports of both ends, the state (01 established, 0A listening) and the inode."""

    local_port: int
    remote_port: int
    state: str
    inode: str


def parse_tcp_table(text: str) -> list[Connection]:
    """The rows of /proc/net/tcp or tcp6 (proc(5))."""
    found = []
    for row in text.splitlines()[1:]:
        fields = row.split()
        local, remote = (int(address.rsplit(":", 1)[1], 16) for address in fields[1:3])
        found.append(Connection(local, remote, fields[3], fields[9]))
    return found


def _tcp_connections() -> list[Connection]:
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                found += parse_tcp_table(stream.read())
        except OSError:
            continue
    return found


def local_port_of(pid: int) -> int | None:
    """The own TCP port of a process's one connection, as its peer sees it; None through a Unix socket."""
    sockets = _sockets_of(pid)
    ports = {row.local_port for row in _tcp_connections() if row.inode in sockets and row.state == "01"}
    return ports.pop() if len(ports) == 1 else None


def listener_on(port: int) -> str | None:
    """Who listens on a TCP port of this host, as text for a message; None where nobody does."""
    inodes = {row.inode for row in _tcp_connections() if row.state == "0A" and row.local_port == port}
    if not inodes:
        return None
    for name in os.listdir("/proc"):
        if name.isdigit() and inodes & _sockets_of(name):
            return f"process {name} ({title_of(int(name))})"
    return "another process"
