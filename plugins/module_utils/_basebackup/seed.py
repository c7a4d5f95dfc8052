# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Seed a standby's data directory from its upstream (manual, pg_basebackup). Observe, plan, apply, report.

The copy itself is a job of the host's own. What is here starts it or finds it running, waits as long as it is told to,
and takes over what it left; every run of the module may do any part of that.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
import uuid
from dataclasses import replace

from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup import copy_process
from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup.make_room import (
    Way,
    keeping_wal,
    make_way,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup.preflight import (
    Ready,
    UpstreamNotReady,
    folders_of,
    preflight,
    total_bytes,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.copy_program import FILLING
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.initdb import (
    create_configuration,
    lacks_configuration,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import (
    CLEARING,
    Incoming,
    read_marker,
    try_lock,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.standby_marker import mark_as_standby
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import look_at_directory
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import (
    Identity,
    driver_name,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes
from ansible_collections.pgtandem.replication.plugins.module_utils._values.backup_command import (
    BaseBackupRequest,
    backup_command,
    verify_command,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    DirectoryEvidence,
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import passfile_line

UNKNOWN_SIZE = (
    "How much there was to copy was not known before, so the room on this host was not checked: no replication "
    "connection tells sizes. Give upstream_status, as pg_replication_status returns it with sizes."
)

#: Seconds between two looks at whether the job has ended: the first pause, the longest, and the growth.
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_GROWTH = 1.3
#: Seconds after which a lock that no job holds stops the run, and between two looks at who holds it.
_PATIENCE = 15.0
_LOOK_EVERY = 1.0


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


class Waiting(t.NamedTuple):
    """How long to wait for the copy, and for which."""

    #: Seconds; None waits for its end.
    timeout: float | None = None
    #: The copy that an earlier run of the module began or found, None for a first run.
    job: str | None = None


class _Seeding:
    """One run of the module over one data directory."""

    def __init__(self, host: Host, request: BaseBackupRequest, waiting: Waiting, *, stopped: bool = False) -> None:
        self._host = host
        self._request = request
        #: Whether this run stopped the server that used the slot, after it had looked at that.
        self._stopped = stopped
        self._directory = host.instance.data_directory
        #: The copy that this run waits for. Where it fails the run fails, and begins no new one.
        self._token = waiting.job
        now = time.monotonic()
        self._deadline = None if waiting.timeout is None else now + waiting.timeout
        self._pause = _FIRST_PAUSE
        self._stranger_since: float | None = None
        self._looked = 0.0
        self._ready: Ready | None = None
        self._actions: list[str] = []

    def run(self) -> dict[str, t.Any]:
        """Go on from whatever is there until the directory is a standby, or the time is over."""
        while True:
            lock = try_lock(self._host, self._directory)
            if lock is not None:
                try:
                    result = self._with_lock(Incoming(self._host, lock))
                finally:
                    os.close(lock)
            elif self._host.files.lies(self._directory):
                result = self._without_lock()
            else:
                self._prepare()
                self._host.files.make_folder(self._directory, mode=0o700)
                result = None
            if result is not None:
                return result

    def _with_lock(self, incoming: Incoming) -> dict[str, t.Any] | None:
        """Nobody fills the directory now. None where there is something to wait for again."""
        self._stranger_since = None
        evidence = look_at_directory(self._host)
        if decide(self._request, evidence, None) is None:
            return _result(self._host, evidence, changed=self._token is not None, actions=self._actions)
        marker = incoming.marker()
        # No job is alive, since nobody else has the lock.
        copy_process.forget_unit(self._host, marker.get("unit"))
        purpose = _purpose(self._request.system_identifier or marker.get("system_identifier"))
        if incoming.is_whole(purpose):
            return self._take_over(incoming, marker, purpose)
        if self._token is not None:
            said = marker.get("message") or "its job ended without a word; it was killed, or the host was restarted"
            # What is there is of no use, and a disk that is full had better not stay so.
            incoming.clear(folders_of(self._request))
            raise ReplicationError(
                f"The base backup from {self._request.shown()} failed: {said}. Nothing else was touched, and the "
                "unfinished copy was cleared. Run again to begin a new one."
            )
        if marker.get("phase") == CLEARING:
            incoming.clear_everything()
        if marker:
            # Clearing first shows how much room there is.
            self._actions.append(f"clear the unfinished base backup in {self._directory}")
            incoming.clear(folders_of(self._request))
        self._begin(incoming, self._prepare(again=bool(marker)))
        return None

    def _without_lock(self) -> dict[str, t.Any] | None:
        """Somebody fills the directory: attach to the job, whoever started it."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            if copy_process.kill_orphans(self._host):
                self._stranger_since = None
            elif copy_process.processes_of(self._host).keepers:
                self._stranger_since = None
                self._attach(read_marker(self._host))
            elif self._stranger_since is None:
                self._stranger_since = now
            elif now - self._stranger_since > _PATIENCE:
                raise ReplicationError(
                    f"Another run is filling {self._directory} right now (it holds the lock on that directory). Wait "
                    "for its end and run again."
                )
        if self._deadline is not None and now >= self._deadline and self._token is not None:
            return dict(
                _result(self._host, look_at_directory(self._host), changed=True, actions=self._actions),
                running=True,
                job=self._token,
                progress=copy_process.read_progress(self._host),
            )
        time.sleep(self._pause)
        self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)
        return None

    def _attach(self, marker: t.Mapping[str, t.Any]) -> None:
        """Wait for the copy that is under way, unless this run waits for it already."""
        if marker.get("phase") != FILLING or marker.get("job") in (None, self._token):
            return
        theirs, ours = marker.get("system_identifier"), self._request.system_identifier
        if theirs and ours and theirs != ours:
            raise ReplicationError(
                f"A base backup of system {theirs} ({marker.get('upstream')}) is running into {self._directory}, and "
                f"{self._request.shown()} is system {ours}. Wait for its end, or stop it, and run again."
            )
        self._token = marker["job"]
        self._actions.append(f"wait for the copy of {marker.get('upstream')} that was under way")

    def _prepare(self, *, again: bool = False) -> Ready:
        if self._ready is None:
            self._ready = preflight(self._host, self._request, again=again, slot=not self._stopped)
        return self._ready

    def _begin(self, incoming: Incoming, ready: Ready) -> None:
        request, instance = self._request, self._host.instance
        self._host.files.take_folder(self._directory, mode=0o700)
        token = uuid.uuid4().hex[:12]
        unit = copy_process.unit_name(self._host)
        incoming.begin(
            _purpose(ready.upstream.system_identifier),
            elsewhere=ready.elsewhere,
            job=token,
            unit=unit,
            upstream=request.shown(),
            system_identifier=ready.upstream.system_identifier,
        )
        steps = [
            copy_process.Step(
                backup_command(
                    instance.client_program("pg_basebackup"),
                    request,
                    directory=incoming.path,
                    passfile=copy_process.passfile_of(incoming),
                    client=ready.client,
                )
            )
        ]
        if request.verify:
            program = instance.client_program("pg_verifybackup")
            steps.append(copy_process.Step(verify_command(program, directory=incoming.path), "verifying"))
        line = passfile_line(host=request.host, port=request.port, user=request.user, password=request.password or "")
        copy_process.start(self._host, incoming, steps, unit=unit, passfile_line=line, total=total_bytes(request))
        self._token = token
        self._actions.append(_planned(self._host, request))
        # While it copies; what fails here is told where the configuration is wanted, once there is data for it.
        if request.configuration and lacks_configuration(self._host):
            with contextlib.suppress(ReplicationError, OSError):
                create_configuration(self._host)
                self._actions.append(f"create the configuration in {instance.config_directory}")

    def _take_over(self, incoming: Incoming, marker: t.Mapping[str, t.Any], purpose: str) -> dict[str, t.Any]:
        """The copy is whole: make it a standby and move it up."""
        if not incoming.is_moving():
            mark_as_standby(self._host, incoming.path)
            if not self._request.manifest_checksums:
                # It tells of the moment of the copy, and a standby changes from its first second on.
                self._host.files.forget_file(f"{incoming.path}/backup_manifest")
        if self._token is None:
            self._actions.append(f"take over the whole copy that an earlier run left in {self._directory}")
        incoming.finish(purpose)
        result = _result(self._host, look_at_directory(self._host), changed=True, actions=self._actions)
        if not self._request.upstream_status.get("sizes"):
            result["note"] = UNKNOWN_SIZE
        if marker.get("copied") and marker.get("ended"):
            result["copied_bytes"] = marker["copied"]
            result["seconds"] = round(marker["ended"] - marker["started"], 1)
        return result


def _purpose(system_identifier: str | None) -> str:
    return f"base backup of system {system_identifier}"


def _planned(host: Host, request: BaseBackupRequest) -> str:
    total = total_bytes(request)
    amount = f"{shown_bytes(total)} from " if total is not None else ""
    return f"copy {amount}{request.shown()} into {host.instance.data_directory}"


def _foreseen(host: Host, request: BaseBackupRequest, evidence: DirectoryEvidence) -> dict[str, t.Any]:
    """What a run would do, as far as it can be known without touching anything."""
    marker = read_marker(host)
    actions = [_planned(host, request)]
    note = None if request.upstream_status.get("sizes") else UNKNOWN_SIZE
    if classify(evidence) is DirectoryState.INCOMING:
        if copy_process.processes_of(host).keepers:
            actions = [f"wait for the copy of {marker.get('upstream')} that is under way"]
        else:
            actions.insert(0, f"clear the unfinished base backup in {host.instance.data_directory}")
    # The packages and the account that a real run would have made by now may not be there.
    elif host.instance.installed and driver_name():
        try:
            preflight(host, request)
        except (DatabaseError, UpstreamNotReady) as error:
            # Before the first run there may be no server, role or rule yet, and check mode changes none of that.
            note = error.message
    return _result(host, evidence, changed=True, actions=actions, note=note)


def seed(
    host: Host, request: BaseBackupRequest, *, check_mode: bool, waiting: Waiting | None = None
) -> dict[str, t.Any]:
    """Make the data directory a standby of the upstream's system, unless it is one."""
    waiting = waiting or Waiting()
    # Where a tablespace lies only the upstream says; these two the inventory says.
    named = [request.wal_directory or "", *request.tablespace_mapping.values()]
    host = replace(host, files=host.files.naming(named))
    request = keeping_wal(host, request)
    way = Way([])
    if request.replace != "no" and waiting.job is None:
        way = make_way(host, request, check_mode=check_mode)
    evidence = look_at_directory(host)
    if check_mode and way.actions:
        return _result(host, evidence, changed=True, actions=[*way.actions, _planned(host, request)])
    if decide(request, evidence, None) is None and waiting.job is None:
        return _result(host, evidence, changed=False, actions=[])
    if check_mode:
        return _foreseen(host, request, evidence)
    result = _Seeding(host, request, waiting, stopped=way.stopped).run()
    result["actions"] = way.actions + result["actions"]
    return result


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
        "running": False,
    }
