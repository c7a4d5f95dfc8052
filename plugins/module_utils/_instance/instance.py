# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""An instance in the state that is asked for: made, configured, running. Observe, plan, apply, report."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.pgtandem.replication.plugins.module_utils._configuration import tls_files
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import (
    SETTINGS_HEADER,
    TLS_SETTINGS,
    FileChange,
    InUse,
    certificate_paths,
    configuration_problem,
    hba_changes,
    hba_path,
    ident_changes,
    ident_path,
    in_use,
    include_change,
    judge_settings,
    known_by_name,
    overriding,
    passfile_change,
    passfile_path,
    recovery_change,
    refuse_overridden_connection,
    settings_change,
    settings_elsewhere,
    settings_to_be,
    unread_files,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.restart_checks import (
    start_conf_problem,
    start_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.tls_files import (
    Tls,
    tls_changes,
    tls_settings,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.initdb import (
    create_cluster,
    create_configuration,
    lacks_configuration,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import alone
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import (
    CANNOT_CONNECT_NOW,
    DatabaseError,
    ReplicationError,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import (
    Login,
    find_postmaster,
    look_at_directory,
    open_database,
    read_control_data,
    require_free_port,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server_settings import read_recovery_ends
from ansible_collections.pgtandem.replication.plugins.module_utils._host.service import Service, service_of
from ansible_collections.pgtandem.replication.plugins.module_utils._status.next_start import same_value
from ansible_collections.pgtandem.replication.plugins.module_utils._status.queries import (
    refused_lines_statement,
    replayed_position_statement,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import (
    Database,
    Target,
    identify_system,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.network import look_up, own_addresses
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import parse_postmaster_pid
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import (
    last_values,
    parse_lines,
    render_settings,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import known_options
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    DirectoryEvidence,
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import HbaRule, IdentRule
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import (
    Needs,
    compose,
    floor_values,
    normalise,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import format_conninfo
from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import MANAGED
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import floor_parameters, supports


@dataclass(frozen=True)
class Upstream:
    """Whom a standby follows."""

    host: str
    port: int
    user: str
    application_name: str
    slot: str | None = None
    #: More options of libpq for the connection, sslmode and the like.
    options: t.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InstanceRequest:
    """What the user asks of an instance. C(upstream) makes it a standby."""

    parameters: t.Mapping[str, t.Any]
    hba_rules: tuple[HbaRule, ...]
    login: Login
    upstream: Upstream | None = None
    #: (address, port) of every server that this one may have to follow.
    peers: tuple[tuple[str, int], ...] = ()
    replication_user: str = ""
    replication_password: str | None = None
    senders: int = 0
    floors: t.Mapping[str, int] = field(default_factory=dict)
    #: restore_command and the like, under the server's names.
    recovery: t.Mapping[str, str] = field(default_factory=dict)
    tls: Tls | None = None
    ident_rules: tuple[IdentRule, ...] = ()
    listen_addresses: str = ""
    #: Where the other hosts look for this server.
    address: str = ""
    initdb_options: tuple[str, ...] = ()
    timeout: int = 300
    #: Write the parameters alone: whom it follows, who may connect and the password file stay as they are.
    only_parameters: bool = False
    #: Whether a running server may be restarted; otherwise the result says what it waits for.
    restart: bool = True
    #: Where the primary was after it lowered parameters: only behind it may this standby go lower as well.
    lowered_lsn: int | None = None


@dataclass
class Report:
    """What was done, or would be."""

    actions: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: Parameters for which the server was not restarted, or would be.
    restart_needed: list[str] = field(default_factory=list)


def conninfo_of(host: Host, upstream: Upstream) -> str:
    """primary_conninfo with only what every libpq of that major knows, and never a password."""
    options = {"host": upstream.host, "port": str(upstream.port), "user": upstream.user}
    if supports(host.instance.version, "passfile_in_conninfo"):
        options["passfile"] = passfile_path(host)
    options["application_name"] = upstream.application_name
    # The WAL receiver's libpq is of the server's own major, or of a later one.
    options.update(known_options(upstream.options, host.instance.version))
    return format_conninfo(options)


def refusal(request: InstanceRequest, evidence: DirectoryEvidence, *, check_mode: bool) -> str | None:
    """Why this directory cannot become what is asked, None where it can (pure)."""
    state = classify(evidence)
    if request.upstream is None:
        if state in (DirectoryState.ABSENT, DirectoryState.EMPTY, DirectoryState.INCOMING, DirectoryState.PRIMARY):
            return None
        if state is DirectoryState.STANDBY:
            return (
                f"{describe(evidence)}, and it is asked to be a primary. Its data was left as it is. If it was "
                "demoted on purpose, correct the inventory; if it is to be promoted, promote it first."
            )
    else:
        if state is DirectoryState.STANDBY:
            return None
        if check_mode and state in (DirectoryState.ABSENT, DirectoryState.EMPTY, DirectoryState.INCOMING):
            return None
        if state is DirectoryState.PRIMARY:
            return (
                f"{describe(evidence)}, and it is asked to be a standby. It was left as it is, since its data would "
                "be lost. Take the host out of the standbys, or move that directory away yourself and run again."
            )
        if state in (DirectoryState.ABSENT, DirectoryState.EMPTY, DirectoryState.INCOMING):
            return f"{describe(evidence)}: a standby begins with a base backup (module pg_basebackup)."
    return f"{describe(evidence)}, and was left as it is. Move it away, or name another data directory."


def _needs(host: Host, request: InstanceRequest, evidence: DirectoryEvidence) -> Needs:
    floors = dict(request.floors)
    if request.upstream is not None and evidence.control is not None:
        for name, value in evidence.control.floors.items():
            floors[name] = max(value, floors.get(name, 0))
    return Needs(
        senders=request.senders,
        floors=floors,
        port=host.instance.port,
        listen_addresses=request.listen_addresses,
        address=request.address,
        own_addresses=own_addresses(),
        primary_conninfo=conninfo_of(host, request.upstream) if request.upstream else None,
        primary_slot_name=request.upstream.slot if request.upstream else None,
        recovery=request.recovery,
        tls=tls_settings(host, request.tls),
    )


#: A standby asks its upstream again wal_retrieve_retry_interval after a restart there, which is 5 s unless it was set.
_LOWERING_SECONDS = 20.0


class Unreplayed(t.NamedTuple):
    """What a standby may not lower yet, since it has not replayed that its primary has less."""

    names: list[str]
    #: The values that its file has of them, to keep.
    held: dict[str, int]


def _await_lower_floors(
    host: Host, request: InstanceRequest, user: t.Mapping[str, str], *, seconds: float
) -> Unreplayed | None:
    """Wait until a running standby has replayed that its primary's parameters were lowered; None once it has.

    The primary writes them to the WAL when it starts, and only once that is replayed may this standby go lower.
    """
    if request.upstream is None or request.only_parameters or find_postmaster(host) is None:
        return None
    elsewhere = settings_elsewhere(host)
    wanted = floor_values(
        host.instance.version,
        compose(
            version=host.instance.version,
            user=user,
            elsewhere=elsewhere,
            needs=Needs(senders=request.senders, floors=request.floors),
        ),
        elsewhere,
    )
    managed = last_values(
        parse_lines(host.files.read_text(host.instance.settings_file) or "", host.instance.settings_file)
    )
    written = floor_values(host.instance.version, {name: setting.value for name, setting in managed.items()}, elsewhere)
    deadline = time.monotonic() + seconds
    while True:
        control = read_control_data(host)
        floors = control.floors if control is not None else {}
        high = [name for name, value in wanted.items() if floors.get(name, 0) > value]
        lower = [name for name, value in wanted.items() if written[name] > value]
        # A program that is newer than the server does not read its values; then the position alone tells.
        if not high and (not lower or _has_replayed(host, request)):
            return None
        if time.monotonic() >= deadline:
            names = sorted({*high, *lower})
            return Unreplayed(names, {name: written[name] for name in names if written[name] > wanted[name]})
        time.sleep(0.2)


def _refuse_another_system(host: Host, request: InstanceRequest, evidence: DirectoryEvidence) -> None:
    """Before a standby is sent to another address: the server there has to be of its system.

    One that does not answer yet is judged when the standby follows it.
    """
    upstream, control = request.upstream, evidence.control
    if (
        upstream is None
        or request.only_parameters
        or control is None
        or not _is_sent_elsewhere(host, request, upstream)
    ):
        return
    try:
        found = identify_system(
            Target(
                host=upstream.host,
                port=upstream.port,
                user=upstream.user,
                password=request.replication_password,
                options=dict(upstream.options),
            )
        )
    except DatabaseError:
        return
    if found.system_identifier != control.system_identifier:
        raise ReplicationError(
            f"{upstream.host}:{upstream.port} is of system {found.system_identifier}, and the standby in "
            f"{host.instance.data_directory} is of {control.system_identifier}: the address leads to another server. "
            "Nothing was written. Correct pgtandem_address or pgtandem_port of the host that it is to follow."
        )


def _is_sent_elsewhere(host: Host, request: InstanceRequest, upstream: Upstream) -> bool:
    """Whether what a standby's file says of its connection is about to change."""
    if not supports(host.instance.version, "standby_signal"):
        return _recovery_change(host, request, upstream).needed
    path = host.instance.settings_file
    kept = last_values(parse_lines(host.files.read_text(path) or "", path)).get("primary_conninfo")
    return kept is None or kept.value != conninfo_of(host, upstream)


def _connects_anew(host: Host, request: InstanceRequest) -> bool:
    """Whether a running standby's connection is to become another one, without which nothing may come any more."""
    if request.upstream is None:
        return False
    if not supports(host.instance.version, "standby_signal"):
        return _recovery_conf_waits(host) or _recovery_change(host, request, request.upstream).needed
    database = _open_when_up(host, request.login, 0)
    if database is None:
        return False
    with database:
        return database.setting("primary_conninfo") != conninfo_of(host, request.upstream)


def _has_replayed(host: Host, request: InstanceRequest) -> bool:
    """Whether a standby has replayed the position behind which its primary runs with less; true where none is known."""
    if request.lowered_lsn is None:
        return True
    database = _open_when_up(host, request.login, 0)
    if database is None:
        return False
    with database:
        replayed = database.value(replayed_position_statement(database.version))
    return replayed is None or parse_lsn(replayed) >= request.lowered_lsn


def _check_running_port(host: Host) -> None:
    postmaster = find_postmaster(host)
    managed = host.files.exists(host.instance.settings_file)
    if postmaster is not None and postmaster.port != host.instance.port and not managed:
        raise ReplicationError(
            f"The server of {host.instance.data_directory} listens on port {postmaster.port}, and the inventory says "
            f"{host.instance.port}. Set pgtandem_port: {postmaster.port} for this host, or change the port yourself."
        )


def _recovery_change(host: Host, request: InstanceRequest, upstream: Upstream) -> FileChange:
    return recovery_change(host, conninfo=conninfo_of(host, upstream), slot=upstream.slot, recovery=request.recovery)


def _files(
    host: Host, request: InstanceRequest, values: t.Mapping[str, str], used: InUse, *, check_mode: bool
) -> list[FileChange]:
    """Every file in the order in which it is safe to write them."""
    # Which files these are, and how passwords are stored, ALTER SYSTEM and a command line may say as well.
    in_force = {name: setting.value for name, setting in settings_to_be(host, values).winners().items()}
    if request.only_parameters:
        return [
            change
            for change in (settings_change(host, values), include_change(host))
            if change is not None and change.needed
        ]
    found: list[FileChange | None] = []
    if request.replication_password is not None and request.peers:
        found.append(
            passfile_change(
                host, peers=request.peers, user=request.replication_user, password=request.replication_password
            )
        )
    found += tls_changes(host, request.tls, check_mode=check_mode)
    found += ident_changes(host, request.ident_rules, in_force=in_force, used=used)
    found.append(settings_change(host, values))
    found.append(include_change(host))
    named = known_by_name(request.peers)
    found += hba_changes(host, request.hba_rules, in_force=in_force, used=used, named=named)
    if request.upstream is not None:
        found.append(_recovery_change(host, request, request.upstream))
    return [change for change in found if change is not None and change.needed]


def _write(host: Host, change: FileChange) -> None:
    if tls_files.is_tls_file(host, change):
        tls_files.write(host, change)
        return
    folder = os.path.dirname(change.path)
    if not host.files.is_folder(folder):
        host.files.make_folder(folder, mode=0o755)
    host.files.write_text(change.path, change.after, mode=change.mode)


def _write_hba(host: Host, change: FileChange, database: Database | None) -> None:
    """Write pg_hba.conf and let the server judge it before it is loaded; what it refuses is taken back."""
    _write(host, change)
    if database is None or not supports(database.version, "hba_file_rules"):
        return
    errors = database.rows("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL")
    if errors:
        lines = change.after.splitlines()
        host.files.write_text(change.path, change.before or "", mode=change.mode)
        raise ReplicationError(
            f"The server refuses {change.path}: "
            + "; ".join(
                f"line {row['line_number']} '{lines[row['line_number'] - 1]}': {row['error']}" for row in errors
            )
            + ". The file was put back as it was and not loaded. Correct pgtandem_hba_rules, or the line itself.",
            problems=[row["error"] for row in errors],
        )


def _reload(database: Database) -> None:
    """Have the server read its files again and wait until it has."""
    before = database.value("SELECT pg_conf_load_time()::text")
    database.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 5
    while database.value("SELECT pg_conf_load_time()::text") == before:
        if time.monotonic() >= deadline:
            _refuse_reload(database)
            return
        time.sleep(0.02)


def _refuse_reload(database: Database) -> None:
    """Tell why a server did not take its files over, where it knows."""
    if not supports(database.version, "file_settings"):
        return
    errors = database.rows(
        "SELECT sourcefile, sourceline, error FROM pg_file_settings "
        "WHERE error IS NOT NULL AND name IS NULL ORDER BY seqno"
    )
    if errors:
        said = "; ".join(f"{row['sourcefile']} line {row['sourceline']}: {row['error']}" for row in errors)
        raise ReplicationError(
            f"The server does not take over its configuration: {said}. The files are written and not loaded. Correct "
            "those lines and run again.",
            problems=[row["error"] for row in errors],
        )


def _write_and_reload(host: Host, changes: t.Iterable[FileChange], database: Database) -> None:
    for change in changes:
        _write(host, change)
    _reload(database)


def waiting_for_restart(database: Database, names: t.Container[str]) -> list[str]:
    """Those of our parameters that the running server will take over only by a restart."""
    if not supports(database.version, "pending_restart"):
        return []
    # What the command line says stays as it is through every restart.
    rows = database.rows(
        "SELECT name FROM pg_settings WHERE pending_restart AND source <> 'command line' ORDER BY name"
    )
    return [row["name"] for row in rows if row["name"] in names]


def _ours(host: Host, change: FileChange | None, values: t.Mapping[str, str]) -> set[str]:
    """The parameters for which a restart is ours to make: those of the managed file, those that it had until now, and
    those for which standby and primary depend on each other."""
    before = parse_lines((change.before if change is not None else None) or "", host.instance.settings_file)
    return {*values, *(setting.name for setting in before), *floor_parameters(host.instance.version)}


def _needs_restart_when_checked(
    host: Host, database: Database, change: FileChange | None, values: t.Mapping[str, str]
) -> list[str]:
    """What check mode says of a settings file that is not written: the changed names that only a restart takes over."""
    if change is None:
        return []
    rows = database.rows("SELECT name, setting, boot_val FROM pg_settings WHERE context = 'postmaster'")
    elsewhere = settings_elsewhere(host)
    before = set((change.before or "").splitlines())
    changed = {line.split(" ", 1)[0] for line in before.symmetric_difference(change.after.splitlines())}
    return sorted(
        row["name"]
        for row in rows
        if row["name"] in changed
        and row["setting"] != values.get(row["name"], elsewhere.get(row["name"], row["boot_val"]))
    )


def _recovery_conf_waits(host: Host) -> bool:
    """Whether recovery.conf is newer than the server that should have read it (before 12)."""
    instance = host.instance
    if supports(instance.version, "standby_signal"):
        return False
    pid_file = f"{instance.data_directory}/postmaster.pid"
    recovery = f"{instance.data_directory}/recovery.conf"
    written = host.files.stat(recovery)
    if written is None or not host.files.exists(pid_file):
        return False
    server = parse_postmaster_pid(host.files.read_text(pid_file) or "")
    return server is not None and written.st_mtime > server.started + 1


def _open_when_up(host: Host, login: Login, timeout: int) -> Database | None:
    """A session as soon as the server gives one; None for a standby that is not consistent yet."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return open_database(host, login, find_postmaster(host))
        except DatabaseError as error:
            if error.sqlstate != CANNOT_CONNECT_NOW:
                raise
            if time.monotonic() > deadline:
                return None
        time.sleep(0.05)


def _judge_start(host: Host, values: t.Mapping[str, str]) -> None:
    """What the server would only find out when it starts, looked at before anything is written."""
    settings = settings_to_be(host, values)
    problems = start_problems(host, {name: setting.value for name, setting in settings.winners().items()})
    # The gate saw the files as they were; what the inventory asks for anew is looked at here.
    problems += [
        f"{end.name} is {end.value!r}: {end.effect}."
        for end in read_recovery_ends(host, settings)
        if end.place == MANAGED
    ]
    if problems:
        raise ReplicationError(
            f"The server of {host.instance.data_directory} would not start with these parameters: {' '.join(problems)} "
            "Nothing was written.",
            problems=problems,
        )


def _check_restart(host: Host, database: Database, ours: t.Container[str], report: Report) -> None:
    """Before a restart: what else it would bring in, and whether anything may start the server afterwards."""
    problem = start_conf_problem(host)
    if problem:
        raise ReplicationError(
            f"The server of {host.instance.data_directory} is to be restarted, and could not start again: {problem} "
            "Nothing was written."
        )
    report.warnings += [
        f"A restart also brings in {row['name']} = {row['setting']!r} ({row['sourcefile']} line {row['sourceline']})."
        for row in foreign_edits(database)
        if row["name"] not in ours
    ]


def foreign_edits(database: Database) -> list[dict[str, t.Any]]:
    """Assignments in files that the running server has not taken over, since they wait for a restart."""
    if not supports(database.version, "file_settings"):
        return []
    try:
        return database.rows(
            "SELECT name, setting, sourcefile, sourceline FROM pg_file_settings "
            "WHERE error IS NOT NULL AND name IS NOT NULL ORDER BY seqno"
        )
    except DatabaseError:
        # Only superusers may see them.
        return []


def _unread_files(host: Host, database: Database, values: t.Mapping[str, str], used: InUse) -> list[str]:
    """The files of the configuration that are newer than what the running server has read."""
    loaded = float(database.value("SELECT extract(epoch FROM pg_conf_load_time())"))
    settings = settings_to_be(host, values)
    said = {name: setting.value for name, setting in settings.winners().items()}
    paths = {setting.path for setting in (*settings.files.settings, *settings.auto.settings)}
    # Of a file that was emptied or removed only the server still knows.
    rows = database.rows(
        "SELECT DISTINCT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL AND source = 'configuration file'"
    )
    paths |= {row["sourcefile"] for row in rows}
    for path in (used.hba_file or hba_path(host, said), used.ident_file or ident_path(host, said)):
        if host.files.lies(path):
            paths.add(path)
    paths.update(certificate_paths(host, used.tls))
    # Ours is about to be made where it is not there.
    paths.discard(host.instance.settings_file if not host.files.lies(host.instance.settings_file) else "")
    for path in sorted(paths):
        # The postmaster itself would wait for ever at a pipe.
        host.files.require_regular(path)
    return unread_files(host, paths, loaded)


def _refused_lines(database: Database, used: InUse) -> list[str]:
    """The lines of its files that the running server does not take."""
    found = []
    try:
        statement = refused_lines_statement(database.version)
        for row in json.loads(database.value(statement)) if statement else ():
            name = f" ({row['name']})" if row["name"] else ""
            found.append(f"{row['path']} line {row['line']}{name}: {row['error']}")
        if supports(database.version, "hba_file_rules"):
            for row in database.rows("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL"):
                found.append(f"{used.hba_file} line {row['line_number']}: {row['error']}")
    except DatabaseError:
        # Only superusers may see them.
        return []
    return found


def _in_use(database: Database | None) -> InUse:
    """What the running server uses, whatever the files say by now."""
    if database is None:
        return InUse()
    return in_use(
        database.rows(
            "SELECT name, setting, source FROM pg_settings "
            "WHERE name IN ('hba_file', 'ident_file', 'password_encryption') OR name = ANY (%s)",
            [list(TLS_SETTINGS)],
        )
    )


def _running_values(database: Database) -> list[dict[str, t.Any]]:
    """What the server runs with of the parameters that a restart would change."""
    if not supports(database.version, "pending_restart"):
        return []
    return database.rows(
        "SELECT name, setting, unit, boot_val, current_setting(name) AS shown FROM pg_settings WHERE pending_restart"
    )


def _restart(
    host: Host,
    service: Service,
    changes: t.Sequence[FileChange],
    running: t.Sequence[t.Mapping[str, t.Any]],
    waits: t.Sequence[str],
) -> None:
    """Restart; a server that does not come up gets back what it ran with, and is started with that."""
    problem = configuration_problem(host)
    if problem:
        _put_back(host, changes, running)
        raise ReplicationError(
            f"The server of {host.instance.data_directory} could not start again with its files as they are: {problem} "
            "It was not restarted, and what this run wrote was put back. Correct that and run again."
        )
    try:
        service.restart()
    except ReplicationError as error:
        if find_postmaster(host) is not None:
            raise
        _put_back(host, changes, running)
        try:
            service.start()
        except ReplicationError as again:
            raise ReplicationError(
                f"{error.message} It does not start with what it ran with before either, so it is down: "
                f"{again.message}",
                **error.details,
            ) from error
        raise ReplicationError(
            f"The restart for {', '.join(waits)} failed. {error.message} The files were put back to what the server "
            "ran with, and it runs again with that. Correct these parameters and run again.",
            **error.details,
        ) from error


def values_to_add(files: t.Mapping[str, str], running: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """What a server ran with and would not get from these files: another hand has edited them since its start.

    >>> values_to_add({}, [{"name": "jit", "setting": "off", "unit": None, "boot_val": "on", "shown": "off"}])
    {'jit': 'off'}
    """
    return {
        row["name"]: row["shown"]
        for row in running
        if not (
            same_value(files[row["name"]], setting=row["setting"], unit=row["unit"], shown=row["shown"])
            if row["name"] in files
            else row["setting"] == (row["boot_val"] or "")
        )
    }


def _put_back(host: Host, changes: t.Sequence[FileChange], running: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """The files as they were, and in ours what the server ran with where they do not have that."""
    path = host.instance.settings_file
    before = host.files.read_text(path)
    for change in reversed(changes):
        if change.path == path:
            before = change.before
        elif change.before is None:
            host.files.forget_file(change.path)
        else:
            host.files.write_text(change.path, change.before, mode=change.mode)
    values = {setting.name: setting.value for setting in parse_lines(before or "", path)}
    more = values_to_add(
        {name: setting.value for name, setting in settings_to_be(host, values).winners().items()}, running
    )
    if more or before is None:
        before = render_settings({**values, **more}, SETTINGS_HEADER)
    host.files.write_text(path, before, mode=0o640)


def _session(host: Host, request: InstanceRequest) -> Database | None:
    """A session with the server where it runs."""
    if find_postmaster(host) is None:
        return None
    database = _open_when_up(host, request.login, 30)
    if database is None:
        raise ReplicationError(
            f"The server of {host.instance.data_directory} is still starting up (it replays WAL). Run again later."
        )
    return database


def _configure_running(
    host: Host,
    request: InstanceRequest,
    changes: list[FileChange],
    values: t.Mapping[str, str],
    service: Service,
    report: Report,
    database: Database,
    used: InUse,
    *,
    check_mode: bool,
) -> None:
    """Bring new files into a running server: a reload, and a restart only where a parameter asks for it. The session
    is closed."""
    restart_names: list[str]
    running: list[dict[str, t.Any]] = []
    ours = next((change for change in changes if change.path == host.instance.settings_file), None)
    with database:
        own = _ours(host, ours, values)
        foreseen = _needs_restart_when_checked(host, database, ours, values) or waiting_for_restart(database, own)
        unread = _unread_files(host, database, values, used)
        if foreseen and request.restart:
            _check_restart(host, database, own, report)
        if check_mode:
            restart_names = _needs_restart_when_checked(host, database, ours, values)
        else:
            # The server judges the one that it uses.
            rules = [change for change in changes if change.is_hba]
            hba = next((change for change in rules if change.path == used.hba_file or len(rules) == 1), None)
            others = [change for change in changes if change is not hba]
            # A server without TLS refuses every rule that is about it, so that it gets its certificates before.
            if hba is not None and values.get("ssl") == "on" and database.setting("ssl") == "off":
                _write_and_reload(host, others, database)
                others = []
            # First what the server can refuse, so that nothing else has been written by then.
            if hba is not None:
                _write_hba(host, hba, database)
            if changes or unread:
                _write_and_reload(host, others, database)
            restart_names = waiting_for_restart(database, own)
            running = _running_values(database)
        report.warnings += [
            f"The server refuses {line}. It goes on with what it read before and would not start with that: correct it "
            "and run again."
            for line in _refused_lines(database, used)
        ]
    if changes or unread:
        report.actions.append("reload the configuration" + ("" if changes else f" ({', '.join(unread)} changed)"))
    recovery = any(os.path.basename(change.path) == "recovery.conf" for change in changes) or _recovery_conf_waits(host)
    waits = restart_names or (["recovery.conf"] if recovery else [])
    if waits and not request.restart and not check_mode:
        report.restart_needed = waits
    elif waits:
        stranger = service.stranger()
        if stranger:
            report.actions.append(f"stop {stranger}, with pg_ctl, and start it by its service")
        report.actions.append("restart the server for " + ", ".join(waits))
        if check_mode:
            report.restart_needed = waits
        else:
            _restart(host, service, changes, running, waits)
            reopened = _open_when_up(host, request.login, request.timeout)
            if reopened is not None:
                with reopened:
                    still = waiting_for_restart(reopened, own)
                if still:
                    raise ReplicationError(
                        f"The server of {host.instance.data_directory} was restarted for {', '.join(waits)} and still "
                        f"waits for a restart for {', '.join(still)}. See pg_settings and its log there."
                    )


def _start(host: Host, request: InstanceRequest, changes: list[FileChange], service: Service) -> None:
    """Start with the new files; a pg_hba.conf that the server refuses is put back."""
    for change in changes:
        _write(host, change)
    try:
        service.start()
    except ReplicationError:
        for change in changes:
            if change.is_hba and change.before is not None:
                host.files.write_text(change.path, change.before, mode=change.mode)
        raise
    database = _open_when_up(host, request.login, request.timeout)
    if database is not None:
        database.close()


def _check_installed(host: Host) -> None:
    if not host.instance.installed:
        raise ReplicationError(
            f"PostgreSQL {host.instance.major} is not installed: there is no {host.instance.program('postgres')}. Let "
            "the role install it (pgtandem_manage_packages) or correct pgtandem_bin_directory."
        )


def _values(host: Host, request: InstanceRequest, evidence: DirectoryEvidence) -> dict[str, str]:
    """What our file of settings is to hold, as far as the other files say now."""
    values = compose(
        version=host.instance.version,
        user=normalise(request.parameters, host.instance.version),
        elsewhere=settings_elsewhere(host),
        needs=_needs(host, request, evidence),
    )
    if not request.only_parameters:
        return values
    # Whom it follows, certificates, what is to go: all that waits for its own step of the run.
    path = host.instance.settings_file
    kept = last_values(parse_lines(host.files.read_text(path) or "", path))
    ordered = floor_parameters(host.instance.version)
    apart = ("primary_conninfo", "primary_slot_name")
    return {
        **{name: setting.value for name, setting in kept.items() if name not in ordered},
        **{name: value for name, value in values.items() if name not in apart},
    }


def _check_overrides(host: Host, request: InstanceRequest, values: t.Mapping[str, str], report: Report) -> None:
    """Other files that would win over ours: a warning, and for the connection to the upstream a reason to stop."""
    winners = overriding(host, values)
    if request.upstream is not None:
        refuse_overridden_connection(host, winners)
    report.warnings += [
        f"{setting.name} = {setting.value!r} in {setting.path} line {setting.line} wins over "
        f"{values[setting.name]!r} in {host.instance.settings_file}."
        for setting in winners
    ]


def ensure_instance(host: Host, request: InstanceRequest, *, check_mode: bool) -> tuple[dict[str, t.Any], Report]:
    """Do what is missing, and say what it was. The result holds what the rest of a run needs to know."""
    report = Report()
    evidence = look_at_directory(host)
    reason = refusal(request, evidence, check_mode=check_mode)
    if reason is not None:
        raise ReplicationError(reason, data_directory_state=classify(evidence).value)
    user = normalise(request.parameters, host.instance.version)
    if evidence.running_pid is None:
        require_free_port(host)
    _check_running_port(host)
    if check_mode and not host.instance.installed:
        report.actions.append(f"create, configure and start the instance in {host.instance.data_directory}")
        return _result(host, evidence), report
    _check_installed(host)
    _refuse_another_system(host, request, evidence)
    asked, unreplayed, afterwards = request, None, False
    if not check_mode:
        unreplayed = _await_lower_floors(host, asked, user, seconds=0)
        if unreplayed is not None and asked.restart:
            # Over the connection that it has nothing may come any more, so the new one is made first.
            afterwards = _connects_anew(host, asked)
            if not afterwards:
                unreplayed = _await_lower_floors(host, asked, user, seconds=_LOWERING_SECONDS)
        request = _holding(asked, unreplayed)
        evidence = look_at_directory(host)
    values = _values(host, request, evidence)
    # What the server would refuse is found before anything is made or written.
    if settings_change(host, values).needed:
        judge_settings(host, values)
        _judge_start(host, values)
    if request.upstream is None and classify(evidence) is not DirectoryState.PRIMARY:
        report.actions.append(f"create a cluster in {host.instance.data_directory}")
        if not check_mode:
            superuser = request.login.user or host.instance.os_user
            if create_cluster(host, superuser=superuser, options=request.initdb_options):
                report.actions.append(_created_configuration(host))
    if check_mode:
        _configure(host, request, evidence, report, check_mode=True)
    else:
        with alone(host, timeout=request.timeout):
            _configure(host, request, look_at_directory(host), report, check_mode=False)
            if afterwards:
                unreplayed = _await_lower_floors(host, asked, user, seconds=_LOWERING_SECONDS)
                _configure(host, _holding(asked, unreplayed), look_at_directory(host), report, check_mode=False)
    if unreplayed is not None and not asked.restart:
        # It waits for them in its turn to restart.
        report.restart_needed = sorted({*report.restart_needed, *unreplayed.names})
    elif unreplayed is not None and unreplayed.held:
        report.warnings.append(
            f"{', '.join(sorted(unreplayed.held))} of this standby was not lowered: it has not replayed within "
            f"{_LOWERING_SECONDS:g} seconds that its primary has less (a delayed standby, or paused replay). A later "
            "run lowers it."
        )
    return dict(_result(host, look_at_directory(host)), restart_needed=report.restart_needed), report


def _holding(request: InstanceRequest, unreplayed: Unreplayed | None) -> InstanceRequest:
    held = unreplayed.held if unreplayed is not None else {}
    return replace(request, floors={**request.floors, **held})


def _configure(
    host: Host, request: InstanceRequest, evidence: DirectoryEvidence, report: Report, *, check_mode: bool
) -> None:
    """Everything but the data: the configuration, the service, the running server."""
    if lacks_configuration(host):
        report.actions.append(_created_configuration(host))
        if not check_mode:
            create_configuration(host)
    if check_mode and classify(evidence) not in (DirectoryState.PRIMARY, DirectoryState.STANDBY):
        report.actions.append("configure and start the instance")
        report.diff.append(settings_change(host, _values(host, request, evidence)).as_diff())
        return
    values = _values(host, request, evidence)
    _check_overrides(host, request, values, report)
    database = _session(host, request)
    with database or contextlib.nullcontext():
        used = _in_use(database)
        changes = _files(host, request, values, used, check_mode=check_mode)
        report.diff += [change.as_diff() for change in changes]
        report.actions += [f"write {change.path}" for change in changes]
        if any(change.is_hba for change in changes):
            report.warnings += list(_names_that_do_not_lead_back(request))
        service = service_of(host, timeout=request.timeout)
        missing = service.missing()
        report.actions += missing
        if missing and not check_mode:
            service.install()
        if database is not None:
            _configure_running(host, request, changes, values, service, report, database, used, check_mode=check_mode)
    if database is None:
        report.actions.append("start the server")
        if not check_mode:
            _start(host, request, changes, service)


def _names_that_do_not_lead_back(request: InstanceRequest) -> t.Iterator[str]:
    """Hosts whose name in pg_hba.conf would not be enough."""
    for name in known_by_name(request.peers):
        found = look_up(name)
        if not found.addresses:
            yield f"{name} cannot be looked up here, so its rule lets nobody in. Set pgtandem_address of that host."
        elif not found.leads_back:
            yield (
                f"DNS leads from {name} to {', '.join(found.addresses)}, and from there to {found.other or 'no name'}. "
                "A rule of pg_hba.conf with that name does not count then, so there is one for the address as well."
            )


def _created_configuration(host: Host) -> str:
    return f"create the configuration in {host.instance.config_directory}"


def stop_instance(host: Host, *, timeout: int, check_mode: bool) -> tuple[dict[str, t.Any], Report]:
    """Stop the server if it runs."""
    report = Report()
    if find_postmaster(host) is not None:
        service = service_of(host, timeout=timeout)
        stranger = service.stranger()
        report.actions.append(f"stop the server ({stranger}, with pg_ctl)" if stranger else "stop the server")
        if not check_mode:
            service.stop()
    return _result(host, look_at_directory(host)), report


def _result(host: Host, evidence: DirectoryEvidence) -> dict[str, t.Any]:
    return {
        "instance": host.instance.as_result(),
        "data_directory_state": classify(evidence).value,
        "system_identifier": evidence.control.system_identifier if evidence.control else None,
        "floors": dict(evidence.control.floors) if evidence.control else {},
        "restart_needed": [],
    }
