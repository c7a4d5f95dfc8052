# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chance looks for what no report names yet; molecule/README.md says how to have it look again.

PGTANDEM_CHAOS_SEED names a sequence, PGTANDEM_CHAOS_SECONDS how long it goes on, PGTANDEM_CHAOS_STEPS the steps
themselves, as a failure prints them.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import secrets
import time
import typing as t

import chain
import pytest
from deeds import DEEDS
from troubles import TROUBLES
from world import World

SECONDS = float(os.environ.get("PGTANDEM_CHAOS_SECONDS") or 600)
#: Seconds to look for a shorter sequence that fails as well.
SHORTEN_SECONDS = float(os.environ.get("PGTANDEM_CHAOS_SHORTEN_SECONDS") or 900)
#: Troubles that end no server by themselves.
HARMLESS = ("", "twice", "planted")
#: What a run may refuse at any time, since the hosts are as they are.
MAY_REFUSE = ("switchover", "site", "rejoin")


def perform(world: World, step: chain.Step) -> None:
    """Make one step from the good state to the good state, and see that all is true that has to be."""
    world.told = []
    source = step.random()
    deed = DEEDS[step.deed][1](world, source)
    only_looks = "--check" in deed.arguments
    before = world.states()
    met = TROUBLES[step.trouble][1](world, deed, source)
    said = met.outcome.text if met.outcome else ""
    world.judge()
    if step.trouble in HARMLESS:
        world.judge_running(before, {*deed.down, *met.hit}, said)
    world.calm()
    world.judge()
    if only_looks and not step.trouble:
        assert world.states() == before, f"check mode changed something\n{said}"
    if met.outcome is None or (met.outcome.rc and not only_looks):
        assert step.trouble, f"{deed.playbook} ended with {met.outcome and met.outcome.rc}\n{said[-6000:]}"
        world.tell(f"{deed.playbook}: {met.outcome.rc if met.outcome else 'killed'}")
        again = world.run(deed.playbook, *deed.arguments)
        refused = again.rc and deed.playbook not in MAY_REFUSE and not only_looks
        assert not refused, f"the same command again\n{again.text[-6000:]}"
        world.judge()
    deed.after()
    world.mend()
    world.judge_running(before, {name for name in before if name not in world.members}, said)


def passes(world: World, steps: t.Iterable[chain.Step], until: float = float("inf")) -> tuple[list[chain.Step], str]:
    """Make steps from the kept state on, and return those that were made and why the last one failed."""
    world.whole_again()
    world.reset()
    made = []
    for number, step in enumerate(steps, 1):
        if time.monotonic() > until:
            break
        made.append(step)
        began = time.monotonic()
        try:
            perform(world, step)
        except (AssertionError, RuntimeError) as error:
            print(f"{number:4} {step!s:28} FAILED; {'; '.join(world.told)}", flush=True)
            return made, str(error)
        print(f"{number:4} {step!s:28} {time.monotonic() - began:4.0f} s  {'; '.join(world.told)}", flush=True)
    return made, ""


def test_chance_breaks_no_promise(world: World) -> None:
    written = os.environ.get("PGTANDEM_CHAOS_STEPS")
    seed = os.environ.get("PGTANDEM_CHAOS_SEED") or secrets.token_hex(4)
    drawn = chain.draw(
        seed,
        {name: often for name, (often, _deed) in DEEDS.items()},
        {name: often for name, (often, _trouble) in TROUBLES.items()},
    )
    print(f"\nPGTANDEM_CHAOS_SEED={seed} for {SECONDS:.0f} s" if not written else "\nthe steps of PGTANDEM_CHAOS_STEPS")
    steps = chain.parse(written) if written else drawn
    made, why = passes(world, steps, float("inf") if written else time.monotonic() + SECONDS)
    if not why:
        troubles = collections.Counter(step.trouble or "none" for step in made)
        print(f"{len(made)} steps with seed {seed}; troubles: {dict(troubles)}; {world.judge_rows()} rows")
        return
    until = time.monotonic() + SHORTEN_SECONDS
    tries = itertools.count(1)

    def fails(some: t.Sequence[chain.Step]) -> bool:
        print(f"try {next(tries)}: {' '.join(map(str, some))}", flush=True)
        with contextlib.suppress(AssertionError):
            return bool(passes(world, some)[1])
        return True

    shorter = chain.shorten(made, fails, lambda: time.monotonic() < until) if not written else None
    found = " ".join(map(str, shorter or made))
    again = "fails again" if shorter else "was not found to fail again"
    pytest.fail(f"{why}\n\nPGTANDEM_CHAOS_STEPS='{found}' {again} (seed {seed}, {len(made)} steps)", pytrace=False)
