# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against the shutdown of a primary."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError, ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import Login
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.instance import Upstream
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion import demotion
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.demotion import (
    DemoteEvidence,
    DemoteRequest,
    Sender,
    plan_demotion,
)
from stand_ins import host_on

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


class Greeted:
    """A session that is ended, or is not."""

    def __init__(self, ended: bool) -> None:
        self._ended = ended

    def ended_within(self, _seconds: float) -> bool:
        return self._ended

    def __enter__(self) -> Greeted:
        return self

    def __exit__(self, *_unused: object) -> None:
        return None


@pytest.mark.parametrize(
    ("failures", "ended", "error"),
    [(0, True, None), (2, True, None), (0, False, ReplicationError), (99, True, DatabaseError)],
)
def test_an_answer_is_known_in_any_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, ended: bool, error: type[Exception] | None
) -> None:
    """Its end may come before the login is complete, and then nothing but words says that it was ended."""
    tries = []

    def log_in(*_words: object) -> Greeted:
        tries.append(1)
        if len(tries) <= failures:
            raise DatabaseError("FATAL:  Verbindung wird abgebrochen aufgrund von Anweisung des Administrators")
        return Greeted(ended)

    monkeypatch.setattr(demotion, "log_in", log_in)
    if error is None:
        demotion._await_answer(host_on(tmp_path), REQUEST)
    else:
        with pytest.raises(error):
            demotion._await_answer(host_on(tmp_path), REQUEST)
    assert len(tries) <= failures + 1
