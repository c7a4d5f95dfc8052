# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Physical replication slots: observe, plan, apply, report (manual, Replication Slots; pg_replication_slots)."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_from
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import open_session
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import NAME_LENGTH
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


@dataclass(frozen=True)
class SlotRequest:
    """What the user wants of the slots."""

    names: tuple[str, ...]
    present: bool = True
    #: Keep WAL from the slot's creation on, not only from its first use.
    reserve: bool = True


@dataclass(frozen=True)
class Slot:
    """A slot as the server has it; what its version does not tell is None."""

    name: str
    physical: bool = True
    temporary: bool = False
    active: bool = False
    active_pid: int | None = None
    #: Who uses it, for messages.
    client: str = ""
    restart_lsn: str | None = None
    #: reserved, extended, unreserved or lost.
    wal_status: str | None = None
    invalidation_reason: str | None = None

    @property
    def invalid(self) -> bool:
        """The server has given the slot up: it protects no WAL, even where some versions still let it be used."""
        return self.wal_status == "lost" or self.invalidation_reason is not None


@dataclass(frozen=True)
class SlotEvidence:
    """The server's slots and what limits them."""

    #: All of them, since each takes one of the places.
    slots: tuple[Slot, ...] = ()
    #: max_replication_slots
    places: int = 10
    wal_level: str = "replica"
    can_reserve: bool = True


class SlotStep(t.NamedTuple):
    """One call of the server."""

    drop: bool
    name: str


@dataclass(frozen=True)
class SlotPlan:
    """What to do, in words and in calls."""

    actions: tuple[str, ...] = ()
    steps: tuple[SlotStep, ...] = ()
    blockers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def request_from(parameters: t.Mapping[str, t.Any]) -> SlotRequest:
    """The request in a module's parameters, with names refused that the server would refuse."""
    names = tuple(dict.fromkeys(parameters["names"]))
    for name in names:
        if not re.match(r"^[a-z0-9_]+\Z", name) or len(name) > NAME_LENGTH:
            raise ReplicationError(
                f"{name!r} is no name for a slot: it takes 1 to {NAME_LENGTH} of lower case letters, digits and _."
            )
    return SlotRequest(names, parameters["state"] == "present", parameters["reserve"])


def plan_slots(request: SlotRequest, seen: SlotEvidence) -> SlotPlan:
    """What the request asks of the slots as they are."""
    found = {slot.name: slot for slot in seen.slots}
    actions: list[str] = []
    steps: list[SlotStep] = []
    blockers: list[str] = []
    warnings: list[str] = []
    for name in request.names:
        slot = found.get(name)
        if slot is not None and not slot.physical:
            blockers.append(
                f"The slot {name!r} is a logical one, somebody's subscription or decoder. It is left alone: use "
                "another name, or drop it yourself with pg_drop_replication_slot()."
            )
        elif not request.present:
            _plan_absent(name, slot, actions, steps, blockers)
        elif slot is None:
            actions.append(f"Create the slot {name}" + ("" if not request.reserve else ", reserving WAL at once"))
            steps.append(SlotStep(False, name))
        elif slot.temporary:
            blockers.append(
                f"The slot {name!r} is a temporary one of {_user(slot)}, and ends with that session. Wait for it, "
                "or use another name."
            )
        else:
            reason = _why_anew(request, slot, seen)
            if reason and slot.active:
                warnings.append(
                    f"The slot {name!r} {reason}, and {_user(slot)} uses it, so it cannot be made anew now. Stop that "
                    "standby, run this again, and start it."
                )
            elif reason:
                actions.append(f"Drop the slot {name}, which {reason}, and create it anew")
                steps.extend([SlotStep(True, name), SlotStep(False, name)])
    blockers.extend(_limits(steps, seen))
    return SlotPlan(tuple(actions), tuple(steps), tuple(blockers), tuple(warnings))


def _why_anew(request: SlotRequest, slot: Slot, seen: SlotEvidence) -> str:
    """Why a slot has to be dropped and made again; empty where it is as it should be."""
    if slot.invalid:
        return f"the server invalidated ({slot.invalidation_reason or 'WAL lost'}) and which protects nothing"
    if request.reserve and seen.can_reserve and slot.restart_lsn is None and not slot.active:
        return "reserves no WAL yet"
    return ""


def _plan_absent(name: str, slot: Slot | None, actions: list[str], steps: list[SlotStep], blockers: list[str]) -> None:
    if slot is None:
        return
    if slot.active:
        blockers.append(
            f"The slot {name!r} is in use by {_user(slot)}. Stop that standby, or give it another slot "
            "(primary_slot_name), before the slot is dropped."
        )
    actions.append(f"Drop the slot {name}")
    steps.append(SlotStep(True, name))


def _user(slot: Slot) -> str:
    return f"process {slot.active_pid or 'unknown'}" + (f" ({slot.client})" if slot.client else "")


def _limits(steps: t.Sequence[SlotStep], seen: SlotEvidence) -> list[str]:
    creates = [step.name for step in steps if not step.drop]
    if not creates:
        return []
    found = []
    if seen.wal_level == "minimal":
        found.append("wal_level is minimal, with which there are no slots. Set wal_level to replica and restart.")
    used = len(seen.slots) - sum(step.drop for step in steps)
    if used + len(creates) > seen.places:
        found.append(
            f"max_replication_slots is {seen.places} and {used} are taken: "
            f"there is no room for {len(creates)} more ({', '.join(creates)}). Set max_replication_slots to at least "
            f"{used + len(creates)} and restart, or drop slots that nobody uses."
        )
    return found


