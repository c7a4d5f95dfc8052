# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A primary of more than 2 GB that went on by itself comes back: rewound, and copied anew, one after the other."""

from __future__ import annotations

import re
import typing as t

import pytest
from outside import eventually
from scene import Scene

#: About 2.2 GB in rows that nothing compresses away, and what diverges on both sides.
FILL = (
    "set synchronous_commit = local; create table if not exists bulk as "
    "select n, repeat(md5(n::text), 30) as line from generate_series(1, 2200000) n"
)
#: Without it the first who reads a page writes that into it, and with checksums the whole page into the WAL.
VACUUM = "vacuum (freeze, analyze) bulk"
#: Bytes of WAL that a server has at rest: wal_keep_size as the roles set it, and what lies ready for the next minutes.
AT_REST = (512 + 256) * 1024**2
WAL_SIZE = "select sum(size)::bigint from pg_ls_waldir()"
GO_ON = (
    "do $$ begin for i in 1..4 loop perform pg_logical_emit_message(false, '', ''), pg_switch_wal(); end loop; end $$; "
    "checkpoint"
)
CHANGE = "set synchronous_commit = local; update bulk set n = n where n %% 100 = %d"
SIZE = "select sum(pg_database_size(oid)) from pg_database"
CAUGHT_UP = "select count(*) from pg_stat_replication where replay_lsn >= '%s'"


def received(scene: Scene, name: str) -> int:
    """Bytes that a host has received by its network."""
    return int(scene.nodes[name].out("cat /sys/class/net/eth0/statistics/rx_bytes"))


def arrived(scene: Scene, primary: str) -> None:
    """Wait until both standbys have replayed all there is."""
    position = scene.ask(primary, "select pg_current_wal_lsn()")
    assert eventually(lambda: scene.ask(primary, CAUGHT_UP % position) == "2", seconds=120)


def settle(scene: Scene) -> None:
    """Let checkpoints remove and use up the WAL of the load, as they do in the days after it."""
    primary, others = scene.others()

    def settled() -> bool:
        scene.nodes[primary].psql(GO_ON)
        arrived(scene, primary)
        for name in others:
            scene.nodes[name].psql("checkpoint")
        return all(int(scene.ask(name, WAL_SIZE)) <= AT_REST for name in (primary, *others))

    assert eventually(settled, seconds=300), [scene.ask(name, WAL_SIZE) for name in (primary, *others)]


def test_a_rewind_receives_less_than_a_copy(scene: Scene, record_property: t.Callable[[str, object], None]) -> None:
    if not scene.rewinds:
        pytest.skip("this PostgreSQL comes without pg_rewind")
    primary = scene.primary()
    scene.nodes[primary].psql(FILL)
    scene.nodes[primary].psql(VACUUM)
    settle(scene)
    lines = []
    bytes_received = {}
    for how in ("rewind", "copy"):
        primary, others = scene.others()
        scene.nodes[primary].psql("checkpoint")
        arrived(scene, primary)
        size = int(scene.ask(primary, SIZE))
        assert size > 2 * 1024**3
        scene.power_off(primary)
        scene.played("failover")
        now = scene.primary_of(others)
        scene.power_on(primary)
        assert eventually(lambda at=primary: at in scene.primaries(), seconds=120)
        scene.nodes[primary].psql(CHANGE % 1)
        scene.nodes[now].psql(CHANGE % 2)
        before = received(scene, primary)
        kept = int(scene.ask(now, WAL_SIZE))
        more: tuple[str, ...] = ()
        if how == "copy":
            more = ("-e", f"pgtandem_reseed={primary}", "-e", "pgtandem_reseed_mode=copy")
        outcome = scene.rejoined(primary, *more)
        scene.sound(now)
        lines.extend(re.findall(r"\d+ MB to copy", outcome.said)[:1])
        assert ("rewind /" in outcome.said) == (how == "rewind"), outcome.text
        bytes_received[how] = received(scene, primary) - before
        lines.append(
            f"{how}: {size / 1024**3:.1f} GB, {outcome.seconds:.1f} s, received {bytes_received[how] / 1024**2:.0f} MB "
            f"from a server with {kept / 1024**2:.0f} MB of WAL"
        )
        record_property(how, outcome.seconds)
        scene.nothing_lost()
    print("", *lines, sep="\n")
    assert bytes_received["rewind"] < 0.75 * bytes_received["copy"], bytes_received
    scene.nodes[scene.primary()].psql("drop table bulk")
    scene.quiet()
