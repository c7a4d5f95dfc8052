# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions about physical slots."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.slot import (
    Slot,
    SlotEvidence,
    SlotRequest,
    SlotStep,
    observe_slots,
    plan_slots,
    query_of,
    request_from,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database

PG2 = SlotRequest(("pg2",))
CREATE, DROP = SlotStep(False, "pg2"), SlotStep(True, "pg2")


def a_slot(**values: t.Any) -> Slot:
    return Slot("pg2", **{"restart_lsn": "0/3000000", "wal_status": "reserved", **values})


USED = {"active": True, "active_pid": 7, "client": "pg2 as replica from 10.0.0.2"}


@pytest.mark.parametrize(
    ("request_", "slots", "steps"),
    [
        pytest.param(PG2, [], (CREATE,), id="missing"),
        pytest.param(PG2, [a_slot()], (), id="there"),
        pytest.param(PG2, [a_slot(**USED)], (), id="in-use"),
        pytest.param(PG2, [a_slot(wal_status="extended")], (), id="extended"),
        pytest.param(PG2, [a_slot(wal_status="unreserved")], (), id="unreserved-may-come-back"),
        pytest.param(PG2, [a_slot(wal_status="lost")], (DROP, CREATE), id="lost"),
        pytest.param(
            PG2, [a_slot(wal_status="lost", restart_lsn=None, invalidation_reason="wal_removed")], (DROP, CREATE),
            id="lost-17",
        ),
        pytest.param(
            PG2, [a_slot(wal_status="unreserved", invalidation_reason="idle_timeout")], (DROP, CREATE), id="idle-18"
        ),
        pytest.param(PG2, [a_slot(wal_status="lost", **USED)], (), id="lost-and-in-use"),
        pytest.param(PG2, [a_slot(restart_lsn=None, wal_status=None)], (DROP, CREATE), id="reserves-nothing"),
        pytest.param(
            SlotRequest(("pg2",), reserve=False), [a_slot(restart_lsn=None, wal_status=None)], (), id="not-asked-to"
        ),
        pytest.param(SlotRequest(("pg2",), present=False), [], (), id="absent"),
        pytest.param(SlotRequest(("pg2",), present=False), [a_slot()], (DROP,), id="drop"),
        pytest.param(SlotRequest(("pg2",), present=False), [a_slot(wal_status="lost")], (DROP,), id="drop-lost"),
        pytest.param(SlotRequest(()), [a_slot()], (), id="no-names"),
    ],
)  # fmt: skip
def test_plan(request_: SlotRequest, slots: list[Slot], steps: tuple[SlotStep, ...]) -> None:
    plan = plan_slots(request_, SlotEvidence(tuple(slots)))
    assert plan.steps == steps
    assert bool(plan.actions) == bool(steps)
    assert plan.blockers == ()


def test_a_version_that_cannot_reserve_leaves_an_unused_slot() -> None:
    plan = plan_slots(PG2, SlotEvidence((a_slot(restart_lsn=None, wal_status=None),), can_reserve=False))
    assert plan.steps == ()
    assert query_of(CREATE, PG2, can_reserve=False) == "SELECT pg_create_physical_replication_slot('pg2')"


def test_a_lost_slot_in_use_is_a_warning_that_names_the_user() -> None:
    (warning,) = plan_slots(PG2, SlotEvidence((a_slot(wal_status="lost", **USED),))).warnings
    assert "process 7 (pg2 as replica from 10.0.0.2)" in warning


@pytest.mark.parametrize(
    ("request_", "evidence", "text"),
    [
        pytest.param(PG2, SlotEvidence((a_slot(physical=False),)), "logical", id="logical"),
        pytest.param(
            SlotRequest(("pg2",), present=False), SlotEvidence((a_slot(physical=False),)), "logical", id="drop-logical"
        ),
        pytest.param(PG2, SlotEvidence((a_slot(temporary=True, **USED),)), "temporary", id="temporary"),
        pytest.param(
            SlotRequest(("pg2",), present=False), SlotEvidence((a_slot(**USED),)), "process 7 (pg2", id="drop-used"
        ),
        pytest.param(PG2, SlotEvidence(wal_level="minimal"), "wal_level", id="wal-level"),
        pytest.param(PG2, SlotEvidence(places=0), "max_replication_slots is 0", id="no-places"),
        pytest.param(
            SlotRequest(("pg2", "pg3")), SlotEvidence((Slot("pg9"),), places=2), "at least 3", id="not-enough-places"
        ),
    ],
)
def test_what_stands_in_the_way(request_: SlotRequest, evidence: SlotEvidence, text: str) -> None:
    assert text in " ".join(plan_slots(request_, evidence).blockers)


def test_a_full_server_has_room_for_a_slot_that_is_made_anew() -> None:
    assert plan_slots(PG2, SlotEvidence((a_slot(wal_status="lost"),), places=1)).blockers == ()
    assert plan_slots(PG2, SlotEvidence((a_slot(),), places=1)).blockers == ()


@pytest.mark.parametrize("name", ["", "PG2", "pg-2", "pg 2", "pg2\n", "x" * 64, "pg'2", "pgä"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ReplicationError, match="slot"):
        request_from({"names": [name], "state": "present", "reserve": True})


def test_a_name_that_is_said_twice_is_one_slot() -> None:
    request = request_from({"names": ["pg2", "pg3", "pg2"], "state": "present", "reserve": True})
    assert request.names == ("pg2", "pg3")


class OneQuery(Database):
    """Keeps the statement and answers with nothing."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.sql = ""

    def rows(self, sql: str, parameters: t.Sequence[t.Any] = ()) -> list[dict[str, t.Any]]:
        self.sql = sql
        return []

    def execute(self, sql: str, parameters: t.Sequence[t.Any] = ()) -> None:
        raise AssertionError(sql)

    def encrypt_password(self, *, password: str, role: str, method: str) -> str:
        raise AssertionError(method)

    def close(self) -> None:
        pass

    def setting(self, name: str) -> str:
        return {"max_replication_slots": "10", "wal_level": "replica"}[name]


@pytest.mark.parametrize(
    ("version", "present", "missing"),
    [
        (90424, [], ["s.active_pid", "s.temporary", "s.wal_status"]),
        (90624, ["s.active_pid"], ["s.temporary", "s.wal_status"]),
        (120022, ["s.active_pid", "s.temporary"], ["s.wal_status"]),
        (160000, ["s.temporary", "s.wal_status"], ["s.invalidation_reason"]),
        (190000, ["s.wal_status", "s.invalidation_reason"], []),
    ],
)
def test_only_columns_that_a_version_has_are_asked_for(version: int, present: list[str], missing: list[str]) -> None:
    database = OneQuery(version)
    observe_slots(database)
    assert all(column in database.sql for column in present)
    assert not any(column in database.sql for column in missing)
