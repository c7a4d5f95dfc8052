# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against the shutdown of a primary."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._demote import (
    DemoteEvidence,
    DemoteRequest,
    Sender,
    plan_demotion,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._instance import Upstream
from ansible_collections.pgtandem.replication.plugins.module_utils._server import Login

REQUEST = DemoteRequest(Login(), Upstream("192.0.2.2", 5432, "replica", "pg1"), successor="pg2", maximum_lag_bytes=100)
FINE = (Sender("pg2", "streaming", 100), Sender("pg3", "catchup", 10**9))


def test_nothing() -> None:
    assert plan_demotion(REQUEST, DemoteEvidence(FINE)) == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (DemoteEvidence(), "pg2 does not stream from this primary (its WAL senders: none)"),
        (DemoteEvidence((Sender("pg2", "catchup", 1),)), "(its WAL senders: pg2 catchup)"),
        (DemoteEvidence((Sender("pg2", "streaming", 101),)), "pg2 is 101 bytes of WAL behind, and 100 are allowed"),
        (DemoteEvidence((Sender("pg2", "streaming", None),)), "an unknown number of bytes"),
        (DemoteEvidence((*FINE, Sender("", "backup", 0))), "A base backup is under way (unnamed)"),
        (DemoteEvidence(FINE, ("process 7 of app for 61 s",)), "for more than 30 seconds: process 7 of app for 61 s."),
        (DemoteEvidence(FINE, configuration="FATAL: no"), "with the configuration that it has: FATAL: no."),
    ],
)
def test_one_reason(seen: DemoteEvidence, words: str) -> None:
    (reason,) = plan_demotion(REQUEST, seen)
    assert words in reason


def test_all_reasons() -> None:
    seen = DemoteEvidence((Sender("x", "backup", 0),), ("process 7 of app for 61 s",), "FATAL: no")
    assert len(plan_demotion(REQUEST, seen)) == 4
