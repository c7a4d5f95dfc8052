# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Get a data directory out of the way that the user named to be replaced by a copy. Everything that a copy needs is
tried before, while the old directory is still there and its standby may still serve."""

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup.preflight import (
    UpstreamNotReady,
    makes_slot_anew,
    preflight_of_replacing,
    target_of,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.set_aside import (
    MOVING,
    bytes_in,
    go_on,
    moves_of,
    others_in,
    read_journal,
    set_aside,
    why_not,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import Incoming, try_lock
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import look_at_directory
from ansible_collections.pgtandem.replication.plugins.module_utils._host.service import service_of
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import remake_slot
from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes
from ansible_collections.pgtandem.replication.plugins.module_utils._values.backup_command import BaseBackupRequest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    ASIDE,
    REWIND_FOLDER,
    DirectoryEvidence,
    DirectoryState,
    classify,
    describe,
)

_REPLACEABLE = (DirectoryState.STANDBY, DirectoryState.PRIMARY, DirectoryState.REWINDING)


class Way(t.NamedTuple):
    """What was done, or would be."""

    #: As sentences.
    actions: list[str]
    #: Whether a server was stopped, so that what was seen of its slot before is true no more.
    stopped: bool = False


def keeping_wal(host: Host, request: BaseBackupRequest) -> BaseBackupRequest:
    """The same, with the WAL where it lies now: a copy would bring it into the data directory, off its disk."""
    if request.replace == "no" or request.wal_directory:
        return request
    files, directory = host.files, host.instance.data_directory
    clusters = (directory, f"{files.real_path(directory)}{ASIDE}")
    links = [f"{cluster}/{name}" for cluster in clusters for name in ("pg_wal", "pg_xlog")]
    place = next((files.real_path(link) for link in links if files.is_link(link)), None)
    if place is None or (place + "/").startswith(files.real_path(directory) + "/"):
        return request
    if not files.may_make(place):
        raise ReplicationError(
            f"The WAL of {directory} lies in {place}, and a copy would bring it into the data directory. Name that "
            f"folder: pgtandem_basebackup.wal_directory: {place}. The directory was left as it is."
        )
    return replace(request, wal_directory=place)


def make_way(host: Host, request: BaseBackupRequest, *, check_mode: bool) -> Way:
    """Set aside what is in the way, or delete it."""
    journal = read_journal(host)
    evidence = look_at_directory(host)
    if journal.get("phase") == MOVING:
        if not check_mode:
            go_on(host)
        return Way([f"go on setting {host.instance.data_directory} aside"])
    if classify(evidence) not in _REPLACEABLE:
        return Way([])
    if journal and not journal["proven"] and classify(evidence) is DirectoryState.STANDBY:
        # An earlier run came as far as the new copy; what is set aside waits for its proof.
        return Way([])
    lock = try_lock(host, host.instance.data_directory)
    if lock is None:
        raise ReplicationError(
            f"Another run is at work on {host.instance.data_directory} (it holds the lock on that directory). Wait for "
            "its end and run again. The directory was left as it is."
        )
    try:
        return _make_way(host, request, look_at_directory(host), lock, check_mode=check_mode)
    finally:
        os.close(lock)


def _make_way(
    host: Host, request: BaseBackupRequest, evidence: DirectoryEvidence, lock: int, *, check_mode: bool
) -> Way:
    _refuse(request, evidence)
    moves = moves_of(host)
    others = others_in(host, moves)
    if others:
        raise ReplicationError(
            f"The data directory was left as it is: {', '.join(others[:3])} would go with "
            f"{host.instance.data_directory}, and this server did not put that "
            "there; it may be another server's tablespace. Move it elsewhere and run again."
        )
    asks = classify(evidence) is DirectoryState.STANDBY and evidence.running_pid is not None
    anew = asks and makes_slot_anew(request)
    try:
        room = preflight_of_replacing(host, request, {move.path for move in moves}, anew=anew)
    except UpstreamNotReady:
        # A run that changes something makes the slot before it comes here.
        if not check_mode:
            raise
        room = []
    against = why_not(host, moves) or ("; ".join(room) if room else None)
    amount = shown_bytes(bytes_in(host, moves))
    actions = []
    if evidence.running_pid is not None:
        actions.append("stop the server")
    if anew:
        actions.append(f"make the slot {request.slot} anew")
    shown = ", ".join(move.path for move in moves)
    if against is None:
        actions.append(f"set {shown} aside ({amount})")
    elif request.replace != "delete":
        raise ReplicationError(
            f"The data directory cannot stay beside its copy: {against}. Without it, {shown} ({amount}) would be "
            "deleted before the copy begins, and until that is whole this host would hold no data. If that is right, "
            "run again with -e pgtandem_reseed_delete=true. The directory was left as it is.",
            problems=room,
        )
    else:
        actions.append(f"delete {shown} ({amount})")
    if check_mode:
        return Way(actions)
    if evidence.running_pid is not None:
        service_of(host).stop()
    if anew:
        _make_slot_anew(request)
    if against is None:
        control = evidence.control
        set_aside(host, moves, system_identifier=control.system_identifier if control else None)
    else:
        directory = host.files.real_path(host.instance.data_directory)
        folders = [move.path for move in moves[1:] if not move.path.endswith(REWIND_FOLDER)]
        Incoming(host, lock).clear_everything([path for path in folders if path != directory])
        host.files.remove_tree(f"{host.instance.data_directory}{REWIND_FOLDER}")
    return Way(actions, stopped=evidence.running_pid is not None)


def _make_slot_anew(request: BaseBackupRequest) -> None:
    """Over the login of the copy itself, since only now nobody asks by the slot any more."""
    try:
        remake_slot(target_of(request), t.cast(str, request.slot))
    except DatabaseError as error:
        raise DatabaseError(
            f"The old server of this host was stopped, and then {request.shown()} did not make the slot "
            f"{request.slot!r} anew: {error.message}. End what else uses that slot, and run again. The data directory "
            "was not touched.",
            sqlstate=error.sqlstate,
        ) from error


def _refuse(request: BaseBackupRequest, evidence: DirectoryEvidence) -> None:
    control = evidence.control
    expected = request.system_identifier
    if control is not None and expected and control.system_identifier != expected:
        raise ReplicationError(
            f"The data directory was left as it is: {describe(evidence)}, and {request.shown()} is system {expected}. "
            "A directory of another cluster is not replaced. Correct the inventory, or move it away yourself."
        )
    runs_as_primary = classify(evidence) is DirectoryState.PRIMARY and evidence.running_pid is not None
    if runs_as_primary and not request.stop_primary:
        raise ReplicationError(
            f"The server was left as it is: {describe(evidence)}. A running primary is not replaced without being "
            "asked: what it took by itself is lost then. See that nobody uses it, stop it, and run again."
        )
