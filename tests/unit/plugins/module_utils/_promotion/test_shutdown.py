# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a shutdown would wait for."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.shutdown import (
    READY_LIMIT,
    Archiver,
    Client,
    archiver_problem,
    silent_clients,
    stalled_problem,
    still_silent,
)

STUCK = Client(7, "pg_receivewal", "192.0.2.9", unsent=0, unconfirmed=4096, silent=40.0, mark=("0/1", "then"))


@pytest.mark.parametrize(
    ("changes", "suspect"),
    [
        ({}, True),
        ({"unsent": 1, "unconfirmed": 0}, True),
        ({"unconfirmed": None}, True),
        # It says so every 10 seconds, and has said so.
        ({"silent": 9.5}, False),
        # Everything is confirmed, so nothing is waited for, however long ago that was.
        ({"unconfirmed": 0}, False),
        # A clock that is ahead.
        ({"silent": -3600.0}, False),
        # Before 12 nobody tells when it spoke last.
        ({"silent": None}, True),
        ({"silent": None, "unconfirmed": 0}, False),
    ],
)
def test_who_is_watched(changes: dict[str, object], suspect: bool) -> None:
    client = dataclasses.replace(STUCK, **changes)  # type: ignore[arg-type]
    assert bool(silent_clients([client])) == suspect


def test_who_says_something_while_watched_is_healthy() -> None:
    """As one whose clock is an hour behind."""
    again = dataclasses.replace(STUCK, unsent=8192)
    assert still_silent([STUCK], [again]) == [again]
    for now in ([], [dataclasses.replace(STUCK, mark=("0/1", "now"))], [dataclasses.replace(STUCK, unconfirmed=0)]):
        assert still_silent([STUCK], now) == []


def test_the_client_is_named() -> None:
    assert stalled_problem([], 10) is None
    said = stalled_problem([STUCK, Client(8, "", "", 5, None)], 10)
    assert said is not None
    for words in ("pg_receivewal at 192.0.2.9 (process 7)", "4096 bytes", "40 s", "a client without a name at a local"):
        assert words in said


@pytest.mark.parametrize(
    ("archiver", "words"),
    [
        (Archiver(command="cp x y", command_pid=9, command_seconds=10), "process 9: cp x y"),
        (Archiver(ready=1, failing="000000010000000000000003"), "000000010000000000000003"),
        (Archiver(ready=READY_LIMIT + 1), f"{READY_LIMIT + 1} files"),
    ],
)
def test_an_archiver_that_would_be_waited_for(archiver: Archiver, words: str) -> None:
    assert words in (archiver_problem(archiver, 10) or "")


@pytest.mark.parametrize(
    "archiver",
    [None, Archiver(command_pid=9, command_seconds=9), Archiver(failing="0001"), Archiver(ready=READY_LIMIT)],
)
def test_an_archiver_that_is_well(archiver: Archiver | None) -> None:
    assert archiver_problem(archiver, 10) is None