def observe_slots(database: Database) -> SlotEvidence:
    """All slots of the server, in one shape for every version, and what limits them."""
    version = database.version

    def column(feature: str, name: str, otherwise: str) -> str:
        return (f"s.{name}" if supports(version, feature) else otherwise) + f" AS {name}"

    has_pid = supports(version, "slot_active_pid")
    rows = database.rows(
        "SELECT s.slot_name::text AS slot_name, s.slot_type, s.active, s.restart_lsn::text AS restart_lsn, "
        + ", ".join(
            [
                column("slot_active_pid", "active_pid", "NULL::int"),
                column("slot_temporary", "temporary", "false"),
                column("slot_wal_status", "wal_status", "NULL::text"),
                column("slot_invalidation_reason", "invalidation_reason", "NULL::text"),
            ]
        )
        + ", a.usename::text AS usename, a.application_name, a.client_addr::text AS client_addr "
        "FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON "
        + ("a.pid = s.active_pid" if has_pid else "false")
        + " ORDER BY 1"
    )
    return SlotEvidence(
        slots=tuple(
            Slot(
                row["slot_name"],
                physical=row["slot_type"] == "physical",
                temporary=row["temporary"],
                active=row["active"],
                active_pid=row["active_pid"],
                client=_client(row),
                restart_lsn=row["restart_lsn"],
                wal_status=row["wal_status"],
                invalidation_reason=row["invalidation_reason"],
            )
            for row in rows
        ),
        places=int(database.setting("max_replication_slots")),
        wal_level=database.setting("wal_level"),
        can_reserve=supports(version, "slot_reserve_at_once"),
    )


def _client(row: t.Mapping[str, t.Any]) -> str:
    if not row["usename"]:
        return ""
    name = f"{row['application_name']} " if row["application_name"] else ""
    return f"{name}as {row['usename']} from {row['client_addr'] or 'the local socket'}"


def query_of(step: SlotStep, request: SlotRequest, *, can_reserve: bool) -> str:
    """The call of one step; the names are only letters, digits and underscores.

    >>> query_of(SlotStep(False, "pg2"), SlotRequest(("pg2",)), can_reserve=True)
    "SELECT pg_create_physical_replication_slot('pg2', true)"
    """
    if step.drop:
        return f"SELECT pg_drop_replication_slot('{step.name}')"
    reserve = ", true" if request.reserve and can_reserve else ""
    return f"SELECT pg_create_physical_replication_slot('{step.name}'{reserve})"


def shown_slot(slot: Slot) -> dict[str, t.Any]:
    """A slot as a result shows it."""
    return {
        "name": slot.name,
        "active": slot.active,
        "active_pid": slot.active_pid,
        "restart_lsn": slot.restart_lsn,
        "wal_status": slot.wal_status,
        "invalidation_reason": slot.invalidation_reason,
    }


def _diff_of(request: SlotRequest, seen: SlotEvidence, plan: SlotPlan) -> dict[str, t.Any]:
    before = {slot.name: "invalid" if slot.invalid else "present" for slot in seen.slots if slot.name in request.names}
    after = dict(before)
    for step in plan.steps:
        if step.drop:
            after.pop(step.name, None)
        else:
            after[step.name] = "created"
    return {"before": before, "after": after, "before_header": "slots", "after_header": "slots"}


def manage_slots(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """The job of pg_replication_slot."""
    request = request_from(module.params)
    session = open_session(host, login_from(module.params), or_none=module.check_mode)
    if session is None:
        module.warn(
            f"No server runs on {host.instance.data_directory}, so its slots cannot be looked at. Check mode takes "
            "them for missing."
        )
        seen = SlotEvidence(places=len(request.names))
        return _report(module, request, seen, plan_slots(request, seen), seen)
    with session as database:
        seen = after = observe_slots(database)
        plan = plan_slots(request, seen)
        if plan.blockers:
            raise ReplicationError(" ".join(plan.blockers))
        if plan.steps and not module.check_mode:
            for step in plan.steps:
                query = query_of(step, request, can_reserve=seen.can_reserve)
                try:
                    database.rows(query)
                except DatabaseError as error:
                    raise DatabaseError(
                        f"The server refused {query}: {error.message}", sqlstate=error.sqlstate
                    ) from error
            after = observe_slots(database)
    return _report(module, request, seen, plan, after)


def _report(
    module: AnsibleModule, request: SlotRequest, seen: SlotEvidence, plan: SlotPlan, after: SlotEvidence
) -> dict[str, t.Any]:
    for warning in plan.warnings:
        module.warn(warning)
    result: dict[str, t.Any] = {
        "changed": bool(plan.steps),
        "slots": [shown_slot(slot) for slot in after.slots if slot.name in request.names],
        "actions": list(plan.actions),
        "queries": [query_of(step, request, can_reserve=seen.can_reserve) for step in plan.steps],
    }
    if module._diff:
        result["diff"] = _diff_of(request, seen, plan)
    return result
