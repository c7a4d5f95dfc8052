# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting, on a clock that only sleeping moves."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._system.polling import (
    LONGEST_PAUSE,
    Clock,
    wait_until,
)


class Time:
    """A clock for tests: each look takes a moment, each sleep what it says."""

    def __init__(self, *, look_seconds: float = 0.0) -> None:
        self.now = 100.0
        self.look_seconds = look_seconds
        self.sleeps: list[float] = []
        self.looks = 0

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self._sleep)

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.sleeps.append(seconds)
        self.now += seconds

    def looking(self, answers: t.Iterable[bool]) -> t.Callable[[], bool]:
        given = list(answers)

        def look() -> bool:
            self.looks += 1
            self.now += self.look_seconds
            return given.pop(0) if len(given) > 1 else given[0]

        return look


CASES = [
    pytest.param([True], 0, 0, True, 1, id="met at once"),
    pytest.param([False], 0, 0, False, 1, id="no timeout looks once"),
    pytest.param([False, False, True], 10, 0, True, 3, id="met at the third look"),
    pytest.param([True], 0, 1, True, 7, id="stable is watched without a timeout too"),
    pytest.param([True, False, True], 10, 0.05, True, 4, id="what breaks off counts anew"),
    pytest.param([True, False], 0, 1, False, 2, id="what breaks off after the deadline is not met"),
]


@pytest.mark.parametrize(("answers", "timeout", "stable", "met", "looks"), CASES)
def test_outcome(answers: list[bool], timeout: float, stable: float, met: bool, looks: int) -> None:
    time = Time()
    outcome = wait_until(time.looking(answers), bool, timeout=timeout, stable=stable, clock=time.clock())
    assert (outcome.met, outcome.seen, time.looks) == (met, answers[-1] if looks > 1 else answers[0], looks)


def test_pauses_grow_and_the_last_one_ends_at_the_deadline() -> None:
    time = Time()
    outcome = wait_until(time.looking([False]), bool, timeout=10, clock=time.clock())
    assert not outcome.met
    assert outcome.seconds == pytest.approx(10)
    assert time.sleeps[:3] == pytest.approx([0.05, 0.075, 0.1125])
    assert time.sleeps[:-1] == sorted(time.sleeps[:-1])
    assert max(time.sleeps) == LONGEST_PAUSE


def test_a_look_that_ends_after_the_deadline_still_counts() -> None:
    time = Time(look_seconds=30)
    assert wait_until(time.looking([True]), bool, timeout=5, clock=time.clock()).met


def test_a_slow_look_is_not_repeated_beyond_the_deadline() -> None:
    time = Time(look_seconds=30)
    assert not wait_until(time.looking([False]), bool, timeout=5, clock=time.clock()).met
    assert (time.looks, time.sleeps) == (1, [])
