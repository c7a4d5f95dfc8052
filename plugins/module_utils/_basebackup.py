# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Seed a standby's data directory from its upstream (manual, pg_basebackup). Observe, plan, apply, report."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import typing as t
from dataclasses import dataclass, field

from ansible_collections.pgtandem.replication.plugins.module_utils._conf import parse_lines
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory import (
    DirectoryEvidence,
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._database import (
    Identity,
    Target,
    driver_name,
    identify_system,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import (
    CommandFailed,
    DatabaseError,
    ReplicationError,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._incoming import Incoming, filling
from ansible_collections.pgtandem.replication.plugins.module_utils._quoting import format_conninfo, passfile_line
from ansible_collections.pgtandem.replication.plugins.module_utils._server import look_at_directory, require_free_port
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    client_serves,
    major_text,
    parse_program_version,
    same_major,
    supports,
)

#: What a copied postgresql.auto.conf may say about whom the upstream itself once followed.
_RECOVERY_PARAMETERS = re.compile(
    r"^(primary_conninfo|primary_slot_name|restore_command|recovery_.*|promote_trigger_file)$"
)


#: pg_basebackup waits for data without a limit, and the kernel first asks after two hours whether the other side is
#: there. With these a copy fails within a minute after the network did.
_KEEPALIVES = {"keepalives_idle": "20", "keepalives_interval": "10", "keepalives_count": "3"}


@dataclass(frozen=True)
class BaseBackupRequest:
    """What to copy, from where."""

    host: str
    port: int
    user: str
    password: str | None
    application_name: str
    slot: str | None = None
    checkpoint: str = "fast"
    max_rate: str | None = None
    wal_directory: str | None = None
    tablespace_mapping: t.Mapping[str, str] = field(default_factory=dict)
    #: The system that the upstream must be, where that is known.
    system_identifier: str | None = None
    options: t.Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> str:
        """The upstream, for messages."""
        return f"{self.host}:{self.port}"


def command(program: str, request: BaseBackupRequest, *, directory: str, passfile: str) -> list[str]:
    """pg_basebackup's words; the password is in the file alone.

    >>> request = BaseBackupRequest("pg1", 5432, "replica", None, "pg2", slot="pg2")
    >>> words = command("pg_basebackup", request, directory="/data", passfile="/pass")
    >>> words[-2]
    '--slot=pg2'
    >>> " ".join(words[-1].split()[:5])
    '--dbname=host=pg1 port=5432 user=replica passfile=/pass application_name=pg2'
    """
    argv = [
        program,
        f"--pgdata={directory}",
        "--format=plain",
        "--wal-method=stream",
        f"--checkpoint={request.checkpoint}",
        "--no-password",
    ]
    if request.max_rate:
        argv.append(f"--max-rate={request.max_rate}")
    if request.wal_directory:
        argv.append(f"--waldir={request.wal_directory}")
    argv += [f"--tablespace-mapping={old}={new}" for old, new in sorted(request.tablespace_mapping.items())]
    if request.slot:
        argv.append(f"--slot={request.slot}")
    conninfo = {
        "host": request.host,
        "port": str(request.port),
        "user": request.user,
        "passfile": passfile,
        "application_name": request.application_name,
        **_KEEPALIVES,
    }
    conninfo.update(request.options)
    return [*argv, "--dbname=" + format_conninfo(conninfo)]


def decide(request: BaseBackupRequest, evidence: DirectoryEvidence, upstream: Identity | None) -> str | None:
    """None where the directory is a standby of this system already, "copy" where it can be filled; refuses the rest."""
    state = classify(evidence)
    expected = upstream.system_identifier if upstream else request.system_identifier
    if state in (DirectoryState.ABSENT, DirectoryState.EMPTY, DirectoryState.INCOMING):
        return "copy"
    if state is DirectoryState.STANDBY and evidence.control is not None:
        if expected is None or evidence.control.system_identifier == expected:
            return None
        raise ReplicationError(
            f"Nothing was copied: {describe(evidence)}, but {request.shown()} is system {expected}. This directory "
            "follows another cluster. Correct the inventory, or move that directory away and run again.",
            data_directory_state=state.value,
        )
    advice = "Move it away, or name another data directory, and run again."
    if state is DirectoryState.PRIMARY:
        advice = (
            "A base backup would destroy it. If this host is to become a standby, move that directory away yourself "
            "and run again."
        )
    raise ReplicationError(f"Nothing was copied: {describe(evidence)}. {advice}", data_directory_state=state.value)


def _login(request: BaseBackupRequest) -> Identity:
    """Try the login from here, as pg_basebackup and the standby will make it."""
    try:
        identity = identify_system(
            Target(
                host=request.host,
                port=request.port,
                user=request.user,
                password=request.password,
                options=request.options,
            )
        )
    except DatabaseError as error:
        raise DatabaseError(
            f"This host cannot log in for replication at {request.shown()} as {request.user!r}. The server or libpq "
            f"says: {error.message}. {_login_advice(error.message)} Nothing was copied.",
            sqlstate=error.sqlstate,
        ) from error
    if request.system_identifier is not None and identity.system_identifier != request.system_identifier:
        raise ReplicationError(
            f"{request.shown()} is system {identity.system_identifier}, and the cluster's primary is "
            f"{request.system_identifier}: the address leads to another server. Nothing was copied."
        )
    return identity


#: What to do about a refused login, by the words of the server or of libpq.
_LOGIN_ADVICE = (
    ("password authentication failed", "Check pgtandem_replication_user and pgtandem_replication_password."),
    ("no password supplied", "Set pgtandem_replication_password."),
    ("no pg_hba.conf entry", "Let pg_hba.conf on that server admit this host's address; run its role first."),
    ("Connection refused", "Is that server running, does it listen on this address, and is the port right?"),
    ("could not translate host name", "Set pgtandem_address of that host to a name or address this host can resolve."),
    ("timeout expired", "A firewall or a wrong address is likely."),
    ("number of requested standby connections exceeds max_wal_senders", "Raise max_wal_senders on that server."),
    ("must be superuser or replication role", "That role lacks REPLICATION; run the primary's role first."),
)


def _login_advice(message: str) -> str:
    return next((advice for words, advice in _LOGIN_ADVICE if words in message), "Check the connection's settings.")


def _check_versions(host: Host, request: BaseBackupRequest, upstream: Identity) -> None:
    if not same_major(host.instance.version, upstream.version):
        raise ReplicationError(
            f"{request.shown()} runs PostgreSQL {major_text(upstream.version)} and this host has "
            f"{host.instance.major}. Physical replication needs one major version: set the same pgtandem_version. "
            "Nothing was copied."
        )
    program = host.instance.client_program("pg_basebackup")
    if not os.access(program, os.X_OK):
        raise ReplicationError(
            f"There is no {program} on this host. Install PostgreSQL's client programs, or name the folder that has "
            "them in pgtandem_client_bin_directory."
        )
    client = parse_program_version(host.runner.run([program, "--version"]).stdout)
    if not client_serves(client=client, server=upstream.version):
        raise ReplicationError(
            f"{program} is of PostgreSQL {major_text(client)} and cannot copy a newer server "
            f"({major_text(upstream.version)}). Name newer client programs in pgtandem_client_bin_directory."
        )


def seed(host: Host, request: BaseBackupRequest, *, check_mode: bool) -> dict[str, t.Any]:
    """Make the data directory a standby of the upstream's system, unless it is one."""
    evidence = look_at_directory(host)
    if decide(request, evidence, None) is None:
        return _result(host, evidence, changed=False, actions=[])
    # A copy that cannot be started would only be in the way.
    require_free_port(host)
    action = f"copy {request.shown()} into {host.instance.data_directory}"
    if classify(evidence) is DirectoryState.INCOMING:
        action = f"clear the unfinished base backup in {host.instance.data_directory} and " + action
    if check_mode and not (host.instance.installed and driver_name()):
        # The packages that a real run would have installed by now are not there.
        return _result(host, evidence, changed=True, actions=[action])
    try:
        upstream = _login(request)
    except DatabaseError as error:
        # Before the first run there may be no server, role or rule yet, and check mode changes none of that.
        if not check_mode:
            raise
        return _result(host, evidence, changed=True, actions=[action], note=error.message)
    decide(request, evidence, upstream)
    _check_versions(host, request, upstream)
    if check_mode:
        return _result(host, evidence, changed=True, actions=[action])
    with filling(host) as incoming:
        purpose = f"base backup of system {upstream.system_identifier}"
        if not incoming.is_whole(purpose):
            incoming.begin(purpose)
            _copy(host, request, incoming)
            _make_standby(host, incoming.path)
        incoming.finish(purpose)
    return _result(host, look_at_directory(host), changed=True, actions=[action])


def _copy(host: Host, request: BaseBackupRequest, incoming: Incoming) -> None:
    """Run pg_basebackup with a password file that lives as long as the copy."""
    owner = host.instance.os_user
    folder = tempfile.mkdtemp(prefix="pgtandem-")
    try:
        host.files.set_owner_and_mode(folder, owner=owner, mode=0o700)
        passfile = f"{folder}/pass"
        line = passfile_line(host=request.host, port=request.port, user=request.user, password=request.password or "")
        host.files.write_text(passfile, line + "\n", owner=owner, mode=0o600)
        program = host.instance.client_program("pg_basebackup")
        host.runner.run(
            command(program, request, directory=incoming.path, passfile=passfile),
            user=owner,
            keep_open=[incoming.lock],
        )
    except CommandFailed as error:
        said = "; ".join(line.strip() for line in str(error.details.get("stderr", "")).splitlines() if line.strip())
        raise ReplicationError(
            f"The base backup from {request.shown()} failed: {said or error.message}. Nothing else was touched; the "
            "unfinished copy is cleared by the next run."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_standby(host: Host, directory: str) -> None:
    """Mark the copy as a standby before anybody can start it: without the mark it would be a second primary."""
    name, text = (
        ("standby.signal", "")
        if supports(host.instance.version, "standby_signal")
        else (
            "recovery.conf",
            "standby_mode = 'on'\n",
        )
    )
    host.files.write_text(f"{directory}/{name}", text, owner=host.instance.os_user, mode=0o600)
    path = f"{directory}/postgresql.auto.conf"
    before = host.files.read_text(path)
    if before is None:
        return
    stale = {setting.line for setting in parse_lines(before, path) if _RECOVERY_PARAMETERS.match(setting.name)}
    if stale:
        kept = [line for number, line in enumerate(before.splitlines(keepends=True), 1) if number not in stale]
        host.files.write_text(path, "".join(kept), owner=host.instance.os_user, mode=0o600)


def _result(
    host: Host, evidence: DirectoryEvidence, *, changed: bool, actions: list[str], note: str | None = None
) -> dict[str, t.Any]:
    return {
        "changed": changed,
        "actions": actions,
        "data_directory": host.instance.data_directory,
        "data_directory_state": classify(evidence).value,
        "system_identifier": evidence.control.system_identifier if evidence.control else None,
        "timeline": evidence.control.timeline if evidence.control else None,
        "note": note,
    }
