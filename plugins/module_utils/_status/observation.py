# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Everything that one host knows about replication, in one shape whatever its state and version.

Looking never fails: what could not be seen is null, and C(instance_error), C(data_directory.error) or
C(database_error) says why.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import typing as t
from enum import Enum

from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup.copy_needs import read_copy_needs
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import (
    certificate_paths,
    unread_files,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.tls_files import look
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.initdb import lacks_configuration
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.promotion_claim import read_claim
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.set_aside import read_journal
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import (
    Login,
    find_postmaster,
    look_at_directory,
    open_database,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server_settings import (
    read_recovery_ends,
    read_server_settings,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._status.queries import (
    RECEIVER_COLUMNS,
    SENDER_COLUMNS,
    SETTINGS,
    SLOT_COLUMNS,
    current_position_statement,
    refused_lines_statement,
    replication_rules_statement,
    sizes_statement,
    status_statement,
    weak_roles_statement,
    write_statement,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import (
    Database,
    Target,
    connect,
    driver_name,
    require_driver,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._system.network import listens_on, own_addresses
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import (
    Postmaster,
    children_of,
    command_lines_of,
    listener_on,
    local_port_of,
    machine_identity,
    replication_part,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import last_values
from ansible_collections.pgtandem.replication.plugins.module_utils._values.control_data import ControlData
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    DirectoryEvidence,
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import HostFacts
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import (
    format_lsn,
    latest_lsn,
    lsn_distance,
    parse_lsn,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import (
    parse_conninfo,
    redact_conninfo,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import (
    AUTO,
    COMMAND_LINE,
    ServerSettings,
    recovery_ends_of_values,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    NEWEST,
    STANDBY_SETTINGS,
    floor_parameters,
    major_text,
    supports,
)

Status = t.Dict[str, t.Any]

#: Programs that replication needs on a host, of the server and of the client.
SERVER_PROGRAMS = ("initdb", "pg_controldata", "pg_ctl", "postgres")
CLIENT_PROGRAMS = ("pg_basebackup", "pg_rewind", "psql")

#: What a run needs to know of the files before it can say what a server will run with.
CONFIGURED_SETTINGS = (
    *floor_parameters(NEWEST),
    "listen_addresses",
    "max_replication_slots",
    "synchronous_commit",
    "synchronous_standby_names",
)


#: Where a slot's file has the database: behind four numbers and the name, since 9.4.
_SLOT_DATABASE = slice(80, 84)


class Position(Enum):
    """What a primary is asked for besides its status."""

    NONE = "none"
    #: How far it has written.
    CURRENT = "current"
    #: Write a record that changes no data, and say where it ends.
    WRITE = "write"


def empty_status() -> Status:
    """Every key of the result, of a host about which nothing is known."""
    return {
        "host": {
            "distribution": None,
            "codename": None,
            "has_systemd": None,
            "architecture": os.uname().machine,
            "python": platform.python_version(),
            "psycopg": driver_name() or None,
            "machine": machine_identity(),
            "python_path": sys.executable,
            "packages_serve_python": packages_serve(sys.path, sys.executable),
        },
        "instance": None,
        "instance_error": None,
        "installed": False,
        "missing_programs": [],
        "data_directory": {
            "path": None,
            "state": None,
            "description": None,
            "signal_files": [],
            "error": None,
            "set_aside": None,
            "claim": None,
            "expected_by": None,
        },
        "control": None,
        "running": False,
        "postmaster": None,
        "port_taken_by": None,
        "network": {"addresses": None, "listens_on": None},
        "unreached": None,
        "server_version": None,
        "major": None,
        "accepts_connections": False,
        "database_error": None,
        "database_sqlstate": None,
        "role": None,
        "timeline": None,
        "timeline_history": None,
        "oldest_wal_lsn": None,
        "system_identifier": None,
        "upstream": None,
        "positions": dict.fromkeys(("current", "flush", "insert", "receive", "replay", "replay_timestamp")),
        "replay": dict.fromkeys(("paused", "pause_state", "lag_bytes", "lag_seconds")),
        "wal_senders": [],
        "wal_receiver": None,
        "slots": [],
        "slots_on_disk": None,
        "settings": dict.fromkeys(SETTINGS),
        "pending_restart": [],
        "unread_files": None,
        "refused_lines": None,
        "stale_settings": [],
        "recovery_ends": [],
        "next_start": None,
        "configured": None,
        "patroni": None,
        "patroni_running": None,
        "replication_rules": None,
        "md5_roles": None,
        "processes": [],
        "collation": None,
        "tls": None,
        "sizes": None,
        "copy_needs": None,
        "written_lsn": None,
    }


def status_without_instance(error: ReplicationError, facts: HostFacts) -> Status:
    """The status of a host on which no instance can be derived from what was asked."""
    status = empty_status()
    _fill_host(status, facts)
    status["instance_error"] = error.message
    return status


def observe(host: Host, login: Login, *, position: Position = Position.NONE, sizes: bool = False) -> Status:
    """Look once; C(position) becomes the primary's C(written_lsn). C(sizes) measures what a base backup would copy."""
    status = empty_status()
    _fill_host(status, host.facts)
    instance = host.instance
    status["instance"] = instance.as_result()
    status["installed"] = instance.installed
    status["missing_programs"] = [
        name
        for name in SERVER_PROGRAMS + CLIENT_PROGRAMS
        if not any(host.files.may_run(locate(name)) for locate in (instance.program, instance.client_program))
    ]
    status["data_directory"]["path"] = instance.data_directory
    try:
        postmaster = find_postmaster(host)
    except OSError as error:
        status["data_directory"]["error"] = str(error)
        postmaster = None
    answer = None
    # Before the server is asked what it makes of its files: it would wait for ever at a pipe in place of one.
    settings = _read_settings(host)
    # Without a server of this data directory only an address that the user gave can lead to one.
    if postmaster is not None or login.host or login.unix_socket:
        answer = _ask(status, host, login, postmaster, position, sizes)
    _fill_directory(status, host, answer)
    status["network"]["addresses"] = own_addresses()
    if postmaster is not None:
        _fill_processes(status, postmaster)
        status["network"]["listens_on"] = listens_on(postmaster.port)
    elif not login.host:
        status["port_taken_by"] = listener_on(instance.port)
    if answer is not None:
        _fill_answer(status, answer, local_port_of)
    _fill_files(status, host, settings, answer)
    return status


def _read_settings(host: Host) -> ServerSettings | OSError:
    """What the configuration files say, or why they cannot be read."""
    try:
        return read_server_settings(host)
    except OSError as error:
        return error


def observe_from_afar(target: Target) -> Status:
    """The same shape from a session alone: what only the server's own host can tell is null."""
    require_driver()
    status = empty_status()
    status["host"] = dict.fromkeys(status["host"])
    with connect(target) as database:
        database.execute("SET TimeZone = 'UTC'")
        answer = _answer_of(database)
        status.update(
            running=True, accepts_connections=True, server_version=database.version, major=major_text(database.version)
        )
    control = _control_of(answer)
    if control is not None:
        status.update(control=control.as_result(), system_identifier=control.system_identifier)
    _fill_answer(status, answer, lambda _pid: None)
    place, role = status["data_directory"], status["role"]
    place.update(path=status["settings"]["data_directory"], state=role, description=f"the server runs as a {role}")
    if role == "standby":
        status["upstream"] = _upstream(status, status["settings"]["primary_conninfo"])
    return status


def _fill_host(status: Status, facts: HostFacts) -> None:
    status["host"].update(
        distribution=facts.distribution or None, codename=facts.codename or None, has_systemd=facts.has_systemd
    )


def _ask(
    status: Status, host: Host, login: Login, postmaster: Postmaster | None, position: Position, sizes: bool
) -> dict[str, t.Any] | None:
    """The server's own answer, None where it gives none; then the status says why."""
    try:
        require_driver()
        with open_database(host, login, postmaster) as database:
            # Times are then the same text whatever the server's own zone is.
            database.execute("SET TimeZone = 'UTC'")
            answer = _answer_of(database)
            _require_same_directory(host, login, answer)
            if position is Position.WRITE and not answer["in_recovery"]:
                status["written_lsn"] = _write_position(database)
                # What is reported is to have the position in it.
                answer = _answer_of(database)
            elif position is Position.CURRENT:
                status["written_lsn"] = answer["current"]
            if sizes:
                status["sizes"] = json.loads(database.value(sizes_statement(database.version)))
                status["copy_needs"] = read_copy_needs(host, login, postmaster, database)
            if _has_plain_files(host, answer):
                status["replication_rules"] = _for_superusers(database, replication_rules_statement(database.version))
                status["refused_lines"] = _for_superusers(database, refused_lines_statement(database.version))
            status["md5_roles"] = _for_superusers(database, weak_roles_statement(database.version))
            status.update(
                running=True,
                accepts_connections=True,
                server_version=database.version,
                major=major_text(database.version),
            )
            return answer
    except ReplicationError as error:
        if isinstance(error, DatabaseError):
            status.update(accepts_connections=False, database_sqlstate=error.sqlstate)
        elif postmaster is not None:
            # There is no driver to ask with: nothing is known about it.
            status["accepts_connections"] = None
        status["database_error"] = error.message
        return None


def _has_plain_files(host: Host, answer: t.Mapping[str, t.Any]) -> bool:
    """Whether the server can be asked to read its files, as far as this account may see them."""
    used = answer["settings"] or {}
    paths = {host.instance.main_file, host.instance.auto_file, *(answer["sources"] or ())}
    for path in sorted(paths.union(used[name] for name in ("config_file", "hba_file") if used.get(name))):
        try:
            host.files.require_regular(path)
        except FileRefused:
            return False
        except OSError:
            # What this account may not see it has not put there either.
            continue
    return True


def _answer_of(database: Database) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads(database.value(status_statement(database.version))))


def _for_superusers(database: Database, statement: str | None) -> t.Any:
    try:
        return json.loads(database.value(statement)) if statement else None
    except DatabaseError:
        # Only superusers may see it, and the rest is worth knowing to others too.
        return None


def _require_same_directory(host: Host, login: Login, answer: dict[str, t.Any]) -> None:
    """An address that the user gave may lead to another server, whose rows would be told as this one's."""
    theirs, ours = (answer["settings"] or {}).get("data_directory"), host.instance.data_directory
    if theirs and host.files.real_path(theirs) != host.files.real_path(ours):
        raise DatabaseError(
            f"The server at {login.host or login.unix_socket or 'the socket'} has the data directory {theirs}, and "
            f"this instance has {ours}. Correct login_host, login_port or data_directory."
        )


def _write_position(database: Database) -> str:
    """Write a record that changes no data, and return the position behind it."""
    # The standbys are to be asked for it, so waiting for a synchronous one here would hide what is looked for.
    database.execute("SET synchronous_commit = local")
    statement = write_statement(database.version)
    if statement is None:
        database.value("SELECT txid_current()")
        statement = current_position_statement(database.version)
    written = t.cast(str, database.value(statement))
    # The settings are read next, and are to be the server's own.
    database.execute("RESET synchronous_commit")
    return written


def _fill_directory(status: Status, host: Host, answer: dict[str, t.Any] | None) -> None:
    """The data directory and its control file; C(pg_controldata) runs only where the server did not tell."""
    place = status["data_directory"]
    control = _control_of(answer) if answer is not None else None
    try:
        evidence = look_at_directory(host, control=control)
    except (ReplicationError, OSError) as error:
        message = error.message if isinstance(error, ReplicationError) else str(error)
        place.update(error=message, description=message)
    else:
        place.update(
            state=classify(evidence).value, description=describe(evidence), signal_files=list(evidence.signal_files)
        )
        status["role"] = _role_on_disk(evidence)
        control = evidence.control
    if control is not None:
        status["control"] = control.as_result()
        status["system_identifier"] = control.system_identifier
        status["timeline"] = control.timeline


def _role_on_disk(evidence: DirectoryEvidence) -> str | None:
    """What the cluster would start as."""
    state = classify(evidence)
    return state.value if state in (DirectoryState.PRIMARY, DirectoryState.STANDBY) else None


def _control_of(answer: dict[str, t.Any]) -> ControlData | None:
    """The control file as the running server tells it; None before 9.6."""
    told = answer["control"]
    if told is None:
        return None
    settings = answer["settings"] or {}
    return ControlData(
        system_identifier=told["system_identifier"],
        # No function tells the state, and a server that answers queries has only these two.
        state="in archive recovery" if answer["in_recovery"] else "in production",
        timeline=told["timeline_id"],
        checkpoint_lsn=told["checkpoint_lsn"],
        minimum_recovery_lsn=told["minimum_recovery_lsn"],
        data_checksums=settings.get("data_checksums") == "on",
        wal_log_hints=settings.get("wal_log_hints") == "on",
        wal_level=settings.get("wal_level"),
        floors={},
        block_size=told["block_size"],
        wal_segment_bytes=told["wal_segment_bytes"],
    )


def _fill_processes(status: Status, postmaster: Postmaster) -> None:
    status["running"] = True
    status["postmaster"] = {
        "pid": postmaster.pid,
        "port": postmaster.port,
        "socket_directory": postmaster.socket_directory or None,
        "status": postmaster.status or None,
    }
    status["processes"] = [
        {"pid": process.pid, "part": replication_part(process.title), "title": process.title}
        for process in children_of(postmaster.pid)
    ]


def _fill_answer(status: Status, answer: dict[str, t.Any], port_of: t.Callable[[int], int | None]) -> None:
    titles = {process["pid"]: process["title"] for process in status["processes"]}
    status["role"] = "standby" if answer["in_recovery"] else "primary"
    status["positions"] = {name: answer[name] for name in status["positions"]}
    read = {name: (answer["settings"] or {}).get(name) for name in SETTINGS}
    status["settings"] = {name: value and redact_conninfo(value) for name, value in read.items()}
    status["pending_restart"] = answer["pending_restart"] or []
    status["collation"] = _collation_of(answer["collation"], t.cast(int, status["server_version"]))
    status["wal_receiver"] = _receiver_of(answer["receiver"], titles, port_of)
    status["timeline"] = _timeline_of(answer)
    status["replay"] = _replay_of(answer)
    reached = _reached(answer)
    status["wal_senders"] = [
        dict(
            {column.name: row[column.name] for column in SENDER_COLUMNS},
            lag_bytes=lsn_distance(reached, row["replay_lsn"]),
            process=titles.get(row["pid"]),
        )
        for row in answer["senders"]
    ]
    status["slots"] = [
        dict(
            {column.name: row[column.name] for column in SLOT_COLUMNS},
            retained_bytes=lsn_distance(reached, row["restart_lsn"]),
        )
        for row in answer["slots"]
    ]


def _reached(answer: dict[str, t.Any]) -> str | None:
    """How far this server's own WAL goes; a standby that feeds others has what it received or replayed."""
    return t.cast("str | None", answer["current"]) or latest_lsn(answer["receive"], answer["replay"])


def _timeline_of(answer: dict[str, t.Any]) -> int | None:
    """The timeline that is written or received now; the control file follows only with the next checkpoint."""
    if answer["walfile"]:
        return int(answer["walfile"][:8], 16)
    if answer["receiver"] and answer["receiver"]["received_tli"]:
        return t.cast(int, answer["receiver"]["received_tli"])
    told = answer["control"]
    return max(told["timeline_id"], told["minimum_recovery_timeline"] or 0) if told else None


def _receiver_of(
    row: dict[str, t.Any] | None, titles: t.Mapping[int, str], port_of: t.Callable[[int], int | None]
) -> dict[str, t.Any] | None:
    if row is None:
        return None
    receiver = {column.name: row[column.name] for column in RECEIVER_COLUMNS}
    if receiver["conninfo"]:
        receiver["conninfo"] = redact_conninfo(receiver["conninfo"])
        said = upstream_of(receiver["conninfo"])
        # Before 11 no column names the sender; the connection string does, where it names just one.
        if said and receiver["sender_host"] is None:
            receiver.update(sender_host=said["host"], sender_port=said["port"])
    return dict(receiver, process=titles.get(row["pid"]), local_port=port_of(row["pid"]))


def _replay_of(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """How far replay is behind. A standby that replayed all it was told of is not behind, however old that is."""
    receiver = answer["receiver"]
    lag_bytes = lsn_distance(latest_lsn(answer["receive"], receiver and receiver["latest_end_lsn"]), answer["replay"])
    lag_seconds = answer["replay_age"] if lag_bytes else None
    if lag_bytes == 0 and receiver is not None and receiver["status"] == "streaming":
        lag_seconds = 0
    return {
        "paused": answer["paused"],
        "pause_state": answer["pause_state"],
        "lag_bytes": lag_bytes,
        "lag_seconds": lag_seconds,
    }


def _collation_of(row: dict[str, t.Any], version: int) -> dict[str, t.Any]:
    """The default collation; before 15 its library is always libc, whose version is the system's."""
    if not supports(version, "database_collation_version") and row["locale"] not in ("C", "POSIX"):
        row["version"] = (os.confstr("CS_GNU_LIBC_VERSION") or "").replace("glibc ", "") or None
    return {"provider": row["provider"], "locale": row["locale"], "version": row["version"]}


def upstream_of(conninfo: str | None) -> dict[str, t.Any] | None:
    """The one host and port that a connection string names.

    >>> upstream_of("host=pg1 user=replica")
    {'host': 'pg1', 'port': 5432}
    >>> upstream_of("host=pg1,pg2"), upstream_of("user=replica")
    (None, None)
    """
    try:
        options = parse_conninfo(conninfo or "")
    except ReplicationError:
        return None
    host, port = options.get("host") or options.get("hostaddr"), options.get("port") or "5432"
    return {"host": host, "port": int(port)} if host and "," not in host and re.fullmatch("[0-9]{1,5}", port) else None


def _fill_files(
    status: Status, host: Host, settings: ServerSettings | OSError, answer: t.Mapping[str, t.Any] | None
) -> None:
    """What only files tell: the upstream of a standby, its timeline's history, settings that lie in the wrong place."""
    instance, files = host.instance, host.files
    try:
        if isinstance(settings, OSError):
            raise settings
        if answer is not None:
            status["unread_files"] = _unread_files(status, host, settings, answer)
        status["stale_settings"] = _stale_settings(settings)
        status["recovery_ends"] = _recovery_ends(status, host, settings)
        status["configured"] = _configured(settings)
        if not status["accepts_connections"]:
            status["slots_on_disk"] = _slots_on_disk(host)
        status["data_directory"].update(
            set_aside=_set_aside(host), claim=read_claim(host), expected_by=_expected_by(status, host)
        )
        status["patroni"] = _patroni(host)
        if status["patroni"]:
            status["patroni_running"] = _patroni_runs(host)
        if status["role"] == "standby" and not (status["wal_receiver"] or {}).get("received_tli"):
            status["timeline"] = _timeline_followed(files, instance.data_directory, status)
        if status["timeline"] is not None:
            status["timeline_history"] = _timeline_history(files, instance.data_directory, status["timeline"])
        segment_bytes = (status["control"] or {}).get("wal_segment_bytes")
        if segment_bytes:
            status["oldest_wal_lsn"] = oldest_wal_lsn(_wal_files(files, instance.data_directory), segment_bytes)
        conninfo = None
        if status["role"] == "standby":
            on_disk = settings.winners().get("primary_conninfo")
            conninfo = status["settings"]["primary_conninfo"] or (on_disk and on_disk.value)
            status["upstream"] = _upstream(status, conninfo) or upstream_of(on_disk and on_disk.value)
        status["tls"] = look(host, status["settings"], _options_of(conninfo))
    except OSError as error:
        status["data_directory"]["error"] = str(error)


def _unread_files(
    status: Status, host: Host, settings: ServerSettings, answer: t.Mapping[str, t.Any]
) -> list[str] | None:
    """The files that the server has not read since they were changed."""
    if answer["loaded"] is None:
        return None
    used = status["settings"]
    rules = [used[name] for name in ("hba_file", "ident_file") if used[name] and host.files.lies(used[name])]
    paths = {setting.path for setting in (*settings.files.settings, *settings.auto.settings)}
    paths.update(answer["sources"] or (), rules, certificate_paths(host, used))
    return unread_files(host, paths, float(answer["loaded"]))


def _options_of(conninfo: str | None) -> dict[str, str]:
    try:
        return parse_conninfo(conninfo or "")
    except ReplicationError:
        return {}


def _upstream(status: Status, conninfo: str | None) -> dict[str, t.Any] | None:
    """What a standby follows, from its WAL receiver or else from its setting."""
    receiver = status["wal_receiver"]
    if receiver and receiver["sender_host"]:
        return {"host": receiver["sender_host"], "port": receiver["sender_port"]}
    return upstream_of(conninfo)


def _stale_settings(settings: ServerSettings) -> list[dict[str, t.Any]]:
    """A standby's settings in postgresql.auto.conf, and what they win over."""
    others = last_values(settings.files.settings)
    stale = last_values(setting for setting in settings.auto.settings if setting.name in STANDBY_SETTINGS)
    return [
        {
            "name": name,
            "value": redact_conninfo(setting.value),
            "overrides": redact_conninfo(others[name].value) if name in others else None,
            "path": setting.path,
            "line": setting.line,
        }
        for name, setting in sorted(stale.items())
    ]


def _recovery_ends(status: Status, host: Host, settings: ServerSettings) -> list[dict[str, t.Any]]:
    """What would end a recovery without a promotion that was asked for: in what is read at the next start, and in what
    a running standby was started with."""
    pid = (status["postmaster"] or {}).get("pid")
    found = read_recovery_ends(host, settings, pid=pid)
    if status["role"] == "standby":
        known = {end.name for end in found}
        found += [end for end in recovery_ends_of_values(status["settings"]) if end.name not in known]
    return [dict(end.as_result(), value=redact_conninfo(end.value)) for end in found]


def _configured(settings: ServerSettings) -> dict[str, t.Any]:
    """What the files say of the parameters whose change has an order, by who wrote it: a plan is made from it."""
    managed = last_values(setting for setting in settings.files.settings if setting.path == settings.managed_file)
    places = {
        "managed": {name: setting.value for name, setting in managed.items()},
        "elsewhere": settings.elsewhere(),
        AUTO: {name: setting.value for name, setting in last_values(settings.auto.settings).items()},
        COMMAND_LINE: dict(settings.command_line),
    }
    return {
        place: {name: values[name] for name in CONFIGURED_SETTINGS if name in values}
        for place, values in places.items()
    }


def _slots_on_disk(host: Host) -> list[dict[str, t.Any]]:
    """The slots of a server that cannot be asked. One without a database is physical (slot.c)."""
    folder = f"{host.instance.data_directory}/pg_replslot"
    found = []
    for name in host.files.list_names(folder):
        try:
            head = host.files.read_part(f"{folder}/{name}/state", offset=0, count=_SLOT_DATABASE.stop)
        except OSError:
            continue
        if head is not None and len(head) == _SLOT_DATABASE.stop:
            logical = any(head[_SLOT_DATABASE])
            found.append({"slot_name": name, "slot_type": "logical" if logical else "physical"})
    return found


def _set_aside(host: Host) -> dict[str, t.Any] | None:
    """Where an older data directory of this instance lies, and whether the new one has been proven since."""
    journal = read_journal(host)
    return {"path": journal["moves"][0][1], "proven": journal["proven"]} if journal else None


def _wal_files(files: Files, directory: str) -> list[str]:
    return files.list_names(f"{directory}/pg_wal") or files.list_names(f"{directory}/pg_xlog")


def oldest_wal_lsn(names: t.Iterable[str], segment_bytes: int) -> str | None:
    """Where the oldest WAL file begins that is there, of whatever timeline.

    >>> oldest_wal_lsn(["000000010000000000000007", "000000020000000100000005", "archive_status"], 16 * 1024 * 1024)
    '0/7000000'
    """
    found = [name[8:] for name in names if re.match(r"^[0-9A-F]{24}$", name)]
    if not found:
        return None
    first = min(found)
    return format_lsn((int(first[:8], 16) << 32) + int(first[8:], 16) * segment_bytes)


def _expected_by(status: Status, host: Host) -> str | None:
    """The configuration of a cluster whose data is not where it is expected: its disk may not be mounted."""
    instance = host.instance
    if status["data_directory"]["state"] not in (DirectoryState.ABSENT.value, DirectoryState.EMPTY.value):
        return None
    if instance.config_directory == instance.data_directory or lacks_configuration(host):
        return None
    # Debian's is made along with the data. Elsewhere one without our file may have been written for a cluster to be.
    ours = instance.layout == "debian" or host.files.exists(instance.settings_file)
    return instance.main_file if ours else None


def packages_serve(paths: t.Iterable[str], executable: str) -> bool:
    """Whether this Python finds a driver that the system's packages bring; that of a virtual environment does
    not, nor one that was built by hand.

    >>> packages_serve(["/opt/venv/lib/python3.11/site-packages"], "/opt/venv/bin/python")
    False
    """
    folders = ("dist-packages", "site-packages")
    return executable == "/usr/bin/python3" or any(
        path.startswith("/usr/lib") and path.endswith(folders) for path in paths
    )


def _patroni(host: Host) -> str | None:
    """The file that says of itself that Patroni writes it: what others write is overwritten or without effect."""
    path = host.instance.main_file
    head = (host.files.read_text(path) or "").splitlines()[:3]
    return path if any("overwritten by Patroni" in line for line in head) else None


def _patroni_runs(host: Host) -> bool:
    """Whether a Patroni runs that is about this data directory: with a configuration that names it, or without one."""
    for words in command_lines_of("patroni"):
        named = [word for word in words[1:] if word.endswith((".yml", ".yaml"))]
        texts = [_text_or_nothing(host, word) for word in named]
        if not any(texts) or any(host.instance.data_directory in text for text in texts):
            return True
    return False


def _text_or_nothing(host: Host, path: str) -> str:
    try:
        return host.files.read_text(path) or ""
    except (OSError, ReplicationError):
        return ""


def _timeline_followed(files: Files, directory: str, status: Status) -> int | None:
    """The timeline of a standby without a WAL receiver. Its control file knows a new one only since its last restart
    point, so what it has received since, and the histories of that, may tell of a later one."""
    control, told = status["control"] or {}, status["timeline"]
    known = [status["positions"]["receive"], status["positions"]["replay"], control.get("minimum_recovery_lsn")]
    position, size = latest_lsn(*known), control.get("wal_segment_bytes")
    if told is None or not position or not size:
        return t.cast("int | None", told)
    at = parse_lsn(position)
    for folder in ("pg_wal", "pg_xlog"):
        for timeline in timelines_at(files.list_names(f"{directory}/{folder}"), at, size):
            history = _timeline_history(files, directory, timeline) if timeline > told else None
            if history and parse_lsn(history[-1]["lsn"]) <= at:
                return timeline
    return t.cast(int, told)


def timelines_at(names: t.Iterable[str], position: int, segment_bytes: int) -> list[int]:
    """The timelines that have a WAL file for what is just before a position, the latest first.

    >>> timelines_at(["00000001000000000000000B", "00000002000000000000000B", "00000003.history"], 0xB000100, 1 << 24)
    [2, 1]
    """
    number, each = max(position - 1, 0) // segment_bytes, 0x100000000 // segment_bytes
    wanted = f"{number // each:08X}{number % each:08X}"
    return sorted((int(name[:8], 16) for name in names if name[8:] == wanted), reverse=True)


def _timeline_history(files: Files, directory: str, timeline: int) -> list[dict[str, t.Any]] | None:
    """The switches that led to a timeline; None where its file is gone. The first timeline has no history."""
    if timeline == 1:
        return []
    for folder in ("pg_wal", "pg_xlog"):
        text = files.read_text(f"{directory}/{folder}/{timeline:08X}.history")
        if text is not None:
            return parse_history(text)
    return None


def parse_history(text: str) -> list[dict[str, t.Any]]:
    r"""The lines of a timeline history file (manual, Continuous Archiving, Timelines).

    >>> parse_history("1\t0/3000148\tno recovery target specified\n")
    [{'timeline': 1, 'lsn': '0/3000148', 'reason': 'no recovery target specified'}]
    """
    found = re.findall(r"^\s*([0-9]{1,10})\s+([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})(?:[ \t]+(.*))?$", text, re.MULTILINE)
    return [{"timeline": int(number), "lsn": lsn, "reason": reason.strip()} for number, lsn, reason in found]


__all__ = (
    "empty_status",
    "observe",
    "observe_from_afar",
    "parse_history",
    "status_without_instance",
    "upstream_of",
)
