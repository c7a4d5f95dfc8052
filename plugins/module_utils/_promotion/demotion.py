# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A primary steps down: shut down cleanly, and back as a standby of the one that takes its place.

The order is what makes it safe. Its directory is made a standby's while it still serves: the server looks at that only
when it starts, and from then on nobody can start it as a primary, whatever dies in between. Then the token is shown to
the standby that waits (C(_waiter)), and only then the server is told to shut down. Sessions end at that moment, and
nothing is done from there to the next commit but what the two servers do themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_from
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import (
    SETTINGS_HEADER,
    FileChange,
    configuration_problem,
    include_change,
    overriding,
    recovery_change,
    refuse_overridden_connection,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import (
    Login,
    alone_with_cluster,
    find_postmaster,
    look_at_directory,
    open_database,
    read_control_data,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.service import service_of
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.instance import Upstream, conninfo_of
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.armed_promotion import (
    GO,
    HELLO,
    checked_token,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.shutdown import (
    Watch,
    archiver_of,
    archiver_problem,
    clients_of,
    stalled_clients,
    stalled_problem,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.login_probe import (
    NOTICE_SOON,
    check_login,
    log_in,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._status.queries import (
    current_position_statement,
    write_statement,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import (
    last_values,
    parse_lines,
    render_settings,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    DirectoryEvidence,
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

#: Seconds in which the standby has to answer, and in which a record has to reach it.
ANSWER_SECONDS = 5.0
#: A checkpoint that took longer left much to write again, so that a second one is worth its time.
LONG_CHECKPOINT = 1.0
SHUT_DOWN = "shut down"


@dataclass(frozen=True)
class DemoteRequest:
    """What is asked of a primary. C(upstream) is the standby that takes its place."""

    login: Login
    upstream: Upstream
    #: application_name of that standby in this server's pg_stat_replication.
    successor: str = ""
    #: What the standby waits for; empty: nobody waits.
    token: str = ""
    maximum_lag_bytes: int = 16 * 1024 * 1024
    maximum_transaction_seconds: float = 30.0
    #: Seconds of the shutdown after which what it waits for is ended.
    maximum_pause: float = 10.0
    #: Seconds after which the standby may have stopped waiting.
    patience: float = 60.0
    timeout: float = 300.0


@dataclass(frozen=True)
class Sender:
    """A WAL sender."""

    name: str
    state: str
    flush_lag_bytes: int | None


@dataclass(frozen=True)
class DemoteEvidence:
    """A running primary, as far as its shutdown goes."""

    senders: tuple[Sender, ...] = ()
    #: Those that have been going on for longer than allowed, as clauses.
    long_transactions: tuple[str, ...] = ()
    #: What the server program says of the configuration that it would start with; empty: nothing.
    configuration: str = ""
    #: What the shutdown would wait for, as sentences with a remedy.
    waits: tuple[str, ...] = ()


def plan_demotion(request: DemoteRequest, seen: DemoteEvidence) -> list[str]:
    """What speaks against the shutdown of a primary now (pure)."""
    blockers = []
    if request.successor:
        streams = [row for row in seen.senders if row.name == request.successor and row.state == "streaming"]
        if not streams:
            states = ", ".join(f"{row.name} {row.state}" for row in seen.senders) or "none"
            blockers.append(
                f"{request.successor} does not stream from this primary (its WAL senders: {states}). Make it stream "
                "first; the playbook status says what is wrong."
            )
        else:
            lag = streams[0].flush_lag_bytes
            if lag is None or lag > request.maximum_lag_bytes:
                blockers.append(
                    f"{request.successor} is {'an unknown number of' if lag is None else lag} bytes of WAL behind, and "
                    f"{request.maximum_lag_bytes} are allowed. Wait until it has caught up, or allow more."
                )
    backups = [row.name or "unnamed" for row in seen.senders if row.state == "backup"]
    if backups:
        blockers.append(
            f"A base backup is under way ({', '.join(backups)}), and the shutdown would break it off. Wait for its "
            "end, or end it."
        )
    if seen.long_transactions:
        blockers.append(
            f"Transactions have been open for more than {request.maximum_transaction_seconds:g} seconds: "
            f"{'; '.join(seen.long_transactions)}. The shutdown would roll them back. Wait for their end, end them, or "
            "allow more."
        )
    if seen.configuration:
        blockers.append(
            f"This server could not start again with the configuration that it has: {seen.configuration}. Correct that "
            "first."
        )
    return blockers + list(seen.waits)


def demote_request_from(parameters: t.Mapping[str, t.Any]) -> DemoteRequest:
    """The request in a module's parameters."""
    said = parameters["upstream"]
    return DemoteRequest(
        login=login_from(parameters),
        upstream=Upstream(
            host=said["host"],
            port=said["port"],
            user=parameters["replication_user"],
            application_name=said["application_name"],
            slot=said["slot"] or None,
            options={str(name): str(value) for name, value in said["options"].items()},
        ),
        successor=parameters["successor"],
        token=checked_token(parameters["token"]) if parameters["token"] else "",
        maximum_lag_bytes=parameters["maximum_lag_bytes"],
        maximum_transaction_seconds=parameters["maximum_transaction_seconds"],
        maximum_pause=parameters["maximum_pause"],
        patience=parameters["patience"],
        timeout=parameters["timeout"],
    )


def _observe(host: Host, database: Database, request: DemoteRequest, pid: int) -> DemoteEvidence:
    wal, lsn = ("wal", "lsn") if supports(database.version, "wal_names") else ("xlog", "location")
    senders = database.rows(
        f"SELECT application_name, state, pg_{wal}_{lsn}_diff(pg_current_{wal}_{lsn}(), flush_{lsn})::bigint AS lag "
        "FROM pg_stat_replication ORDER BY application_name"
    )
    client = "backend_type = 'client backend' AND " if supports(database.version, "backend_type") else ""
    long = database.rows(
        "SELECT pid, usename, application_name, extract(epoch FROM clock_timestamp() - xact_start)::bigint AS seconds "
        f"FROM pg_stat_activity WHERE {client}pid <> pg_backend_pid() "
        "AND clock_timestamp() - xact_start > %s * interval '1 second' ORDER BY xact_start LIMIT 5",
        [request.maximum_transaction_seconds],
    )
    return DemoteEvidence(
        senders=tuple(Sender(row["application_name"] or "", row["state"], row["lag"]) for row in senders),
        long_transactions=tuple(
            f"process {row['pid']} of {row['usename']}"
            + (f" ({row['application_name']})" if row["application_name"] else "")
            + f" for {row['seconds']} s"
            for row in long
        ),
        configuration=configuration_problem(host),
        waits=tuple(
            problem
            for problem in (
                stalled_problem(stalled_clients(database), request.maximum_pause),
                archiver_problem(archiver_of(host, database, pid), request.maximum_pause),
            )
            if problem
        ),
    )


def _settings(host: Host, request: DemoteRequest) -> list[FileChange]:
    """The files that make this instance follow the other one, that which makes it a standby last.

    All but the connection stays as it is: what fits a primary fits a standby.
    """
    conninfo, slot = conninfo_of(host, request.upstream), request.upstream.slot
    found: list[FileChange | None] = []
    if supports(host.instance.version, "standby_signal"):
        path = host.instance.settings_file
        before = host.files.read_text(path)
        values = {name: setting.value for name, setting in last_values(parse_lines(before or "", path)).items()}
        values["primary_conninfo"] = conninfo
        values.pop("primary_slot_name", None)
        if slot:
            values["primary_slot_name"] = slot
        refuse_overridden_connection(host, overriding(host, values))
        found.append(FileChange(path, before, render_settings(values, SETTINGS_HEADER), 0o640))
        found.append(include_change(host))
    found.append(recovery_change(host, conninfo=conninfo, slot=slot))
    return [change for change in found if change is not None and change.needed]


def _write(host: Host, changes: t.Iterable[FileChange]) -> None:
    for change in changes:
        folder = os.path.dirname(change.path)
        if not host.files.is_folder(folder):
            host.files.make_folder(folder, mode=0o755)
        host.files.write_text(change.path, change.after, mode=change.mode)


def _take_back(host: Host, changes: t.Sequence[FileChange]) -> None:
    """Put files back, that which makes a standby first."""
    for change in reversed(changes):
        if change.before is None:
            host.files.remove_file(change.path)
        else:
            host.files.write_text(change.path, change.before, mode=change.mode)


def _checkpoint(database: Database) -> None:
    """What the shutdown would have to write is written before it, while the server serves."""
    started = time.monotonic()
    database.execute("CHECKPOINT")
    if time.monotonic() - started > LONG_CHECKPOINT:
        database.execute("CHECKPOINT")


def _prove_link(database: Database, successor: str) -> None:
    """Write a record and see it flushed by the standby: a connection that broke unnoticed shows itself here."""
    lsn = "lsn" if supports(database.version, "wal_names") else "location"
    database.execute("SET synchronous_commit = local")
    statement = write_statement(database.version)
    if statement is None:
        database.value("SELECT txid_current()")
        statement = current_position_statement(database.version)
    position = parse_lsn(database.value(statement))
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        flushed = database.value(
            # Before 13 there is no max() of positions.
            f"SELECT flush_{lsn}::text FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming' "
            f"ORDER BY flush_{lsn} DESC NULLS LAST LIMIT 1",
            [successor],
        )
        if flushed and parse_lsn(flushed) >= position:
            return
        if time.monotonic() >= deadline:
            raise ReplicationError(
                f"A record that was written just now did not reach {successor} within {ANSWER_SECONDS:g} seconds, "
                "though its WAL sender says that it streams: the network between the two may be broken."
            )
        time.sleep(0.01)


def _await_exit(host: Host, pid: int, timeout: float, watch: Watch) -> str | None:
    """None once the server has ended, or else what it still waits for, as far as that is known."""
    deadline = time.monotonic() + timeout
    while True:
        postmaster = find_postmaster(host)
        if postmaster is None or postmaster.pid != pid:
            return None
        waits = watch.look()
        if waits is not None:
            return waits
        if time.monotonic() >= deadline:
            return f"{timeout:g} seconds have passed"
        time.sleep(0.005)


#: What is true of a primary that was not told to shut down.
GOES_ON = "This primary was left as it is, and goes on."


def _refused(message: str, outcome: str = GOES_ON) -> ReplicationError:
    return ReplicationError(f"{outcome} {message}", point_of_no_return=False, problems=[message])


def _before_anything(host: Host, database: Database, request: DemoteRequest, pid: int) -> list[FileChange]:
    """Every reason not to begin, at once; the changes of files where there is none."""
    problems = plan_demotion(request, _observe(host, database, request, pid))
    changes: list[FileChange] = []
    control = read_control_data(host)
    for check in (
        lambda: check_login(host, request.upstream, control.system_identifier if control else ""),
        lambda: changes.extend(_settings(host, request)),
    ):
        try:
            check()
        except ReplicationError as error:
            problems.append(error.message)
    if problems:
        raise ReplicationError(
            f"{GOES_ON} {' '.join(problems)}",
            point_of_no_return=False,
            problems=problems,
        )
    return changes


def demote(host: Host, request: DemoteRequest, *, check_mode: bool) -> dict[str, t.Any]:
    """Make a primary a standby of another server. One that is a standby already is started, and else left alone."""
    with alone_with_cluster(host, timeout=30):
        evidence = look_at_directory(host)
        if classify(evidence) not in (DirectoryState.PRIMARY, DirectoryState.STANDBY):
            raise _refused(f"{describe(evidence)}.", "This host was left as it is.")
        postmaster = find_postmaster(host)
        if postmaster is not None and postmaster.status == "stopping":
            raise _refused(
                f"The server of {host.instance.data_directory} is shutting down"
                + (", and can only start as a standby" if evidence.signal_files else "")
                + ". Wait for its end, or end what it waits for (its archive_command, its WAL senders), and run again.",
                "This host was left as it is.",
            )
        if postmaster is None:
            return _return_stopped(host, request, evidence, check_mode=check_mode)
        with contextlib.ExitStack() as stack:
            database = stack.enter_context(open_database(host, request.login, postmaster))
            if database.value("SELECT pg_is_in_recovery()"):
                if request.token:
                    # A standby was made to wait for the shutdown of a primary.
                    raise _refused(
                        "This server is a standby by now; another run moved the primary. Run the same command again, "
                        "which goes on from there.",
                        "This host was left as it is.",
                    )
                return _result(host, [], changed=False)
            changes = _before_anything(host, database, request, postmaster.pid)
            if check_mode:
                return _result(host, _actions(changes), changed=True, diff=changes)
            return _step_down(host, request, database, changes, postmaster.pid)


def _actions(changes: t.Iterable[FileChange]) -> list[str]:
    return [
        "Write a checkpoint",
        *(f"Write {change.path}" for change in changes),
        "Shut the server down",
        "Start it as a standby",
    ]


def _step_down(
    host: Host, request: DemoteRequest, database: Database, changes: list[FileChange], pid: int
) -> dict[str, t.Any]:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            _checkpoint(database)
            if request.successor:
                _prove_link(database, request.successor)
            # The record that was written just now is something that each client has to confirm.
            stalled = stalled_problem(stalled_clients(database), request.maximum_pause)
            if stalled:
                raise ReplicationError(stalled)
            if request.token:
                _await_answer(host, request)
            if time.monotonic() - began > request.patience:
                raise ReplicationError(
                    f"The checkpoint took {time.monotonic() - began:.0f} seconds, longer than the standby waits. Run "
                    "again now that it is done, or at a quieter time."
                )
        except ReplicationError as error:
            raise _refused(error.message) from error
        written = time.time()
        _write(host, changes)
        try:
            if request.token:
                # The token must not outlive who shows it: where this fails half-way, or the host dies, it is soon gone.
                stack.enter_context(log_in(host, request.upstream, GO + request.token, NOTICE_SOON))
        except ReplicationError as error:
            # Nobody was told to shut down, so nobody has seen the end of this server's WAL.
            _take_back(host, changes)
            raise _refused(error.message) from error
        watch = Watch(host, pid, clients_of(database), successor=request.successor, pause=request.maximum_pause)
        # From here on there is no way back but a promotion.
        stopped_at = time.time()
        host.files.signal(pid, signal.SIGINT)
        waits = _await_exit(host, pid, request.timeout, watch)
        ended_at = time.time()
        if waits is not None:
            raise ReplicationError(
                f"The server was told to shut down and still runs: {waits}. It can only start as a standby. See that "
                "that ends, by itself or by your hand, and run the same command again, or site.yml where the roles "
                "have changed by then.",
                point_of_no_return=True,
                warnings=watch.notes(),
            )
        control = read_control_data(host)
        try:
            service = service_of(host, timeout=int(request.timeout))
            service.await_stopped()
            service.start()
        except ReplicationError as error:
            raise ReplicationError(
                f"The server was shut down and does not start as a standby: {error.message} Correct that, and run the "
                "same command again.",
                point_of_no_return=True,
                checkpoint_lsn=control.checkpoint_lsn if control else None,
            ) from error
        result = _result(host, _actions(changes), changed=True, diff=changes)
        result.update(
            clean=bool(control and control.state == SHUT_DOWN),
            checkpoint_lsn=control.checkpoint_lsn if control else None,
            times={"written": written, "stopping": stopped_at, "stopped": ended_at, "started": time.time()},
            ended_wal_senders=[client.shown for client in watch.ended],
            warnings=watch.notes(),
        )
        return result


#: How often to greet where the login fails: its end may come before it is complete, and nothing but words would say so.
_GREETINGS = 5


def _await_answer(host: Host, request: DemoteRequest) -> None:
    """See that the standby waits now: it ends the session that greets it."""
    for left in reversed(range(_GREETINGS)):
        try:
            with log_in(host, request.upstream, HELLO + request.token) as session:
                answered = session.ended_within(ANSWER_SECONDS)
            break
        except DatabaseError:
            if not left:
                raise
    if not answered:
        raise ReplicationError(
            f"The standby at {request.upstream.host}:{request.upstream.port} does not answer: it does not wait for "
            "this shutdown, or not any more."
        )


def _return_stopped(
    host: Host, request: DemoteRequest, evidence: DirectoryEvidence, *, check_mode: bool
) -> dict[str, t.Any]:
    """A server that does not run comes back as a standby; a primary only if it was shut down cleanly."""
    control = evidence.control
    if classify(evidence) is DirectoryState.PRIMARY and (control is None or control.state != SHUT_DOWN):
        raise _refused(
            f"{describe(evidence)}, so it was not shut down cleanly and may hold what no other host has. Start it "
            "again as the primary, or let the playbook rejoin see to it once another host is the primary.",
            "This host was left as it is.",
        )
    changes = _settings(host, request)
    actions = [f"Write {change.path}" for change in changes] + ["Start it as a standby"]
    if not check_mode:
        _write(host, changes)
        service = service_of(host, timeout=int(request.timeout))
        service.await_stopped()
        service.start()
    result = _result(host, actions, changed=True, diff=changes)
    if control is not None and control.state == SHUT_DOWN:
        result.update(clean=True, checkpoint_lsn=control.checkpoint_lsn)
    return result


def _result(host: Host, actions: list[str], *, changed: bool, diff: t.Iterable[FileChange] = ()) -> dict[str, t.Any]:
    return {
        "changed": changed,
        "actions": actions,
        "clean": None,
        "checkpoint_lsn": None,
        "times": None,
        "ended_wal_senders": [],
        "point_of_no_return": changed,
        "file_diffs": [change.as_diff() for change in diff],
        "instance": host.instance.as_result(),
    }
