# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a step of the scenario `chaos` does; hosts and values are drawn from its number."""

from __future__ import annotations

import functools
import json
import random
import sys
import typing as t

from outside import eventually
from runs import LAB
from scene import SPARE, STOP
from world import World


class Deed(t.NamedTuple):
    """A run that a step makes."""

    playbook: str
    arguments: tuple[str, ...] = ()
    #: What has to be done after it ended well.
    after: t.Callable[[], None] = lambda: None
    #: Hosts whose server is down by the step's own doing when the run begins, or is to be down after it.
    down: tuple[str, ...] = ()
    #: About how many seconds it takes: the moment of a trouble lies in them.
    seconds: float = 5


def site(world: World, source: random.Random) -> Deed:
    """A quiet run, or one in check mode."""
    return Deed("site", source.choice(((), (), ("--check",), ("--diff",))))


def check(world: World, source: random.Random) -> Deed:
    """A change of roles in check mode."""
    playbook = source.choice(("switchover", "failover"))
    return Deed(playbook, ("--check", "-e", f"pgtandem_target={source.choice(world.standbys())}"))


def switchover(world: World, source: random.Random) -> Deed:
    """To any standby."""
    target = source.choice(world.standbys())
    return Deed("switchover", ("-e", f"pgtandem_target={target}", "-e", "pgtandem_switchover_patience=10"), seconds=14)


def failover(world: World, source: random.Random) -> Deed:
    """The primary's host loses its power; later it comes back by itself, and in by a rejoin."""
    primary = world.newest()
    world.dead.add(primary)
    world.power_off(primary)
    return Deed("failover", after=lambda: come_back(world, primary), down=(primary,), seconds=20)


def fenced(world: World, source: random.Random) -> Deed:
    """The primary answers, and a fence takes its power."""
    primary = world.newest()
    world.dead.add(primary)
    world.down.add(primary)
    command = f"sh -c '{sys.executable} {LAB} kill $PGTANDEM_FENCE_HOST'"
    arguments = ("-e", json.dumps({"pgtandem_fence_command": command}))
    return Deed("failover", arguments, after=lambda: come_back(world, primary), down=(primary,), seconds=20)


def come_back(world: World, name: str) -> None:
    """A primary that was replaced gets its power back."""
    now = world.newest()
    assert now and now != name, f"{name} is dead, and {now or 'no host'} is the primary"
    world.dead.discard(name)
    world.returned.add(name)
    world.power_on(name)
    if eventually(lambda: name in world.primaries(), seconds=15):
        said = world.run("status")
        assert said.rc != 0 and name in said.said, f"status is content with two primaries\n{said.text[-4000:]}"
    world.bring_back(name)


def reseed(world: World, source: random.Random) -> Deed:
    """A standby is copied again."""
    name = source.choice(world.standbys())
    how = source.choice(("auto", "copy"))
    named = ("-e", f"pgtandem_reseed={name}", "-e", f"pgtandem_reseed_mode={how}")
    return Deed("rejoin", ("--limit", name, *STOP, *named), down=(name,), seconds=12)


def parameters(world: World, source: random.Random) -> Deed:
    """Other values, some of which ask for restarts in a certain order."""
    world.parameters = {
        "max_connections": source.choice((100, 120, 150)),
        "work_mem": source.choice(("4MB", "5MB")),
        "max_prepared_transactions": source.choice((0, 5)),
    }
    return Deed("site", seconds=15)


def join_or_leave(world: World, source: random.Random) -> Deed:
    """The spare host becomes a standby, or ceases to be one."""
    if SPARE not in world.members:
        world.members.append(SPARE)
        return Deed("site", seconds=15)
    # Where it is the primary it has to hand over first.
    if world.newest() == SPARE:
        return Deed("switchover", ("-e", f"pgtandem_target={source.choice(world.standbys())}"), seconds=14)
    delete = source.choice(((), ("-e", f"pgtandem_remove_data={SPARE}")))

    def left() -> None:
        world.members.remove(SPARE)

    return Deed("remove", ("-e", f"pgtandem_target={SPARE}", *delete), after=left, down=(SPARE,), seconds=10)


def reboot(world: World, source: random.Random) -> Deed:
    """A host goes down in order and comes up again."""
    name = source.choice(world.living)
    world.power_off(name)
    world.power_on(name)
    return Deed("site")


def by_hand(world: World, source: random.Random) -> Deed:
    """A person at a host does what people do."""
    name = source.choice(world.living)
    node = world.nodes[name]
    psql = functools.partial(world.ask, name)
    what = source.choice(("restart", "start", "reload", "system", "hba", "slot", "backend"))
    if what == "restart":
        node.out(f"systemctl restart {node.service} || true")
    elif what == "start":
        ctl = f"{node.bin_directory}/pg_ctl -D {node.data_directory} -w"
        extra = ""
        if node.data_directory.startswith("/var/lib/postgresql/"):
            extra = f" -o '-c config_file=/etc/postgresql/{node.major}/{node.instance}/postgresql.conf'"
        as_owner = f"cd /; runuser -u {node.os_user} --"
        node.out(f"{as_owner} {ctl} -m fast stop; {as_owner} {ctl}{extra} -l /tmp/by-hand.log start || true")
    elif what == "reload":
        psql("select pg_reload_conf()")
    elif what == "system":
        psql(f"alter system set work_mem = '{source.choice((6, 7))}MB'")
        psql("select pg_reload_conf()")
    elif what == "hba":
        node.out(
            f"echo 'host all all 192.0.2.{source.randrange(9)}/32 reject' >> {psql('show hba_file') or '/dev/null'}"
        )
    elif what == "slot":
        psql("select pg_create_physical_replication_slot('by_hand')")
        psql("select pg_drop_replication_slot('by_hand')")
    else:
        psql("select pg_terminate_backend(pid) from pg_stat_replication")
    world.tell(f"by hand on {name}: {what}")
    return Deed("site", seconds=6)


DEEDS: dict[str, tuple[int, t.Callable[[World, random.Random], Deed]]] = {
    "site": (2, site),
    "check": (2, check),
    "switchover": (8, switchover),
    "failover": (5, failover),
    "fenced": (2, fenced),
    "reseed": (3, reseed),
    "parameters": (4, parameters),
    "spare": (3, join_or_leave),
    "reboot": (2, reboot),
    "by-hand": (4, by_hand),
}
