# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sequence of steps that a seed draws, how it is written down, and a shorter one that fails as well. Pure."""

from __future__ import annotations

import random
import typing as t


class Step(t.NamedTuple):
    """What is done, what goes wrong meanwhile, and the number from which hosts and moments are drawn.

    >>> str(Step("switchover", "cut", 17)), str(Step("site", "", 3))
    ('switchover/cut:17', 'site:3')
    """

    deed: str
    trouble: str
    pick: int

    def __str__(self) -> str:
        return f"{self.deed}{'/' if self.trouble else ''}{self.trouble}:{self.pick}"

    def random(self) -> random.Random:
        """The same choices each time that this step is made in the same state."""
        return random.Random(str(self))


def parse(text: str) -> list[Step]:
    """Read what was written down.

    >>> parse("site:3 switchover/cut:17") == [Step("site", "", 3), Step("switchover", "cut", 17)]
    True
    """
    steps = []
    for word in text.split():
        what, _colon, pick = word.rpartition(":")
        deed, _slash, trouble = what.partition("/")
        steps.append(Step(deed, trouble, int(pick)))
    return steps


def draw(seed: str, deeds: t.Mapping[str, int], troubles: t.Mapping[str, int]) -> t.Iterator[Step]:
    """Steps without an end; the numbers say how often one comes compared with others."""
    source = random.Random(seed)
    while True:
        deed = source.choices(list(deeds), list(deeds.values()))[0]
        trouble = source.choices(list(troubles), list(troubles.values()))[0]
        yield Step(deed, trouble, source.randrange(1000))


def shorten(
    steps: t.Sequence[Step], fails: t.Callable[[t.Sequence[Step]], bool], goes_on: t.Callable[[], bool] = lambda: True
) -> list[Step] | None:
    """Find a shorter sequence that fails from a good state; None where not even the whole one fails again.

    First ever longer ends of the sequence, then without each step of what is left. `goes_on` says whether there is
    time for another try.
    """
    found: list[Step] | None = None
    length = 1
    while found is None and goes_on():
        end = list(steps[-length:])
        if fails(end):
            found = end
        elif length >= len(steps):
            return None
        length = min(2 * length, len(steps))
    place = 0
    while found is not None and place < len(found) - 1 and goes_on():
        less = found[:place] + found[place + 1 :]
        if fails(less):
            found = less
        else:
            place += 1
    return found
