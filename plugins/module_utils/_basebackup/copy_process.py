# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Start the job of a base backup so that it outlives the module, the connection and the controller; find it again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory import copy_program
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import Incoming
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import CommandFailed, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import Process, processes_with_open
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import account
from ansible_collections.pgtandem.replication.plugins.module_utils._system.state_file import (
    StateFile,
    is_line,
    is_number,
    is_whole,
    or_none,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import INCOMING, JOB

#: Where a Python may be that the account of PostgreSQL can run, where Ansible's own is closed to it.
_PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python", "/usr/local/bin/python3")

#: Seconds from one look at a copy without a keeper to the one that decides.
_SECOND_LOOK = 0.5


PROGRESS_FILE = StateFile(
    "how far a base backup is",
    {
        "phase": is_line,
        "done": is_whole,
        "total": or_none(is_whole),
        "rate": or_none(is_number),
        "started": is_number,
        "since": is_number,
        "updated": is_number,
        "pid": is_whole,
    },
)


class Step(t.NamedTuple):
    """A program of the job. C(phase) is what its running is called; empty where it says that itself."""

    argv: list[str]
    phase: str = ""


def _source() -> str:
    """The program's text, also out of the archive in which Ansible sends a module."""
    text = t.cast(t.Any, copy_program).__loader__.get_source(copy_program.__name__)
    return t.cast(str, text)


def _python(host: Host) -> str:
    for candidate in (sys.executable, *_PYTHONS):
        if not candidate or not host.files.may_run(candidate):
            continue
        with contextlib.suppress(OSError, CommandFailed):
            host.runner.run([candidate, "-c", "import json, select, subprocess"], user=host.instance.os_user)
            return candidate
    raise ReplicationError(
        f"The account {host.instance.os_user} can run no Python of this host ({sys.executable} is closed to it). "
        "Install python3. Nothing was copied."
    )


def unit_name(host: Host) -> str | None:
    """The unit of systemd's that a job gets, out of the session that Ansible came in with; None without systemd.

    A scope rather than a service: it inherits the lock. Its name ends differently each time, since the one of a job
    that has just died may still be there.
    """
    if not (host.facts.is_root and host.facts.has_systemd and shutil.which("systemd-run")):
        return None
    return f"pgtandem-basebackup-{host.instance.port}-{int(time.time())}.scope"


def forget_unit(host: Host, unit: str | None) -> None:
    """Take away the unit of a job that has ended: with cgroups v1 systemd may not see that it is empty."""
    # The name is read from a file of the account's, which may name another instance's.
    ours = bool(unit) and str(unit).startswith(f"pgtandem-basebackup-{host.instance.port}-")
    if unit and ours and host.facts.is_root and host.facts.has_systemd:
        host.runner.run(["systemctl", "stop", unit], check=False)


def start(
    host: Host,
    incoming: Incoming,
    steps: t.Sequence[Step],
    *,
    unit: str | None,
    passfile_line: str,
    total: int | None,
) -> None:
    """Start the job; it holds the lock from here on."""
    owner = host.instance.os_user
    python = _python(host)
    host.files.make_folder(incoming.folder, mode=0o700)
    request = {
        "marker": incoming.marker_path,
        "incoming": incoming.path,
        "total": total,
        "environment": {
            "LANG": "C",
            "LC_ALL": "C",
            "HOME": account(owner).pw_dir,
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        },
        "steps": [{"argv": step.argv, "phase": step.phase} for step in steps],
    }
    if "LD_LIBRARY_PATH" in os.environ:
        t.cast("dict[str, str]", request["environment"])["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    program = f"{incoming.folder}/{copy_program.PROGRAM}"
    for path, text in (
        (program, _source()),
        (f"{incoming.folder}/{copy_program.REQUEST}", json.dumps(request) + "\n"),
        (f"{incoming.folder}/{copy_program.PASSFILE}", passfile_line + "\n"),
    ):
        host.files.write_text(path, text, mode=0o600, durable=False)
    words = [python, "-I", program, incoming.folder, str(incoming.lock)]
    scope = ["systemd-run", "--scope", "--quiet", f"--unit={unit}"] if unit else []
    if scope:
        scope += [f"--description=Base backup into {host.instance.data_directory}", "--"]
    try:
        host.runner.run(scope + host.runner.words_as(words, user=owner), keep_open=[incoming.lock])
    except CommandFailed:
        if not scope:
            raise
        # systemd is there and does not take it, as in some containers: a process of its own will do.
        host.runner.run(words, user=owner, keep_open=[incoming.lock])


def passfile_of(incoming: Incoming) -> str:
    """Where the job's password file is while pg_basebackup logs in."""
    return f"{incoming.folder}/{copy_program.PASSFILE}"


def read_progress(host: Host) -> dict[str, t.Any] | None:
    """How far the job is, by its own word; None before it has said anything."""
    return PROGRESS_FILE.read(host.files, f"{host.instance.data_directory}/{JOB}/{copy_program.PROGRESS}") or None


class Alive(t.NamedTuple):
    """Processes that belong to the job of a data directory."""

    keepers: list[Process]
    #: pg_basebackup and what it started.
    programs: list[Process]


def processes_of(host: Host) -> Alive:
    """The job's processes: they have the data directory open, which is the lock, and name a folder of ours in it."""
    directory = host.instance.data_directory
    holders = processes_with_open(directory, identity=host.files.identity())
    return Alive(
        [process for process in holders if f"{directory}/{JOB}/{copy_program.PROGRAM}" in process.title],
        [process for process in holders if f"{directory}/{INCOMING}" in process.title],
    )


def kill_orphans(host: Host) -> bool:
    """End programs whose keeper is gone: they would write into the next copy. Whether there were any.

    The process table is read while it changes, so one look at it is not enough to end what may be somebody's good copy.
    """
    before = processes_of(host)
    if before.keepers or not before.programs:
        return False
    time.sleep(_SECOND_LOOK)
    alive = processes_of(host)
    if alive.keepers:
        return False
    orphans = set(before.programs) & set(alive.programs)
    for process in orphans:
        host.files.signal(process.pid, signal.SIGKILL)
    return bool(orphans)
