# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A primary of more than 2 GB that went on by itself comes back: rewound, and copied anew, one after the other."""

from __future__ import annotations

import typing as t

from outside import eventually
from scene import Scene

#: About 2.2 GB in rows that nothing compresses away, and what diverges on both sides.
FILL = (
    "set synchronous_commit = local; create table if not exists bulk as "
    "select n, repeat(md5(n::text), 30) as line from generate_series(1, 2200000) n"
)
CHANGE = "set synchronous_commit = local; update bulk set n = n where n %% 100 = %d"
SIZE = "select sum(pg_database_size(oid)) from pg_database"
CAUGHT_UP = "select count(*) from pg_stat_replication where replay_lsn >= '%s'"


def received(scene: Scene, name: str) -> int:
    """Bytes that a host has received by its network."""
    return int(scene.nodes[name].out("cat /sys/class/net/eth0/statistics/rx_bytes"))


def test_a_rewind_is_quicker_than_a_copy(scene: Scene, record_property: t.Callable[[str, object], None]) -> None:
    primary = scene.primary()
    scene.nodes[primary].psql(FILL)
    lines = []
    for how in ("rewind", "copy"):
        primary, others = scene.others()
        scene.nodes[primary].psql("checkpoint")
        position = scene.ask(primary, "select pg_current_wal_lsn()")
        assert eventually(lambda at=primary, of=position: scene.ask(at, CAUGHT_UP % of) == "2", seconds=120)
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
        more: tuple[str, ...] = ()
        if how == "copy":
            more = ("-e", f"pgtandem_reseed={primary}", "-e", "pgtandem_reseed_mode=copy")
        outcome = scene.rejoined(primary, *more)
        scene.sound(now)
        assert ("rewind /" in outcome.said) == (how == "rewind"), outcome.text
        bytes_received = received(scene, primary) - before
        lines.append(
            f"{how}: {size / 1024**3:.1f} GB, {outcome.seconds:.1f} s, received {bytes_received / 1024**2:.0f} MB"
        )
        record_property(how, outcome.seconds)
        scene.nothing_lost()
    print("", *lines, sep="\n")
    scene.nodes[scene.primary()].psql("drop table bulk")
    scene.quiet()
