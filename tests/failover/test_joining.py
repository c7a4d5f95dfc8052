# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A standby joins and leaves while a client writes and commits wait for standbys: they never hang."""

from __future__ import annotations

import json
import time
import typing as t

from outside import eventually
from runs import lab
from scene import SPARE, Scene
from stage import NAMES

LEAVE = ("-e", f"pgtandem_target={SPARE}")
#: Seconds for which no commit may wait: more is a commit that hung until something else let it go.
HUNG = 8


def inventory(scene: Scene) -> dict[str, t.Any]:
    """The spare host is a standby."""
    path = scene.folder / "joined.json"
    path.write_text(json.dumps({"standby": {"hosts": {SPARE: {}}}}), encoding="utf-8")
    return {"inventories": [str(path)]}


def joined(scene: Scene, primary: str) -> None:
    """It streams through a slot, and commits may wait for it."""
    row = (
        "select state || ' ' || sync_state || ' ' || slot_name from pg_stat_replication "
        f"join pg_replication_slots on active_pid = pid where application_name = '{SPARE}'"
    )
    assert eventually(lambda: scene.ask(primary, row) == f"streaming quorum {SPARE}", seconds=60)
    assert SPARE in scene.ask(primary, "show synchronous_standby_names")


def left(scene: Scene, primary: str) -> None:
    """Nothing of it is left on the others, and they stream."""
    scene.sound(primary)
    assert SPARE not in scene.ask(primary, "show synchronous_standby_names")
    address = scene.nodes[SPARE].address
    for name in NAMES:
        rules = scene.nodes[name].out(f"cat {scene.ask(name, 'show hba_file')}")
        assert address not in rules, rules


def test_a_standby_joins_and_leaves_alive_or_dead(scene: Scene) -> None:
    primary, _others = scene.others()
    more = inventory(scene)
    spare = scene.nodes[SPARE]
    since = time.monotonic()
    scene.played("site", **more)
    joined(scene, primary)
    again = scene.played("site", **more)
    assert again.counted("changed") == 0, again.text

    checked = scene.played("remove", *LEAVE, "--check", **more)
    joined(scene, primary)
    assert checked.counted("changed"), checked.text
    scene.power_off(SPARE)
    scene.played("remove", *LEAVE, **more)
    left(scene, primary)
    scene.writes()

    scene.power_on(SPARE)
    scene.played("site", **more)
    joined(scene, primary)
    scene.played("remove", *LEAVE, **more)
    left(scene, primary)
    assert spare.out(f"cat {spare.data_directory}/PG_VERSION").strip()
    assert spare.host.run("test -e %s", f"{spare.data_directory}/postmaster.pid").rc != 0
    again = scene.played("remove", *LEAVE, **more)
    assert again.counted("changed") == 0, again.text
    scene.quiet()
    lab("restart", SPARE)
    assert spare.host.run("test -e %s", f"{spare.data_directory}/postmaster.pid").rc != 0, "it started with its host"

    scene.played("site", **more)
    joined(scene, primary)
    lab("restart", SPARE)
    joined(scene, primary)
    scene.played("remove", *LEAVE, "-e", f"pgtandem_remove_data={SPARE}", **more)
    left(scene, primary)
    assert spare.host.run("test -e %s", spare.data_directory).rc != 0
    scene.writes()
    gap = scene.gap_since(since)
    assert gap < HUNG, f"a commit took {gap:.1f} s"
    print(f"\nlongest wait of a commit while a standby joined and left: {1000 * gap:.0f} ms")
    scene.nothing_lost()
    scene.quiet()
