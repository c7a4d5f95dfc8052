# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong while a run of the scenario `chaos` goes on; hosts and moments are drawn from the step's number."""

from __future__ import annotations

import random
import time
import typing as t

from deeds import Deed, switchover
from planting import Planting, situations
from runs import Outcome
from world import World


class Met(t.NamedTuple):
    """How a run ended that something befell; none where it was killed."""

    outcome: Outcome | None
    #: Hosts whose server the trouble may have ended.
    hit: tuple[str, ...] = ()


def moment(deed: Deed, source: random.Random) -> float:
    """Some seconds after its beginning."""
    return source.uniform(0.3, deed.seconds)


def nothing(world: World, deed: Deed, source: random.Random) -> Met:
    """A run by itself."""
    return Met(world.end(world.begin(deed.playbook, *deed.arguments)))


def kill_run(world: World, deed: Deed, source: random.Random) -> Met:
    """The controller's processes are killed."""
    run = world.begin(deed.playbook, *deed.arguments)
    time.sleep(moment(deed, source))
    run.kill()
    return Met(None)


def kill_module(world: World, deed: Deed, source: random.Random) -> Met:
    """What works for the run on a host is killed there."""
    name = source.choice(world.living)
    run = world.begin(deed.playbook, *deed.arguments)
    time.sleep(moment(deed, source))
    if name not in world.down:
        world.kill_workers(name)
    return Met(world.end(run))


def cut(world: World, deed: Deed, source: random.Random) -> Met:
    """The network between two hosts breaks, and is healed when the run is over."""
    one, other = source.sample([*world.living, "controller"], 2)
    if one == "controller":
        one, other = other, one
    run = world.begin(deed.playbook, *deed.arguments)
    time.sleep(moment(deed, source))
    if world.down.isdisjoint((one, other)):
        world.cut(one, other)
    return Met(world.end(run))


def power(world: World, deed: Deed, source: random.Random) -> Met:
    """A host loses its power, and has it back when the run is over."""
    name = source.choice(world.living)
    run = world.begin(deed.playbook, *deed.arguments)
    time.sleep(moment(deed, source))
    world.power_off(name)
    return Met(world.end(run), (name,))


def crash(world: World, deed: Deed, source: random.Random) -> Met:
    """A server is killed."""
    name = source.choice(world.living)
    run = world.begin(deed.playbook, *deed.arguments)
    time.sleep(moment(deed, source))
    if name not in world.down:
        world.kill_server(name)
    return Met(world.end(run), (name,))


def full(world: World, deed: Deed, source: random.Random) -> Met:
    """The disk of a host is full, or nearly."""
    name = source.choice(world.living)
    world.fill_disk(name, source.choice((0, 1_000_000, 30_000_000)))
    return Met(world.end(world.begin(deed.playbook, *deed.arguments)), (name,))


def twice(world: World, deed: Deed, source: random.Random) -> Met:
    """The same command runs twice at once, or another change of roles beside it."""
    first = world.begin(deed.playbook, *deed.arguments)
    time.sleep(source.uniform(0, 3))
    other = source.choice((deed, switchover(world, source)) if world.primaries() else (deed,))
    second = world.begin(other.playbook, *other.arguments)
    world.end(second)
    return Met(world.end(first))


def planted(world: World, deed: Deed, source: random.Random) -> Met:
    """One of the situations of `surroundings` is there, and is cleared when the run is over."""
    planting = Planting(world, source.choice(list(situations())))
    world.tell(f"planted: {planting.name}")
    planting.plant()
    outcome = world.end(world.begin(deed.playbook, *deed.arguments))
    planting.clear()
    return Met(outcome, tuple(planting.concerned) if planting.restarts else ())


TROUBLES: dict[str, tuple[int, t.Callable[[World, Deed, random.Random], Met]]] = {
    "": (6, nothing),
    "kill-run": (4, kill_run),
    "kill-module": (3, kill_module),
    "cut": (4, cut),
    "power": (3, power),
    "crash": (3, crash),
    "full": (2, full),
    "twice": (2, twice),
    "planted": (4, planted),
}
