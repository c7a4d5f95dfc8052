# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Wait for something to become true: look, sleep a little longer each time, and stop at a deadline."""

from __future__ import annotations

import time
import typing as t

#: Seconds between two looks: the first pause, the longest, and how much each grows over the one before.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
GROWTH = 1.5

Seen = t.TypeVar("Seen")


class Clock(t.NamedTuple):
    """Where time comes from, so that tests need none."""

    monotonic: t.Callable[[], float] = time.monotonic
    sleep: t.Callable[[float], None] = time.sleep


class Outcome(t.NamedTuple):
    """How waiting ended."""

    #: What the last look saw.
    seen: t.Any
    met: bool
    seconds: float


def wait_until(
    look: t.Callable[[], Seen],
    satisfied: t.Callable[[Seen], bool],
    *,
    timeout: float,
    stable: float = 0.0,
    clock: Clock | None = None,
) -> Outcome:
    """Look until it satisfies, at most C(timeout) seconds, and at least once; 0 looks once.

    With C(stable) it must satisfy in every look over that many seconds, of which there are two or more; a look that
    does not starts the count again. What first satisfies before the deadline may be watched beyond it.
    """
    clock = clock or Clock()
    start = clock.monotonic()
    deadline = start + timeout
    since: float | None = None
    pause = FIRST_PAUSE
    while True:
        seen = look()
        now = clock.monotonic()
        if not satisfied(seen):
            since = None
            if now >= deadline:
                return Outcome(seen, False, now - start)
            remaining = deadline - now
        else:
            since = now if since is None else since
            remaining = since + stable - now
            if remaining <= 0:
                return Outcome(seen, True, now - start)
        clock.sleep(min(pause, remaining))
        pause = min(pause * GROWTH, LONGEST_PAUSE)
