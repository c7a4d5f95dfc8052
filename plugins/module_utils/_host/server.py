# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The instance as it stands on this host: its directory, its process, a session with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import (
    Database,
    Target,
    connect,
    knock,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import (
    Postmaster,
    is_postmaster_of,
    listener_on,
    parse_postmaster_pid,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import LOOKING_SECONDS
from ansible_collections.pgtandem.replication.plugins.module_utils._system.state_file import (
    StateFile,
    is_line,
    is_name,
    list_of,
    one_of,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.control_data import (
    ControlData,
    parse_control_data,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    INCOMING_MARKER,
    REWIND_FOLDER,
    REWIND_STATE,
    DirectoryEvidence,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.login_advice import local_login_advice

#: What a rewind notes: its phases are those of _rewind_kept. The modes are those with which a server starts.
REWIND_STATE_FILE = StateFile(
    "how far a rewind is",
    {
        "phase": one_of("rewinding", "rewound"),
        "mode": lambda value: value in (0o700, 0o750),
        "files": list_of(is_name),
        # What is moved and not copied: folders, and files that cannot be written.
        "folders": list_of(is_name),
        "source": is_line,
        "wal": list_of(is_name),
    },
)

#: Any of these makes the server start in recovery (manual, Archive Recovery; recovery.conf before 12).
SIGNAL_FILES = ("standby.signal", "recovery.signal", "recovery.conf")


class Login(t.NamedTuple):
    """How the user wants the database to be reached; empty values mean the local socket as the server's own account."""

    host: str = ""
    port: int = 0
    user: str = ""
    password: str | None = None
    unix_socket: str = ""
    dbname: str = "postgres"
    options: t.Mapping[str, str] | None = None


def _unreadable(host: Host) -> ReplicationError:
    return ReplicationError(
        f"{host.instance.data_directory} cannot be read by this task's account. Set become: true, or become_user: "
        f"{host.instance.os_user}."
    )


def find_postmaster(host: Host) -> Postmaster | None:
    """The running server of the data directory; a left-over postmaster.pid is not one."""
    directory = host.instance.data_directory
    try:
        text = host.files.read_text(f"{directory}/postmaster.pid")
    except PermissionError:
        raise _unreadable(host) from None
    found = parse_postmaster_pid(text) if text else None
    return found if found and is_postmaster_of(found.pid, directory, identity=host.files.identity()) else None


def read_control_data(host: Host) -> ControlData | None:
    """The control file, None where there is none or no program can read it."""
    directory = host.instance.data_directory
    file = f"{directory}/global/pg_control"
    if not host.files.exists(file):
        return None
    # The program would wait for a pipe.
    host.files.read_part(file, offset=0, count=1)
    for program in (host.instance.program("pg_controldata"), host.instance.client_program("pg_controldata")):
        if host.files.may_run(program):
            answer = host.runner.run([program, "-D", directory], user=host.instance.os_user, seconds=LOOKING_SECONDS)
            return parse_control_data(answer.stdout)
    raise ReplicationError(
        f"{directory} holds a cluster, and no pg_controldata is in {host.instance.bin_directory} or "
        f"{host.instance.client_bin_directory} to read it with. Install PostgreSQL's client programs, or name their "
        "folder in pgtandem_client_bin_directory."
    )


def look_at_directory(host: Host, *, control: ControlData | None = None) -> DirectoryEvidence:
    """What lies in the data directory; nothing is changed.

    C(control) is the control file where the running server was asked for it, which saves a process.
    """
    directory = host.instance.data_directory
    if not host.files.lies(directory):
        return DirectoryEvidence(directory)
    if not host.files.is_folder(directory):
        return DirectoryEvidence(directory, exists=True, is_directory=False)
    try:
        entries = tuple(host.files.list_names(directory))
    except PermissionError:
        raise _unreadable(host) from None
    version = host.files.read_text(f"{directory}/PG_VERSION")
    postmaster = find_postmaster(host)
    return DirectoryEvidence(
        directory,
        exists=True,
        entries=entries,
        has_marker=INCOMING_MARKER in entries,
        pg_version=version.strip() if version else None,
        control=(control or read_control_data(host)) if version else None,
        signal_files=tuple(name for name in SIGNAL_FILES if name in entries),
        running_pid=postmaster.pid if postmaster else None,
        rewind_phase=str(read_rewind_state(host).get("phase") or "unknown")
        if host.files.lies(f"{directory}{REWIND_FOLDER}/{REWIND_STATE}")
        else None,
    )


def read_rewind_state(host: Host) -> dict[str, t.Any]:
    """What a rewind noted beside the data directory, empty where there is nothing."""
    return REWIND_STATE_FILE.read(host.files, f"{host.instance.data_directory}{REWIND_FOLDER}/{REWIND_STATE}")


@contextlib.contextmanager
def alone_with_cluster(host: Host, *, timeout: float) -> t.Iterator[None]:
    """Keep other runs off a cluster that is there: two plays at once may both be about to configure and start it."""
    try:
        descriptor = host.files.open_file(f"{host.instance.data_directory}/PG_VERSION", os.O_RDONLY)
    except (OSError, FileRefused):
        yield
        return
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ReplicationError(
                        f"Another run has been configuring {host.instance.data_directory} for {timeout:g} seconds. "
                        "Wait for its end and run again."
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def require_free_port(host: Host) -> None:
    """See that nobody else listens where the server of this instance, which does not run, will."""
    who = listener_on(host.instance.port)
    if who is not None:
        raise ReplicationError(
            f"Port {host.instance.port} of this host is taken by {who}, so the instance in "
            f"{host.instance.data_directory} could not start. Stop that, or set another pgtandem_port."
        )


def local_target(host: Host, login: Login, postmaster: Postmaster | None) -> Target:
    """Where the instance's own server is reached, by default its socket and its own account."""
    instance = host.instance
    place = login.host or login.unix_socket
    if not place and postmaster is not None:
        place = postmaster.socket_directory or "localhost"
    return Target(
        host=place or "localhost",
        port=login.port or (postmaster.port if postmaster else instance.port),
        user=login.user or instance.os_user,
        password=login.password,
        dbname=login.dbname,
        # Peer authentication is for sockets; over TCP the account would only hide root's own certificates from libpq.
        os_user=instance.os_user if place.startswith("/") else None,
        options=login.options,
    )


def open_database(host: Host, login: Login, postmaster: Postmaster | None) -> Database:
    """A session with the instance's server; a refusal is told with the server's own words and what to set."""
    target = local_target(host, login, postmaster)
    try:
        return connect(target)
    except DatabaseError as error:
        answer = knock(target)
        # That is the default of ssl_mode.
        given = {name for name, value in (login.options or {}).items() if (name, value) != ("sslmode", "prefer")}
        advice = local_login_advice(answer, password=login.password is not None, options=bool(given))
        raise DatabaseError(
            f"The server of {host.instance.data_directory} does not let this host log in at {target.shown()}: "
            f"{error.message.rstrip('.')}. {advice}".rstrip(),
            sqlstate=error.sqlstate or answer.sqlstate or None,
        ) from error


def _is_elsewhere(login: Login) -> bool:
    return not (login.host.startswith("/") or login.host in ("", "localhost", "127.0.0.1", "::1"))


def open_session(host: Host, login: Login, *, or_none: bool) -> Database | None:
    """A session with the instance's server, started or not.

    With C(or_none), which check mode wants, a server that does not run on this host yet is None; otherwise it is an
    error with advice. A server elsewhere (C(login_host)) always has to answer.
    """
    if _is_elsewhere(login):
        return open_database(host, login, None)
    postmaster = find_postmaster(host)
    if postmaster is None and not (login.host or login.unix_socket):
        if or_none:
            return None
        raise ReplicationError(
            f"No server runs on {host.instance.data_directory}. Start it, or name the right data_directory "
            "(pgtandem_data_directory), or the server's place in login_host or login_unix_socket."
        )
    try:
        return open_database(host, login, postmaster)
    except ReplicationError:
        if or_none and postmaster is None:
            return None
        raise
