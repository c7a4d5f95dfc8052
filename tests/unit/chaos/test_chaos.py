# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenario `chaos` decides without hosts."""

from __future__ import annotations

import itertools
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/chaos"))

import chain  # noqa: E402
import witnesses  # noqa: E402
from chain import Step  # noqa: E402
from witnesses import Answer  # noqa: E402

sys.path.remove(str(ROOT / "tests/chaos"))

DEEDS = {"site": 1, "switchover": 3}
TROUBLES = {"": 1, "cut": 1}


def steps(count: int, seed: str = "x") -> list[Step]:
    return list(itertools.islice(chain.draw(seed, DEEDS, TROUBLES), count))


def test_a_seed_draws_the_same_steps_which_read_as_they_are_written() -> None:
    drawn = steps(50)
    assert drawn == steps(50) != steps(50, "y")
    assert {step.deed for step in drawn} == set(DEEDS) and {step.trouble for step in drawn} == set(TROUBLES)
    assert chain.parse(" ".join(map(str, drawn))) == drawn
    assert drawn[0].random().random() == chain.parse(str(drawn[0]))[0].random().random()


def of(*picks: int) -> t.Callable[[t.Sequence[Step]], bool]:
    """What fails where these steps are there, in their order."""

    def fails(some: t.Sequence[Step]) -> bool:
        left = [step.pick for step in some if step.pick in picks]
        return left == list(picks)

    return fails


@pytest.mark.parametrize("picks", [(9,), (2, 9), (0, 5, 9), (8, 9)])
def test_the_steps_that_a_failure_needs_are_found(picks: tuple[int, ...]) -> None:
    made = [Step("site", "", number) for number in range(10)]
    shorter = chain.shorten(made, of(*picks))
    assert shorter is not None and tuple(step.pick for step in shorter) == picks


def test_what_does_not_fail_again_has_no_shorter_sequence() -> None:
    made = [Step("site", "", number) for number in range(3)]
    tried: list[int] = []

    def passes(some: t.Sequence[Step]) -> bool:
        tried.append(len(some))
        return False

    assert chain.shorten(made, passes) is None
    assert tried == [1, 2, 3]
    assert chain.shorten(made, of(2), lambda: False) is None


def answer(host: str, number: int, timeline: int, at: float) -> Answer:
    return Answer(host, number, timeline, at, at + 1)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        pytest.param([answer("a", 1, 1, 0), answer("b", 2, 2, 2), answer("a", 3, 3, 4)], "", id="roles-change"),
        # Sent before the other one's answer: it may have been written before.
        pytest.param([answer("a", 1, 1, 0), answer("b", 2, 2, 0.5)], "", id="at-the-same-time"),
        pytest.param([answer("a", 1, 1, 0), answer("b", 2, 1, 2)], "both", id="one-timeline"),
        pytest.param([answer("b", 2, 2, 0), answer("a", 1, 1, 2)], "after b had", id="older-timeline"),
        pytest.param(
            [answer("a", 1, 1, 0), answer("b", 2, 2, 2), answer("b", 3, 2, 4), answer("a", 4, 1, 4)],
            "after b had",
            id="in-between",
        ),
    ],
)
def test_two_servers_that_acknowledge_commits_are_seen(answers: list[Answer], said: str) -> None:
    found = witnesses.two_at_once(answers)
    assert (said in found) if said else not found, found
