# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What must hold before a base backup begins: each found out before anything is written, each with its own message."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup.copy_needs import lacking
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import Elsewhere
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host, program_version
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import require_free_port
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import (
    Identity,
    Target,
    identify_system,
    knock,
    read_slot,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes
from ansible_collections.pgtandem.replication.plugins.module_utils._values.backup_command import (
    BaseBackupRequest,
    check_knobs,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import NOT_DATA
from ansible_collections.pgtandem.replication.plugins.module_utils._values.login_advice import login_advice
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    client_serves,
    major_text,
    same_major,
    supports,
)


class UpstreamNotReady(ReplicationError):
    """What the upstream lacks and its own role would make."""


class Place(t.NamedTuple):
    """A folder that a copy fills."""

    what: str
    path: str
    bytes: int


class Ready(t.NamedTuple):
    """What was found out on the way."""

    upstream: Identity
    #: Version of pg_basebackup.
    client: int
    elsewhere: tuple[Elsewhere, ...]


def total_bytes(request: BaseBackupRequest) -> int | None:
    """How much is to be copied without the WAL, None where nobody measured it."""
    sizes = request.upstream_status.get("sizes")
    if not sizes:
        return None
    return int(sizes["data_bytes"]) + sum(int(tablespace["bytes"]) for tablespace in sizes["tablespaces"])


def places_of(request: BaseBackupRequest, data_directory: str) -> list[Place]:
    """Every folder that the copy fills, with what it needs there (pure). Without sizes the needs are 0.

    >>> status = {"sizes": {"data_bytes": 9, "wal_bytes": 2, "tablespaces": [
    ...     {"name": "fast", "location": "/ssd", "bytes": 5}]}}
    >>> request = BaseBackupRequest("pg1", 5432, "replica", None, "pg2", tablespace_mapping={"/ssd": "/ssd2"},
    ...     wal_directory="/wal", upstream_status=status)
    >>> [(place.path, place.bytes) for place in places_of(request, "/data")]
    [('/data', 9), ('/wal', 2), ('/ssd2', 5)]
    """
    sizes = request.upstream_status.get("sizes") or {"data_bytes": 0, "wal_bytes": 0, "tablespaces": []}
    mapping = {os.path.normpath(old): new for old, new in request.tablespace_mapping.items()}
    places = [Place("the data directory", data_directory, int(sizes["data_bytes"] or 0))]
    wal = Place(
        "the WAL directory" if request.wal_directory else "WAL in",
        request.wal_directory or data_directory,
        int(sizes["wal_bytes"] or 0),
    )
    places.append(wal)
    for tablespace in sizes["tablespaces"]:
        location = os.path.normpath(tablespace["location"])
        places.append(
            Place(f"tablespace {tablespace['name']}", mapping.pop(location, location), int(tablespace["bytes"] or 0))
        )
    if mapping and request.upstream_status.get("sizes"):
        known = ", ".join(sorted(tablespace["location"] for tablespace in sizes["tablespaces"])) or "none"
        raise ReplicationError(
            f"tablespace_mapping names {', '.join(sorted(mapping))}, and {request.shown()} has no tablespace there "
            f"(it has: {known}). Nothing was copied."
        )
    # Nobody said which tablespaces there are; those that are mapped are there, or else the mapping does nothing.
    places += [Place(f"the tablespace of {old}", new, 0) for old, new in sorted(mapping.items())]
    return places


def _begun(text: str) -> str:
    """A sentence's begin."""
    return text[:1].upper() + text[1:]


def _nearest(host: Host, path: str) -> str:
    """The folder itself, or the lowest above it that is there."""
    while not host.files.is_folder(path) and path != "/":
        path = os.path.dirname(path) or "/"
    return path


def folders_of(request: BaseBackupRequest) -> list[str]:
    """The folders outside the data directory that the copy fills (pure), whether or not the inventory fits them.

    >>> folders_of(BaseBackupRequest("pg1", 5432, "replica", None, "pg2", wal_directory="/wal",
    ...     tablespace_mapping={"/ssd": "/ssd2"},
    ...     upstream_status={"sizes": {"tablespaces": [{"location": "/ssd"}, {"location": "/hdd"}]}}))
    ['/wal', '/ssd2', '/hdd']
    """
    mapping = {os.path.normpath(old): new for old, new in request.tablespace_mapping.items()}
    tablespaces = (request.upstream_status.get("sizes") or {}).get("tablespaces") or []
    locations = [os.path.normpath(one["location"]) for one in tablespaces]
    wal = [request.wal_directory] if request.wal_directory else []
    return [*wal, *mapping.values(), *(location for location in locations if location not in mapping)]


def room_problems(host: Host, request: BaseBackupRequest, places: t.Sequence[Place]) -> list[str]:
    """Where there is not enough room for the copy, as clauses."""
    together: dict[int, list[Place]] = {}
    for place in places:
        near = t.cast(os.stat_result, host.files.stat(_nearest(host, place.path)))
        together.setdefault(near.st_dev, []).append(place)
    problems = []
    for members in together.values():
        needed = sum(place.bytes for place in members)
        found = host.files.room(_nearest(host, members[0].path))
        free = found.f_bavail * found.f_frsize
        if needed > free:
            shown = ", ".join(
                f"{shown_bytes(place.bytes)} for {place.what} {place.path}" for place in members if place.bytes
            )
            problems.append(f"{shown_bytes(free)} is free, and the copy of {request.shown()} needs {shown}")
    return problems


def _check_space(host: Host, request: BaseBackupRequest, places: t.Sequence[Place]) -> None:
    problems = room_problems(host, request, places)
    if problems:
        raise ReplicationError(
            f"There is not enough room on this host: {'; '.join(problems)}. Make room, or name other folders "
            "(pgtandem_data_directory, pgtandem_basebackup). Nothing was copied.",
            problems=problems,
        )


def _check_elsewhere(
    host: Host, request: BaseBackupRequest, places: t.Sequence[Place], leaving: t.Container[str] = ()
) -> tuple[Elsewhere, ...]:
    directory, files = host.files.real_path(host.instance.data_directory), host.files
    found = []
    for place in places:
        path = place.path
        if path == host.instance.data_directory:
            continue
        if not os.path.isabs(path):
            raise ReplicationError(f"{_begun(place.what)} needs an absolute path, not {path!r}.")
        if (files.real_path(path) + "/").startswith(directory + "/"):
            raise ReplicationError(
                f"{_begun(place.what)} {path} lies inside the data directory {directory}; name a folder outside."
            )
        if files.lies(path) and not files.is_folder(path):
            raise ReplicationError(f"{_begun(place.what)} {path} is not a folder. Nothing was copied.")
        names = set(files.list_names(path))
        own, entries = names & NOT_DATA, names - NOT_DATA
        if own:
            # pg_basebackup wants an empty folder, and will for ever.
            raise ReplicationError(
                f"{_begun(place.what)} is to lie in {path}, the top of a file system ({', '.join(sorted(own))} is "
                f"there), and pg_basebackup fills only an empty folder. Name one in it: {_named_inside(request, place)}"
                ". Nothing was copied."
            )
        if entries and files.real_path(path) not in leaving:
            advice = "Empty it yourself if nothing in it counts, or name another folder"
            if place.what.startswith("tablespace"):
                advice += " in pgtandem_basebackup.tablespace_mapping, from its place on the upstream to one here"
            raise ReplicationError(
                f"{_begun(place.what)} is to lie in {path}, which is not empty "
                f"({', '.join(sorted(entries)[:3])}). {advice}. Nothing was copied."
            )
        found.append(Elsewhere(path, files.is_folder(path)))
    paths = [place.path for place in found]
    for path in paths:
        if paths.count(path) > 1:
            raise ReplicationError(f"Two folders of the copy would be {path}; give each one of its own.")
    return tuple(found)


def _named_inside(request: BaseBackupRequest, place: Place) -> str:
    """The variable that puts a place into a folder of its own."""
    if not place.what.startswith("tablespace"):
        return f"pgtandem_basebackup.wal_directory: {place.path}/pg_wal"
    name = place.what.rpartition(" ")[2]
    old = next((old for old, new in request.tablespace_mapping.items() if new == place.path), place.path)
    return f"pgtandem_basebackup.tablespace_mapping: {{{old}: {place.path}/{name}}}"


def _check_needs(host: Host, request: BaseBackupRequest) -> None:
    """See that this host has what the copy names outside the data directory."""
    problems = lacking(host, request.upstream_status.get("copy_needs") or {})
    if problems:
        raise ReplicationError(
            f"A copy of {request.shown()} would not work on this host. {' '.join(problems)} Nothing was copied.",
            problems=problems,
        )


def _check_writable(host: Host, places: t.Sequence[Place]) -> None:
    """See that the account can fill each folder. Root makes one, or gives an empty one away, only where it is safe."""
    user, files = host.instance.os_user, host.files
    for place in places:
        if os.geteuid() != 0:
            near = _nearest(host, place.path)
            if not files.may_take(near):
                raise ReplicationError(
                    f"This task's account may not write {place.what} into {near}. Set become: true, or give that "
                    f"folder to {user}. Nothing was copied."
                )
        elif files.is_folder(place.path) and not files.may_take(place.path):
            raise ReplicationError(
                f"{_begun(place.what)} {place.path} does not belong to {user}, which PostgreSQL runs as. Give it to "
                f"{user} (chown), or name another folder. Nothing was copied."
            )
        elif not files.is_folder(place.path) and not files.may_make(place.path):
            advice = f"Make it, give it to {user}"
            if place.what.startswith("tablespace"):
                advice += f", or name it in pgtandem_basebackup.tablespace_mapping ({place.path}: {place.path})"
            raise ReplicationError(
                f"{_begun(place.what)} {place.path} is not there, {user} may not make it, and root makes only what the "
                f"inventory names, in folders of its own. {advice}. Nothing was copied."
            )


def makes_slot_anew(request: BaseBackupRequest) -> bool:
    """Whether the slot is to be made anew once the running standby that is to be replaced is stopped (pure).

    From 16 on a standby says how far it is as soon as it asks, also for WAL that is gone, and so takes back even a slot
    that was made for the copy. Only where it streams by the slot is that as good as a new one.

    >>> def anew(active, **columns):
    ...     slot = {"slot_name": "pg2", "slot_type": "physical", "wal_status": "reserved", **columns}
    ...     senders = [{"slot_name": "pg2", "state": active}] if active else []
    ...     status = {"slots": [slot], "wal_senders": senders}
    ...     return makes_slot_anew(
    ...         BaseBackupRequest("pg1", 5432, "replica", None, "pg2", slot="pg2", upstream_status=status)
    ...     )
    >>> anew("streaming"), anew("streaming", wal_status="lost"), anew("catchup"), anew(None)
    (False, True, True, True)
    >>> anew(None, wal_status=None), anew(None, slot_type="logical"), anew(None, slot_name="pg3")
    (False, False, False)
    """
    status = request.upstream_status
    slot = _slot_in(request)
    if slot is None or slot["slot_type"] != "physical" or slot["wal_status"] is None:
        return False
    streams = any(
        sender["slot_name"] == request.slot and sender["state"] == "streaming"
        for sender in status.get("wal_senders") or ()
    )
    return not (streams and slot["wal_status"] == "reserved")


def _slot_in(request: BaseBackupRequest) -> t.Mapping[str, t.Any] | None:
    """What was seen of the slot on the upstream."""
    slots = request.upstream_status.get("slots") or ()
    return next((row for row in slots if row["slot_name"] == request.slot), None)


def _check_upstream(request: BaseBackupRequest, *, again: bool, slot: bool = True) -> None:
    status = request.upstream_status
    theirs, ours = (status.get("host") or {}).get("architecture"), os.uname().machine
    if theirs and theirs != ours:
        raise ReplicationError(
            f"{request.shown()} runs on {theirs} and this host is {ours}. Physical replication needs one processor "
            "architecture. Nothing was copied."
        )
    if slot and request.slot and status.get("slots") is not None and status.get("accepts_connections"):
        _judge_slot(request, _slot_in(request), again=again)


def _ask_for_slot(request: BaseBackupRequest, upstream: Identity) -> None:
    """Without a status of the upstream the replication connection is asked, from 15 on."""
    if not request.slot or request.upstream_status or not supports(upstream.version, "read_replication_slot"):
        return
    try:
        told = read_slot(target_of(request), request.slot)
    except DatabaseError as error:
        raise UpstreamNotReady(
            f"{request.shown()} says of the slot {request.slot!r}: {error.message}. Name a physical one. Nothing was "
            "copied."
        ) from error
    known = {"wal_status": None, "active": False, "active_pid": None}
    _judge_slot(request, dict(told, **known) if told["slot_type"] else None, again=False)


def _judge_slot(request: BaseBackupRequest, slot: t.Mapping[str, t.Any] | None, *, again: bool) -> None:
    if slot is None:
        problem = f"{request.shown()} has no slot {request.slot!r}. Run that host's role, or create the slot"
    elif slot["slot_type"] != "physical":
        problem = f"The slot {request.slot!r} of {request.shown()} is a logical one. Name another"
    elif slot["wal_status"] == "lost" or not slot["restart_lsn"]:
        problem = (
            f"The slot {request.slot!r} of {request.shown()} keeps no WAL "
            f"({'it is lost' if slot['wal_status'] == 'lost' else 'nothing is reserved'}). Drop it and create it again "
            "with its WAL reserved, as the module pg_replication_slot does"
        )
    elif slot["active"] and not again:
        problem = (
            f"The slot {request.slot!r} of {request.shown()} is in use (process {slot['active_pid']} there). End what "
            "uses it: another standby of that name, or a base backup that was left running"
        )
    else:
        return
    raise UpstreamNotReady(f"{problem}. Nothing was copied.")


def target_of(request: BaseBackupRequest) -> Target:
    """The login that the copy and its standby use."""
    return Target(
        host=request.host, port=request.port, user=request.user, password=request.password, options=request.options
    )


def _login(request: BaseBackupRequest) -> Identity:
    """Try the login from here, as pg_basebackup and the standby will make it, as often at once as they will."""
    try:
        identity = identify_system(target_of(request), sessions=request.senders)
    except DatabaseError as error:
        advice = login_advice(error.message, knock(target_of(request), replication=True))
        raise DatabaseError(
            f"This host cannot log in for replication at {request.shown()} as {request.user!r}. The server or libpq "
            f"says: {error.message.rstrip('.')}. {f'{advice} ' if advice else ''}Nothing was copied.",
            sqlstate=error.sqlstate,
        ) from error
    if request.system_identifier is not None and identity.system_identifier != request.system_identifier:
        raise ReplicationError(
            f"{request.shown()} is system {identity.system_identifier}, and the cluster's primary is "
            f"{request.system_identifier}: the address leads to another server. Nothing was copied."
        )
    return identity


def _check_versions(host: Host, request: BaseBackupRequest, upstream: Identity) -> int:
    if not same_major(host.instance.version, upstream.version):
        raise ReplicationError(
            f"{request.shown()} runs PostgreSQL {major_text(upstream.version)} and this host has "
            f"{host.instance.major}. Physical replication needs one major version: set the same pgtandem_version. "
            "Nothing was copied."
        )
    for name in ("pg_basebackup", *(["pg_verifybackup", "pg_waldump"] if request.verify else [])):
        program = host.instance.client_program(name)
        if not host.files.may_run(program):
            raise ReplicationError(
                f"There is no {program} on this host. Install PostgreSQL's client programs, or name the folder that "
                "has them in pgtandem_client_bin_directory."
            )
    program = host.instance.client_program("pg_basebackup")
    client = program_version(host.runner, host.files, program)
    if not client_serves(client=client, server=upstream.version):
        raise ReplicationError(
            f"{program} is of PostgreSQL {major_text(client)} and cannot copy a newer server "
            f"({major_text(upstream.version)}). Name newer client programs in pgtandem_client_bin_directory."
        )
    check_knobs(request, client=client, server=upstream.version)
    return client


def preflight_of_replacing(
    host: Host, request: BaseBackupRequest, leaving: t.Container[str], *, anew: bool
) -> list[str]:
    """Find every reason not to replace a data directory by a copy, while it is still there and its server may run.

    C(leaving) are the folders that will be out of the way. C(anew): the slot will be made anew, so it does not matter
    what it keeps. Returns where there is no room for both.
    """
    # The slot may be in use by the very standby that is to be replaced.
    _check_upstream(request, again=True, slot=not anew)
    upstream = _login(request)
    _check_versions(host, request, upstream)
    _check_needs(host, request)
    places = places_of(request, host.instance.data_directory)
    _check_elsewhere(host, request, places, leaving)
    _check_writable(host, places)
    return room_problems(host, request, places)


def preflight(host: Host, request: BaseBackupRequest, *, again: bool = False, slot: bool = True) -> Ready:
    """Find every reason not to begin; nothing is changed.

    C(again): an earlier copy died here, and the upstream may not have noticed yet that its slot is free. Without
    C(slot) what was seen of it is not judged, since it was judged before and is older than what was done since.
    """
    # A copy that cannot be started would only be in the way.
    require_free_port(host)
    # Check mode goes on without a slot, and must not where this is another server.
    upstream = _login(request)
    _check_upstream(request, again=again, slot=slot)
    _ask_for_slot(request, upstream)
    client = _check_versions(host, request, upstream)
    _check_needs(host, request)
    places = places_of(request, host.instance.data_directory)
    elsewhere = _check_elsewhere(host, request, places)
    _check_writable(host, places)
    _check_space(host, request, places)
    return Ready(upstream, client, elsewhere)
