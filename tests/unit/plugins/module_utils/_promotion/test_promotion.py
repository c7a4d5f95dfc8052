# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a promotion does, and what speaks against it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import Login
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.promotion import (
    PromoteEvidence,
    PromoteRequest,
    plan_promotion,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.slot import SlotEvidence, SlotRequest

STANDBY = PromoteEvidence(True, "71", received_lsn="0/3000100", replayed_lsn="0/3000060")


def request(**options: t.Any) -> PromoteRequest:
    return PromoteRequest(login=Login(), **options)


@pytest.mark.parametrize(
    ("seen", "options", "actions"),
    [
        (STANDBY, {}, ["Promote this standby"]),
        (PromoteEvidence(False, "71"), {}, []),
        (PromoteEvidence(False, "71"), {"slots": SlotRequest(("pg1",)), "checkpoint": True}, []),
        # What was received counts, since it is all replayed before.
        (STANDBY, {"minimum_lsn": "0/03000100"}, ["Promote this standby"]),
        (STANDBY, {"system_identifier": "71"}, ["Promote this standby"]),
        (PromoteEvidence(True, paused=True), {}, ["Resume the replay", "Promote this standby"]),
        (
            STANDBY,
            {"slots": SlotRequest(("pg1",)), "checkpoint": True},
            [
                "Create the slot pg1, reserving WAL at once",
                "Promote this standby",
                "Write a checkpoint of the new timeline",
            ],
        ),
    ],
)
def test_what_is_done(seen: PromoteEvidence, options: dict[str, t.Any], actions: list[str]) -> None:
    plan = plan_promotion(request(**options), seen)
    assert (list(plan.actions), plan.blockers, plan.promote) == (actions, (), bool(actions))


@pytest.mark.parametrize(
    ("seen", "options", "words"),
    [
        (STANDBY, {"minimum_lsn": "0/3000101"}, "1 bytes would be lost"),
        (PromoteEvidence(True), {"minimum_lsn": "0/1"}, "up to nowhere"),
        (STANDBY, {"system_identifier": "72"}, "is of system 71, and 72 is meant"),
        (PromoteEvidence(False, "71"), {"system_identifier": "72"}, "is of system 71, and 72 is meant"),
        (
            PromoteEvidence(True, too_low=(("max_connections", 100, 120),)),
            {},
            "max_connections is 100 here and the WAL asks for 120",
        ),
        (PromoteEvidence(True, read_only=True), {}, "default_transaction_read_only is on"),
        (
            PromoteEvidence(True, slots=SlotEvidence(places=0)),
            {"slots": SlotRequest(("pg1",))},
            "max_replication_slots is 0",
        ),
    ],
)
def test_what_speaks_against_it(seen: PromoteEvidence, options: dict[str, t.Any], words: str) -> None:
    assert any(words in blocker for blocker in plan_promotion(request(**options), seen).blockers)
