# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes below this one: found, interrupted, and ended when they do not go by themselves."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
#: Signals that end a run. SIGKILL cannot be caught: the next run clears what that leaves.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def adopt_orphans() -> None:
    """Have daemons below this process become its children when their parents end, so that they are found."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Process(t.NamedTuple):
    """One row of the process table."""

    pid: int
    parent: int
    state: str
    command: str


def parse_stat(text: str) -> Process:
    """Read `/proc/PID/stat`. A command may hold blanks and parentheses.

    >>> parse_stat("12 (a) b) S 7 12 12 0")
    Process(pid=12, parent=7, state='S', command='a) b')
    """
    pid, _opens, rest = text.partition(" (")
    command, _closes, rest = rest.rpartition(") ")
    state, parent = rest.split()[:2]
    return Process(int(pid), int(parent), state, command)


def all_processes() -> list[Process]:
    """The process table; empty where there is no `/proc`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            found.append(parse_stat(entry.read_text(errors="replace")))
    return found


def below(ancestor: int, table: t.Sequence[Process]) -> list[Process]:
    """The living descendants of a process, parents first."""
    found: list[Process] = []
    parents = {ancestor}
    while parents:
        children = [row for row in table if row.parent in parents]
        found += children
        parents = {row.pid for row in children}
    return [row for row in found if row.state != "Z"]


def without_hosts(rows: t.Sequence[Process]) -> list[Process]:
    """All but containers and what watches them: podman removes those, and keeps its books."""
    hosts = {row.pid for row in rows if row.command == "conmon"}
    hosts |= {inside.pid for host in hosts for inside in below(host, rows)}
    return [row for row in rows if row.pid not in hosts]


def belongs_to(pid: int, mark: str, folder: str) -> bool:
    """Whether a process works in a run's folder or has the run's mark in its environment.

    PostgreSQL writes over its environment, but its working directory is the data directory.
    """
    place = Path("/proc", str(pid))
    with contextlib.suppress(OSError):
        # Of a folder that is gone the kernel says so: "/tmp/x (deleted)".
        if f"{os.readlink(place / 'cwd').removesuffix(' (deleted)')}/".startswith(folder + "/"):
            return True
    with contextlib.suppress(OSError):
        return mark.encode() in (place / "environ").read_bytes().split(b"\0")
    return False


def reap() -> None:
    """Take note of children that ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def send(pid: int, number: int) -> None:
    """Send a signal, as root where the process is root's and sudo asks for no password."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        with contextlib.suppress(OSError):
            subprocess.run(["sudo", "-n", "kill", f"-{number}", str(pid)], capture_output=True, check=False)


def end(find: t.Callable[[], t.Sequence[Process]], seconds: float = 5.0) -> list[Process]:
    """Kill what `find` finds until it finds nothing more; returns what there was at first."""
    first = remaining = list(find())
    deadline = time.monotonic() + seconds
    while remaining and time.monotonic() < deadline:
        for row in remaining:
            send(row.pid, signal.SIGKILL)
        time.sleep(0.05)
        reap()
        remaining = list(find())
    return first
