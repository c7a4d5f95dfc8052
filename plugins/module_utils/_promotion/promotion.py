# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A standby becomes the primary: observe, plan, apply, report (manual, Failover; pg_promote(); pg_ctl promote)."""

from __future__ import annotations

import signal
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_from
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import (
    configuration_problem,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import (
    Login,
    find_postmaster,
    open_session,
    read_control_data,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.slot import (
    SlotEvidence,
    SlotPlan,
    SlotRequest,
    observe_slots,
    plan_slots,
    query_of,
    request_from,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import parse_history
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import (
    latest_lsn,
    lsn_distance,
    parse_lsn,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

#: Seconds between two looks while the server ends its recovery.
TICK = 0.004
#: Seconds until it is asked again.
AGAIN = 0.05


@dataclass(frozen=True)
class PromoteRequest:
    """What is asked of a standby."""

    login: Login
    #: The system that it must belong to; empty: any.
    system_identifier: str = ""
    #: WAL that it must have; empty: none.
    minimum_lsn: str = ""
    slots: SlotRequest = SlotRequest(())
    checkpoint: bool = False
    timeout: float = 60.0


@dataclass(frozen=True)
class PromoteEvidence:
    """A server, as far as a promotion goes."""

    in_recovery: bool
    system_identifier: str | None = None
    received_lsn: str | None = None
    replayed_lsn: str | None = None
    paused: bool = False
    #: Parameters that are lower than the WAL asks for: (name, here, in the WAL).
    too_low: tuple[tuple[str, int, int], ...] = ()
    read_only: bool = False
    #: Whether its WAL receiver streams.
    streaming: bool = True
    #: recovery_min_apply_delay, empty where there is none.
    delay: str = ""
    #: What the server program says of the configuration that it would start with; empty: nothing.
    configuration: str = ""
    slots: SlotEvidence = SlotEvidence()

    @property
    def reached(self) -> str | None:
        """How far the WAL goes that this server has; all of it is replayed before a promotion ends."""
        return latest_lsn(self.received_lsn, self.replayed_lsn)


class PromotePlan(t.NamedTuple):
    """What to do, and what speaks against it."""

    promote: bool
    resume: bool = False
    slots: SlotPlan = SlotPlan()
    actions: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()


def promote_request_from(parameters: t.Mapping[str, t.Any]) -> PromoteRequest:
    """The request in a module's parameters."""
    if parameters["minimum_lsn"]:
        parse_lsn(parameters["minimum_lsn"])
    return PromoteRequest(
        login=login_from(parameters),
        system_identifier=parameters["system_identifier"],
        minimum_lsn=parameters["minimum_lsn"],
        slots=request_from({"names": parameters["slots"], "state": "present", "reserve": True}),
        checkpoint=parameters["checkpoint"],
        timeout=parameters["timeout"],
    )


def plan_promotion(request: PromoteRequest, seen: PromoteEvidence, *, waiting: bool = False) -> PromotePlan:
    """What the request asks of the server as it is (pure). C(waiting): for the shutdown of its primary."""
    blockers = []
    if request.system_identifier and seen.system_identifier not in (request.system_identifier, None):
        blockers.append(
            f"This server is of system {seen.system_identifier}, and {request.system_identifier} is meant. Name the "
            "right host."
        )
    if not seen.in_recovery:
        return PromotePlan(False, blockers=tuple(blockers))
    if request.minimum_lsn and parse_lsn(seen.reached or "0/0") < parse_lsn(request.minimum_lsn):
        missing = lsn_distance(request.minimum_lsn, seen.reached or "0/0")
        blockers.append(
            f"This standby has the WAL up to {seen.reached or 'nowhere'}, and {request.minimum_lsn} is asked for: "
            f"{missing} bytes would be lost. Let it receive them, promote the standby that has them, or ask for less "
            "(minimum_lsn)."
        )
    blockers += [
        f"{name} is {here} here and the WAL asks for {needed}, so this standby has stopped replaying or will. Set "
        f"{name} to at least {needed} and restart it first."
        for name, here, needed in seen.too_low
    ]
    if seen.read_only:
        blockers.append(
            "default_transaction_read_only is on here, so the new primary would refuse to write. Turn it off first."
        )
    if seen.configuration:
        blockers.append(
            f"This server could not start again with the configuration that it has: {seen.configuration}. Correct that "
            "first."
        )
    if waiting:
        blockers += _cannot_wait(seen)
    slots = plan_slots(request.slots, seen.slots)
    blockers += slots.blockers
    actions = [*slots.actions]
    if seen.paused:
        actions.append("Resume the replay")
    if waiting:
        actions.append("Wait for the shutdown of the primary")
    actions.append("Promote this standby")
    if request.checkpoint:
        actions.append("Write a checkpoint of the new timeline")
    return PromotePlan(True, seen.paused, slots, tuple(actions), tuple(blockers))


def _cannot_wait(seen: PromoteEvidence) -> list[str]:
    """Why a standby would not see the shutdown of its primary at once (pure)."""
    found = []
    if not seen.streaming:
        found.append(
            "Its WAL receiver does not stream, so it would not see the shutdown. Look into this standby's log, or run "
            "the playbook status, and make it stream first."
        )
    if seen.paused:
        found.append("Its replay is paused. Resume it first (pg_wal_replay_resume()).")
    if seen.delay:
        found.append(
            f"It replays {seen.delay} late (recovery_min_apply_delay), and so long nobody could write. Take the delay "
            "away first, or choose another standby."
        )
    return found


def _too_low(host: Host, database: Database) -> tuple[tuple[str, int, int], ...]:
    control = read_control_data(host)
    if control is None:
        return ()
    here = {name: int(database.setting(name)) for name in control.floors}
    return tuple((name, here[name], needed) for name, needed in control.floors.items() if here[name] < needed)


def _system_identifier(database: Database) -> str | None:
    if not supports(database.version, "control_functions"):
        return None
    return t.cast(str, database.value("SELECT system_identifier::text FROM pg_control_system()"))


def observe_promotion(host: Host, database: Database) -> PromoteEvidence:
    """Look at a server without changing anything."""
    wal, lsn = ("wal", "lsn") if supports(database.version, "wal_names") else ("xlog", "location")
    system = _system_identifier(database)
    if not database.value("SELECT pg_is_in_recovery()"):
        return PromoteEvidence(False, system)
    row = database.rows(
        f"SELECT pg_last_{wal}_receive_{lsn}()::text AS received, pg_last_{wal}_replay_{lsn}()::text AS replayed, "
        f"pg_is_{wal}_replay_paused() AS paused"
    )[0]
    # A version that has no such parameter keeps it in recovery.conf, where nobody can ask for it.
    delay = database.value("SELECT current_setting('recovery_min_apply_delay', true)")
    return PromoteEvidence(
        True,
        system,
        received_lsn=row["received"],
        replayed_lsn=row["replayed"],
        paused=row["paused"],
        too_low=_too_low(host, database),
        # This session has set its own.
        read_only=database.value("SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only'")
        == "on",
        streaming=bool(database.value("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")),
        configuration=configuration_problem(host),
        delay=delay if delay not in (None, "", "0") else "",
        slots=observe_slots(database),
    )


def create_slots(database: Database, plan: SlotPlan, request: SlotRequest, *, can_reserve: bool) -> None:
    """The slots of the future standbys, so that the WAL they will ask for is kept from before the promotion on."""
    for step in plan.steps:
        database.rows(query_of(step, request, can_reserve=can_reserve))


def trigger(host: Host, database: Database) -> None:
    """Tell the server to end its recovery, and do not wait for it."""
    if supports(database.version, "pg_promote"):
        database.rows("SELECT pg_promote(false)")
        return
    # What pg_ctl promote does, without its looking ten times a second.
    postmaster = find_postmaster(host)
    if postmaster is None:
        raise ReplicationError(f"The server of {host.instance.data_directory} has stopped. Nothing was promoted.")
    host.files.write_text(f"{host.instance.data_directory}/promote", "", mode=0o600, durable=False)
    host.files.signal(postmaster.pid, signal.SIGUSR1)


def promote_server(host: Host, database: Database, timeout: float) -> None:
    """End the recovery, and return when the server writes.

    It is asked again and again. The startup process hears the first call at once, but where its WAL receiver ended a
    moment before it may be on its way into a sleep of up to wal_retrieve_retry_interval (5 s), from which only another
    signal wakes it.
    """
    deadline = time.monotonic() + timeout
    asked = 0.0
    while database.value("SELECT pg_is_in_recovery()"):
        now = time.monotonic()
        if now >= deadline:
            raise ReplicationError(
                f"The promotion was asked for and has not ended within {timeout:g} seconds: the server replays what "
                "WAL it has and goes on by itself. Run again to wait for it."
            )
        if now - asked >= AGAIN:
            try:
                trigger(host, database)
            except DatabaseError:
                # It ended between the two statements, or something is wrong that the first call says.
                if not asked:
                    raise
            asked = now
        time.sleep(TICK)
    # What asked for it again may have come too late to be taken up; the server removes it only when it starts.
    host.files.forget_file(f"{host.instance.data_directory}/promote")


def described_promotion(host: Host, database: Database) -> dict[str, t.Any]:
    """Which timeline a primary writes, and where it left the one before."""
    wal, lsn = ("wal", "lsn") if supports(database.version, "wal_names") else ("xlog", "location")
    timeline = int(database.value(f"SELECT pg_{wal}file_name(pg_current_{wal}_{lsn}())")[:8], 16)
    text = host.files.read_text(f"{host.instance.data_directory}/pg_{wal}/{timeline:08X}.history")
    history = parse_history(text or "")
    return {
        "timeline": timeline,
        "previous_timeline": history[-1]["timeline"] if history else None,
        "switch_lsn": history[-1]["lsn"] if history else None,
    }


def promotion_found(seen: PromoteEvidence, plan: PromotePlan) -> dict[str, t.Any]:
    """The begin of a result: what was found, and what follows from it."""
    return {
        "changed": plan.promote,
        "actions": list(plan.actions),
        "received_lsn": seen.received_lsn,
        "replayed_lsn": seen.replayed_lsn,
        "seconds": None,
    }


def _open(host: Host, request: PromoteRequest) -> Database:
    return t.cast(Database, open_session(host, request.login, or_none=False))


def promote_now(host: Host, request: PromoteRequest, *, check_mode: bool) -> dict[str, t.Any]:
    """Promote a standby; a server that is a primary already is left as it is."""
    with _open(host, request) as database:
        seen = observe_promotion(host, database)
        plan = plan_promotion(request, seen)
        if plan.blockers:
            raise ReplicationError("Nothing was promoted. " + " ".join(plan.blockers), problems=list(plan.blockers))
        result = promotion_found(seen, plan)
        if plan.promote and not check_mode:
            create_slots(database, plan.slots, request.slots, can_reserve=seen.slots.can_reserve)
            if plan.resume:
                wal = "wal" if supports(database.version, "wal_names") else "xlog"
                database.rows(f"SELECT pg_{wal}_replay_resume()")
            started = time.monotonic()
            promote_server(host, database, request.timeout)
            result["seconds"] = round(time.monotonic() - started, 3)
            if request.checkpoint:
                database.execute("CHECKPOINT")
        if not plan.promote or not check_mode:
            result.update(described_promotion(host, database))
    return result
