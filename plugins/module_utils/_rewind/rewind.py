# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Bring a data directory back to another server's history (manual, pg_rewind). Observe, plan, apply, report."""

from __future__ import annotations

import contextlib
import os
import re
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import try_lock
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.standby_marker import mark_as_standby
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import (
    CommandFailed,
    DatabaseError,
    ReplicationError,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host, program_version
from ansible_collections.pgtandem.replication.plugins.module_utils._host.log_files import mark_log, start_messages
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import (
    find_postmaster,
    look_at_directory,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server_settings import read_server_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._host.service import service_of, start_failure
from ansible_collections.pgtandem.replication.plugins.module_utils._rewind.obstacles import (
    Obstacles,
    files_of_source,
    look_at_tablespaces,
    obstacles_on_target,
    shown,
    tablespaces_of_source,
    unreadable_on_source,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._rewind.preserved_files import REWOUND, Kept
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import parse_history
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import (
    Database,
    Target,
    connect,
    read_history,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import known_options
from ansible_collections.pgtandem.replication.plugins.module_utils._values.control_data import ControlData
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    DirectoryEvidence,
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import latest_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import (
    format_conninfo,
    passfile_line,
    quote_setting,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.rewind_decision import (
    Decision,
    Source,
    Way,
    decide,
    explained,
    is_clean,
    is_wal_gone,
    lost_its_mark,
    needed_wal,
    usable_restore_command,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.rewind_decision import Target as Rewound
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    REWIND_FUNCTIONS,
    same_major,
    supports,
)

#: Which servers may be stopped for it.
STOP = ("never", "standby", "always")
#: pg_rewind sets its time-outs itself. It writes to a temporary table before 14, and may read from a hot standby.
_SOURCE_SETTINGS = r"-c default_transaction_isolation=read\ committed -c default_transaction_read_only=off"
#: With --progress pg_rewind prints a line with these words between its checks and the first byte that it copies.
NEED_TO_COPY = "need to copy"


@dataclass(frozen=True)
class RewindRequest:
    """What the user asks for: whom the directory is to follow, and what may be done for it."""

    host: str
    port: int
    user: str
    password: str | None = None
    dbname: str = "postgres"
    #: More options of libpq for the connection.
    options: t.Mapping[str, str] = field(default_factory=dict)
    #: One of STOP.
    stop: str = "never"
    #: Where pg_rewind cannot do it, say so instead of failing.
    or_copy: bool = False
    timeout: int = 300
    #: How the target's WAL is fetched from an archive; empty: as its own configuration says.
    restore_command: str = ""

    def shown(self) -> str:
        """For messages."""
        return f"{self.host}:{self.port}"


def _login_of(request: RewindRequest) -> Target:
    return Target(
        host=request.host,
        port=request.port,
        user=request.user,
        password=request.password,
        dbname=request.dbname,
        options=request.options,
    )


@contextlib.contextmanager
def _logged_in(request: RewindRequest) -> t.Iterator[Database]:
    try:
        database = connect(_login_of(request))
    except DatabaseError as error:
        raise DatabaseError(
            f"This host cannot log in at {request.shown()} as {request.user!r} to database {request.dbname!r}, as "
            f"pg_rewind has to. The server or libpq says: {error.message}. Run site.yml, which admits the role there "
            "and grants what it needs, or name another role. The data directory was not changed.",
            sqlstate=error.sqlstate,
        ) from error
    with database:
        yield database


def ask_source(request: RewindRequest) -> Source:
    """What the other server says of itself."""
    with _logged_in(request) as database:
        return _source_of(database, _login_of(request))


def find_obstacles(host: Host, request: RewindRequest) -> Obstacles:
    """The files at which pg_rewind would die after its first write, on both sides; nothing is changed."""
    with _logged_in(request) as database:
        paths = files_of_source(database)
        unreadable = unreadable_on_source(database, paths)
        tablespaces = tablespaces_of_source(database)
    places = look_at_tablespaces(host, tablespaces)
    found = obstacles_on_target(host, set(paths))
    return found._replace(unreadable=tuple(unreadable), folders=places.folders, unfit=places.unfit)


def _source_of(database: Database, target: Target) -> Source:
    row = database.row(
        "SELECT pg_is_in_recovery() AS in_recovery, "
        "(SELECT system_identifier::text FROM pg_control_system()) AS system_identifier, "
        "(SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline, "
        # Right after a promotion only the name of the WAL file tells the timeline.
        "CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS walfile, "
        "CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END AS lsn"
    )
    seen = t.cast("dict[str, t.Any]", row)
    timeline = int(seen["walfile"][:8], 16) if seen["walfile"] else int(seen["checkpoint_timeline"])
    needs_superuser = not supports(database.version, "rewind_by_role") and not database.value(
        "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    )
    missing = tuple(
        found["signature"]
        for found in database.rows(
            "SELECT f.signature FROM unnest(%s::text[]) AS f(signature) "
            "WHERE NOT has_function_privilege(f.signature, 'EXECUTE') ORDER BY 1",
            [list(REWIND_FUNCTIONS)],
        )
    )
    forks: dict[int, str] | None = {} if timeline == 1 else None
    if timeline > 1 and needs_superuser:
        forks = {entry["timeline"]: entry["lsn"] for entry in parse_history(read_history(target, timeline))}
    elif timeline > 1 and not missing:
        text = database.value(f"SELECT convert_from(pg_read_binary_file('pg_wal/{timeline:08X}.history'), 'UTF8')")
        forks = {entry["timeline"]: entry["lsn"] for entry in parse_history(text)}
    return Source(
        shown=f"{target.host}:{target.port}",
        system_identifier=seen["system_identifier"],
        version=database.version,
        timeline=timeline,
        checkpoint_timeline=int(seen["checkpoint_timeline"]),
        in_recovery=seen["in_recovery"],
        lsn=seen["lsn"],
        forks=forks,
        missing=missing,
        needs_superuser=needs_superuser,
    )


def _target_of(host: Host, evidence: DirectoryEvidence, *, is_standby: bool) -> Rewound:
    control = t.cast(ControlData, evidence.control)
    timeline = control.timeline
    if timeline is not None:
        timeline = max(timeline, control.minimum_recovery_timeline or 0)
    forks: dict[int, str] | None = {} if timeline == 1 else None
    if timeline and timeline > 1:
        text = host.files.read_text(f"{host.instance.data_directory}/pg_wal/{timeline:08X}.history")
        forks = {entry["timeline"]: entry["lsn"] for entry in parse_history(text)} if text else None
    minimum = control.minimum_recovery_lsn
    return Rewound(
        system_identifier=control.system_identifier,
        version=host.instance.version,
        timeline=timeline,
        state=control.state,
        checkpoint_lsn=control.checkpoint_lsn,
        minimum_recovery_lsn=None if minimum in (None, "0/0", "0/00000000") else minimum,
        forks=forks,
        is_standby=is_standby,
        is_unmarked=not is_standby and _lost_its_mark(host, control),
        data_checksums=control.data_checksums,
        wal_log_hints=control.wal_log_hints,
        full_page_writes=control.full_page_writes,
        has_program=_has_program(host),
    )


def _lost_its_mark(host: Host, control: ControlData) -> bool:
    """Only what the managed file says of an upstream counts; recovery targets do wherever the server reads them."""
    winners = read_server_settings(host).winners()
    configured = {name: setting.value for name, setting in winners.items()}
    upstream = winners.get("primary_conninfo")
    if upstream is not None and upstream.path != host.instance.settings_file:
        del configured["primary_conninfo"]
    return lost_its_mark(control.state, configured)


def _program(host: Host) -> str | None:
    for path in (host.instance.program("pg_rewind"), host.instance.client_program("pg_rewind")):
        if host.files.may_run(path):
            return path
    return None


def _has_program(host: Host) -> bool:
    """It has to be of the server's own major (manual, pg_rewind)."""
    program = _program(host)
    if program is None:
        return False
    return same_major(program_version(host.runner, host.files, program), host.instance.version)


def rewind_command(
    program: str,
    request: RewindRequest,
    *,
    directory: str,
    passfile: str,
    version: int,
    archive: t.Sequence[str] = (),
) -> list[str]:
    """pg_rewind's words; the password is in the file. `archive` are those by which it asks an archive for WAL.

    >>> rewind_command("pg_rewind", RewindRequest("pg2", 5432, "replica"), directory="/d", passfile="/p",
    ...     version=150000)[-1]
    '--no-ensure-shutdown'
    """
    options = {
        "host": request.host,
        "port": str(request.port),
        "user": request.user,
        "dbname": request.dbname,
        "passfile": passfile,
        "application_name": "pgtandem rewind",
        "connect_timeout": "10",
        **known_options(request.options, version),
        "options": f"{_SOURCE_SETTINGS} {request.options.get('options', '')}".strip(),
    }
    words = [program, f"--target-pgdata={directory}", f"--source-server={format_conninfo(options)}", *archive]
    # The server was brought to a clean end before, while the directory could still be started.
    return words + (["--no-ensure-shutdown"] if supports(version, "rewind_ensures_shutdown") else [])


class _Rewind:
    """One run of the module over one data directory."""

    def __init__(self, host: Host, request: RewindRequest) -> None:
        self._host = host
        self._request = request
        self._directory = host.instance.data_directory
        self._kept = Kept(host)
        self._actions: list[str] = []
        #: How much the rewind has to copy, where a trial has told it.
        self._amount = ""
        #: The last common checkpoint, likewise.
        self._common: str | None = None
        #: Files that cannot be written and are put away before.
        self._movable: tuple[str, ...] = ()
        #: Folders of tablespaces that are made before.
        self._folders: tuple[str, ...] = ()
        #: What a trial that asks no archive leaves open.
        self._untried = ""

    def foresee(self) -> dict[str, t.Any]:
        """What a run would do, as far as that can be known without touching anything."""
        evidence = self._look()
        if classify(evidence) is DirectoryState.REWINDING:
            self._actions.append(f"finish the rewind of {self._directory} that was begun")
            return self._result(evidence, Way.REWIND, "an earlier run was cut short")
        self._check_running(evidence)
        source = ask_source(self._request)
        target = _target_of(self._host, evidence, is_standby=classify(evidence) is DirectoryState.STANDBY)
        decision = decide(target, source)
        note = None
        if evidence.running_pid is not None:
            self._actions.append("stop the server")
        if decision.way is Way.REWIND:
            if is_clean(target.state) and evidence.running_pid is None:
                # An archive is not asked, since what it brings would be written into the data directory.
                decision = self._tried(decision, source, ask_archive=False)
                note = self._untried or None
            decision = self._unobstructed(decision)
            if not is_clean(target.state) or evidence.running_pid is not None:
                note = "pg_rewind can be tried only on a server that was shut down cleanly, so check mode did not."
        self._plan(decision)
        return self._result(evidence, decision.way, decision.why, note=note)

    def run(self) -> dict[str, t.Any]:
        """Do it, or go on with what an earlier run left."""
        lock = self._lock()
        try:
            return self._with_lock(lock)
        finally:
            os.close(lock)

    def _lock(self) -> int:
        deadline = time.monotonic() + self._request.timeout
        while True:
            lock = try_lock(self._host, self._directory)
            if lock is not None:
                return lock
            if not self._host.files.is_folder(self._directory):
                self._look()
            if time.monotonic() > deadline:
                raise ReplicationError(
                    f"Another run has been at work on {self._directory} for {self._request.timeout} s (it holds the "
                    "lock on that directory). Wait for its end and run again."
                )
            time.sleep(0.2)

    def _look(self) -> DirectoryEvidence:
        evidence = look_at_directory(self._host)
        state = classify(evidence)
        if state not in (DirectoryState.PRIMARY, DirectoryState.STANDBY, DirectoryState.REWINDING):
            raise ReplicationError(
                f"It was left as it is: {describe(evidence)}, so there is nothing to rewind. A new standby begins with "
                "a base backup (site.yml).",
                data_directory_state=state.value,
            )
        return evidence

    def _check_running(self, evidence: DirectoryEvidence) -> None:
        if evidence.running_pid is None:
            return
        standby = classify(evidence) is DirectoryState.STANDBY
        allowed = self._request.stop
        if allowed == "always" or (standby and allowed == "standby"):
            return
        raise ReplicationError(
            f"It was left as it is: {describe(evidence)}. pg_rewind needs it stopped"
            + (
                ". Stop it and run again."
                if standby
                else ", and what it took since the ways parted is then lost. See that nobody uses it, stop it, and run "
                "again."
            )
        )

    def _with_lock(self, lock: int) -> dict[str, t.Any]:
        evidence = self._look()
        if classify(evidence) is DirectoryState.REWINDING:
            return self._go_on(evidence, lock)
        self._check_running(evidence)
        # Before the server is stopped: where the source does not answer nothing has happened yet.
        source = ask_source(self._request)
        standby = classify(evidence) is DirectoryState.STANDBY
        if evidence.running_pid is not None:
            # What speaks against a rewind of a running server speaks against it after the stop as well.
            early = self._unobstructed(decide(_target_of(self._host, evidence, is_standby=standby), source))
            if early.way is Way.COPY:
                self._plan(early)
            service_of(self._host, timeout=self._request.timeout).stop()
            self._actions.append("stop the server")
            evidence = self._look()
        target = _target_of(self._host, evidence, is_standby=standby)
        decision = decide(target, source)
        if decision.way is Way.REWIND and not is_clean(target.state):
            self._recover(standby=standby)
            evidence = self._look()
            decision = decide(_target_of(self._host, evidence, is_standby=standby), source)
        if decision.way is Way.REWIND:
            decision = self._unobstructed(self._tried(decision, source))
        self._plan(decision)
        if decision.way is Way.START:
            if not standby:
                mark_as_standby(self._host, self._directory)
        elif decision.way is Way.REWIND:
            self._rewind(lock, self._look())
        return self._result(look_at_directory(self._host), decision.way, decision.why, against=decision.against)

    def _plan(self, decision: Decision) -> None:
        if decision.way is Way.START:
            if classify(look_at_directory(self._host)) is DirectoryState.PRIMARY:
                self._actions.append(f"mark {self._directory} as a standby's")
        elif decision.way is Way.REWIND:
            self._actions += [f"make {folder} for a tablespace" for folder in self._folders]
            self._actions.append(f"rewind {self._directory} to {self._request.shown()}{self._amount}")
        elif not self._request.or_copy:
            raise ReplicationError(
                f"{self._directory} cannot follow {self._request.shown()}: {decision.why}. "
                + " ".join(decision.against)
                + " To have it copied anew, name this host in pgtandem_reseed. Its data was not changed.",
                reasons=list(decision.against),
            )

    def _recover(self, *, standby: bool) -> None:
        """Bring a killed server's data to a clean end, so that its control file says how far its WAL goes."""
        host = self._host
        config = ["-c", f"config_file={host.instance.main_file}"]
        try:
            if standby:
                self._start_and_stop(config[1])
            else:
                # As pg_rewind itself does, but with fsync: nobody logs in, and nothing goes out (manual, postgres).
                host.runner.run(
                    ["/bin/sh", "-c", 'exec "$@" </dev/null', "sh", host.instance.program("postgres"), "--single"]
                    + ["-D", self._directory, *config, "template1"],
                    user=host.instance.os_user,
                )
        except CommandFailed as error:
            raise ReplicationError(
                f"{self._directory} was not shut down cleanly, and its recovery failed: {error.message}. Its data is "
                "as it was; name this host in pgtandem_reseed to have it copied anew."
            ) from error
        self._actions.append("recover from the unclean shutdown")

    def _start_and_stop(self, config: str) -> None:
        """A single-user server cannot be a standby, so a whole one starts that follows nobody and lets nobody in."""
        host = self._host
        settings = [config, "listen_addresses=", "unix_socket_directories=", "hot_standby=off"]
        if supports(host.instance.version, "standby_signal"):
            settings += ["primary_conninfo=", "restore_command="]
        words = [host.instance.program("pg_ctl"), "-D", self._directory, "-w", "-t", str(self._request.timeout), "-s"]
        options = " ".join(f"-c {name}='{value}'" for name, value in (text.split("=", 1) for text in settings))
        log = host.instance.log_file
        if not host.files.exists(log):
            host.files.write_text(log, "", mode=0o600)
        mark = mark_log(host)
        try:
            host.runner.run(words + ["-l", log, "-o", options, "start"], user=host.instance.os_user)
        except CommandFailed as error:
            ended = find_postmaster(host) is None
            raise start_failure(host, "\n".join(start_messages(host, mark, ended=ended)), ended=ended) from error
        finally:
            if find_postmaster(host) is not None:
                host.runner.run(words + ["-m", "fast", "stop"], user=host.instance.os_user)

    @contextlib.contextmanager
    def _archive(self, folder: str, *, ask: bool = True) -> t.Iterator[list[str]]:
        """The words by which pg_rewind asks the archive for WAL that is gone here; none where there is no archive.

        It has the server program read a configuration file. `folder` is one of ours, where that can be written.
        """
        command = self._restore_command()
        if not command or not ask:
            yield []
            return
        files, instance = self._host.files, self._host.instance
        path, words = f"{self._directory}/postgresql.conf", ["--restore-target-wal"]
        if supports(instance.version, "rewind_config_file"):
            path = f"{folder}/archive.conf"
            words.append(f"--config-file={path}")
        elif files.lies(path):
            # The server's own, which the program reads as it is.
            yield words if self._configured_restore_command() else []
            return
        files.write_text(path, f"restore_command = {quote_setting(command)}\n", mode=0o600, durable=False)
        try:
            yield words
        finally:
            files.forget_file(path)

    def _configured_restore_command(self) -> str:
        setting = read_server_settings(self._host).winners().get("restore_command")
        return setting.value if setting else ""

    def _restore_command(self) -> str:
        asked = self._request.restore_command or self._configured_restore_command()
        return usable_restore_command(asked, self._host.instance.version)

    def _tried(self, decision: Decision, source: Source, *, ask_archive: bool = True) -> Decision:
        """What pg_rewind itself says without changing anything (--dry-run), once all that is known speaks for it.

        It has looked at everything when it says how much there is to copy. Left alone it would now fetch all of that
        from the source, only to throw it away.
        """
        folder = f"{self._directory}.pgtandem-trial"
        passfile = f"{folder}/pass"
        owner = self._host.instance.os_user
        self._host.files.make_folder(folder, mode=0o700)
        try:
            self._write_passfile(passfile)
            with self._archive(folder, ask=ask_archive) as archive:
                done = self._host.runner.run_until(
                    [*self._command(passfile, archive), "--dry-run", "--progress"], word=NEED_TO_COPY, user=owner
                )
        finally:
            self._host.files.forget_file(passfile)
            self._host.files.remove_folder(folder)
        if done.status != 0:
            said = _errors_of(done.stdout)
            if is_wal_gone(said) and not ask_archive and self._restore_command():
                self._untried = (
                    "The WAL back to where the ways parted is not all here, and pg_rewind will ask restore_command for "
                    "it, which check mode did not."
                )
                return decision
            return Decision(Way.COPY, decision.why, (explained(said, asked_archive=bool(archive)),))
        if "no rewind required" in done.stdout:
            return Decision(Way.START, f"pg_rewind finds nothing that {source.shown} does not have")
        common = re.search(r"last common checkpoint at ([0-9A-Fa-f]+/[0-9A-Fa-f]+)", done.stdout)
        self._common = common.group(1) if common else None
        amount = re.search(rf"{NEED_TO_COPY} (\d+ MB)", done.stdout)
        self._amount = f" ({amount.group(1)} to copy)" if amount else ""
        return decision

    def _unobstructed(self, decision: Decision) -> Decision:
        """The same decision, unless a file on one of the sides would end pg_rewind half-way."""
        if decision.way is not Way.REWIND:
            return decision
        found = find_obstacles(self._host, self._request)
        if found.unreadable:
            raise ReplicationError(self._refusal(self._unreadable(found)))
        if found.unfit:
            raise ReplicationError(self._refusal(self._unfit(found)))
        if found.unwritable:
            return Decision(Way.COPY, decision.why, (_unwritable(found.unwritable),))
        needed, free = self._kept.room_for(self._needed_wal(look_at_directory(self._host)))
        if needed > free:
            raise ReplicationError(
                self._refusal(
                    f"The WAL that pg_rewind reads has to be kept until it is through, which takes {needed} bytes "
                    f"beside {self._directory}, and {free} are free. Make room and run again."
                )
            )
        self._movable, self._folders = found.movable, found.folders
        return decision

    def _refusal(self, why: str) -> str:
        return f"{self._directory} cannot be rewound to {self._request.shown()} now. {why} Its data was not changed."

    def _unreadable(self, found: Obstacles) -> str:
        return (
            f"The server at {self._request.shown()} cannot read files of its own data directory, which pg_rewind and "
            f"pg_basebackup have to fetch: {shown(found.unreadable)}. Move them out of that directory, or let the "
            "server's account read them, and run again."
        )

    def _unfit(self, found: Obstacles) -> str:
        return (
            f"The server at {self._request.shown()} has tablespaces for which this host has no folder that pg_rewind "
            f"could fill: {'; '.join(found.unfit)}. Make each there, empty, with install -d -o "
            f"{self._host.instance.os_user} -m 0700 FOLDER, and run again."
        )

    def _needed_wal(self, evidence: DirectoryEvidence) -> list[str]:
        control = t.cast(ControlData, evidence.control)
        folder = "pg_wal" if "pg_wal" in evidence.entries else "pg_xlog"
        return needed_wal(
            self._host.files.list_names(f"{self._directory}/{folder}"),
            first=self._common,
            last=latest_lsn(control.checkpoint_lsn, control.minimum_recovery_lsn),
            segment_bytes=control.wal_segment_bytes,
        )

    def _write_passfile(self, path: str) -> None:
        request = self._request
        line = passfile_line(host=request.host, port=request.port, user=request.user, password=request.password or "")
        self._host.files.write_text(path, line + "\n", mode=0o600, durable=False)

    def _command(self, passfile: str, archive: t.Sequence[str] = ()) -> list[str]:
        return rewind_command(
            t.cast(str, _program(self._host)),
            self._request,
            directory=self._directory,
            passfile=passfile,
            version=self._host.instance.version,
            archive=archive,
        )

    def _rewind(self, lock: int, evidence: DirectoryEvidence | None = None) -> None:
        """Let pg_rewind do it. C(evidence) of the directory before its first write; None: that was in another run."""
        wal = self._needed_wal(evidence) if evidence else ()
        for folder in self._folders:
            self._host.files.make_folder(folder, mode=0o700)
        self._kept.begin(movable=self._movable, wal=wal, source=self._request.shown())
        self._kept.write_passfile(
            passfile_line(
                host=self._request.host,
                port=self._request.port,
                user=self._request.user,
                password=self._request.password or "",
            )
        )
        try:
            with self._archive(self._kept.folder) as archive:
                words = self._command(self._kept.passfile, archive)
                self._host.runner.run(words, user=self._host.instance.os_user, keep_open=[lock])
        except CommandFailed as error:
            said = _errors_of(str(error.details.get("stdout", "")) + str(error.details.get("stderr", "")))
            again = (
                f"The WAL from before is kept in {self._kept.folder}, so that it can be repeated: mend what pg_rewind "
                "names and run again, or name this host in pgtandem_reseed to have it copied anew."
                if self._kept.keeps_wal
                else "Without the WAL that it needs, which no earlier run kept, it cannot be repeated: name this host "
                "in pgtandem_reseed to have it copied anew."
            )
            raise ReplicationError(
                f"pg_rewind of {self._directory} to {self._request.shown()} ended half-way: {said}. That directory is "
                f"marked as half rewound, and no server starts on it. {again}"
            ) from error
        finally:
            self._kept.forget_passfile()
        self._kept.finish()

    def _go_on(self, evidence: DirectoryEvidence, lock: int) -> dict[str, t.Any]:
        """A rewind was cut short: finish it, or do it again."""
        why = "an earlier rewind was cut short"
        if evidence.running_pid is not None:
            raise ReplicationError(
                f"{describe(evidence)}, and yet process {evidence.running_pid} runs on it. It was left as it is. Stop "
                "that, and name this host in pgtandem_reseed to have it copied anew."
            )
        if self._kept.state().get("phase") == REWOUND or _was_through(self._host, evidence):
            self._actions.append(f"finish the rewind of {self._directory} that was begun")
            self._host.runner.run(["sync"])
            self._kept.finish()
            return self._result(look_at_directory(self._host), Way.REWIND, why)
        if _program(self._host) is None:
            raise ReplicationError("There is no pg_rewind here: install PostgreSQL's client programs.")
        found = find_obstacles(self._host, self._request)
        if found.unreadable:
            raise ReplicationError(f"{self._directory} is half rewound, and stays so. {self._unreadable(found)}")
        if found.unfit:
            raise ReplicationError(f"{self._directory} is half rewound, and stays so. {self._unfit(found)}")
        self._folders = found.folders
        self._actions.append(f"rewind {self._directory} to {self._request.shown()} again, since {why}")
        try:
            # What could be moved was moved, so a file that cannot be written came after that.
            blocking = found.unwritable + tuple(f"{self._directory}/{name}" for name in found.movable)
            if blocking:
                raise ReplicationError(f"{self._directory} is half rewound, and stays so. {_unwritable(blocking)}")
            self._rewind(lock)
        except ReplicationError as error:
            if not self._request.or_copy:
                raise
            return self._result(evidence, Way.COPY, why, against=(error.message,))
        return self._result(look_at_directory(self._host), Way.REWIND, why)

    def _result(
        self,
        evidence: DirectoryEvidence,
        way: Way,
        why: str,
        *,
        note: str | None = None,
        against: t.Sequence[str] = (),
    ) -> dict[str, t.Any]:
        return {
            "changed": bool(self._actions),
            "way": way.value,
            "why": why,
            "reasons": list(against),
            "actions": self._actions,
            "note": note,
            "data_directory": self._directory,
            "data_directory_state": classify(evidence).value,
            "system_identifier": evidence.control.system_identifier if evidence.control else None,
        }


def _unwritable(paths: t.Sequence[str]) -> str:
    return (
        f"pg_rewind could not write {shown(paths)}: give them to the server's account with the right to "
        "write, or move them out of the data directory, and run again."
    )


def _errors_of(said: str) -> str:
    """The lines of a program that name what went wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found = [re.sub(r"^pg_rewind: (error|fatal): ", "", line) for line in lines if re.search(r"error:|fatal:", line)]
    return "; ".join(found or lines[-2:]) or "it said nothing"


def _was_through(host: Host, evidence: DirectoryEvidence) -> bool:
    """Whether pg_rewind had written everything before the run was cut short: the control file is the last."""
    label = host.files.read_text(f"{host.instance.data_directory}/backup_label") or ""
    state = evidence.control.state if evidence.control else ""
    return "BACKUP METHOD: pg_rewind" in label and state == "in archive recovery"


def rewind(host: Host, request: RewindRequest, *, check_mode: bool) -> dict[str, t.Any]:
    """Make the data directory one that can follow the source, in the cheapest way that is correct."""
    work = _Rewind(host, request)
    return work.foresee() if check_mode else work.run()
