# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switchovers on real hosts beside a client that writes: nothing that it was told is ever lost."""

from __future__ import annotations

import itertools
import os
import time

import pytest
from outside import eventually
from runs import lab
from stage import MARKER, NAMES, SHORT, Stage

#: How many switchovers are made in a row.
ROUNDS = int(os.environ.get("PGTANDEM_LAB_ROUNDS") or 20)
#: There and back, and through all three. It begins and ends at pg1.
TURNS = ["pg2", "pg1"] * 2 + ["pg2", "pg3", "pg1"] * 2
#: Tasks of a switchover, each of which is killed once when it begins.
TASKS = [
    "See what there is to do",
    "See whether the primary could step down and follow it",
    "Have the standby wait for the shutdown of the primary",
    "Shut the primary down and start it as a standby",
    "See how the standby took over",
    "Settle the topology before anything is touched",
    "Configure and start the standby",
    "Drop the slots of hosts that no longer follow this one",
]


def other(stage: Stage) -> tuple[str, str]:
    """The primary, and a standby to switch to."""
    primary = stage.primary()
    return primary, next(name for name in NAMES if name != primary)


def test_switchovers_in_a_row_lose_nothing(stage: Stage, record_property: pytest.RecordProperty) -> None:
    if stage.primary() != "pg1":
        stage.switched("pg1")
    gaps = []
    for target in itertools.islice(itertools.cycle(TURNS), ROUNDS):
        since = time.monotonic()
        stage.switched(target)
        stage.writes()
        gaps.append(stage.gap_since(since))
        stage.nothing_lost()
    stage.quiet()
    print("\nwrite pauses in ms:", *(f"{1000 * gap:.0f}" for gap in sorted(gaps)))
    record_property("median_pause", sorted(gaps)[len(gaps) // 2])


@pytest.mark.parametrize("task", TASKS)
def test_the_controller_dies_and_the_same_command_goes_on(stage: Stage, task: str) -> None:
    _primary, target = other(stage)
    run = stage.begin("switchover", "-e", f"pgtandem_target={target}", *SHORT)
    assert run.kill_at(task), run.text
    stage.writes()
    stage.switched(target, *SHORT)
    stage.nothing_lost()


@pytest.mark.parametrize(
    ("side", "file", "word"),
    [
        ("target", "pgtandem-promote.json", "waiting"),
        ("target", "pgtandem-promote.json", "promoting"),
        ("primary", MARKER, ""),
    ],
    ids=["the waiting standby's process", "the promoting standby's process", "the module on the primary"],
)
@pytest.mark.parametrize("what", ["module", "host"])
def test_what_works_on_a_host_dies(stage: Stage, side: str, file: str, word: str, what: str) -> None:
    """With SIGKILL, or with the power of the whole host; afterwards the same command brings it to its end."""
    primary, target = other(stage)
    victim = {"primary": primary, "target": target}[side]
    watcher = stage.freeze_at(victim, stage.data(victim, file), word)
    run = stage.begin("switchover", "-e", f"pgtandem_target={target}", *SHORT)
    stage.frozen(watcher)
    if what == "module":
        stage.kill_workers(victim)
    else:
        lab("kill", victim)
        lab("start", victim)
    outcome = run.wait()
    assert len([name for name in NAMES if stage.ask(name, "select pg_is_in_recovery()") == "f"]) <= 1
    if outcome.rc != 0:
        stage.switched(target, *SHORT)
    stage.sound(target)
    stage.writes()
    stage.nothing_lost()


def test_the_network_breaks_before_the_shutdown(stage: Stage) -> None:
    """The old primary goes on, and nobody waits any more."""
    primary, target = other(stage)
    watcher = stage.freeze_at(primary, stage.data(primary, MARKER))
    run = stage.begin("switchover", "-e", f"pgtandem_target={target}", *SHORT)
    stage.frozen(watcher)
    stage.cut(primary, target)
    stage.thaw(primary)
    outcome = run.wait()
    assert outcome.rc != 0 and "and goes on" in outcome.said, outcome.text
    assert stage.primary() == primary
    assert stage.nodes[primary].out(f"ls {stage.data(primary, '')}").split().count(MARKER) == 0
    stage.writes()
    lab("heal", primary, target)
    stage.switched(target)
    stage.nothing_lost()


def test_the_network_breaks_during_the_shutdown(stage: Stage) -> None:
    """Either the last record had arrived, and the standby is the primary; or not, and the old one is. Never both."""
    primary, target = other(stage)
    watcher = stage.freeze_at(primary, stage.data(primary, MARKER))
    run = stage.begin("switchover", "-e", f"pgtandem_target={target}", *SHORT)
    stage.frozen(watcher)
    receiver = stage.nodes[target].titled("walreceiver")[0].pid
    stage.nodes[target].out(f"kill -STOP {receiver}")
    stage.undo.append(lambda: stage.nodes[target].out(f"kill -CONT {receiver} 2>/dev/null || true"))
    stage.thaw(primary)
    time.sleep(3)
    stage.cut(primary, target)
    stage.nodes[target].out(f"kill -CONT {receiver}")
    outcome = run.wait()
    now = stage.primary()
    assert now in (primary, target), outcome.text
    stage.writes()
    stage.nothing_lost()
    lab("heal", primary, target)
    stage.switched(target)
    stage.nothing_lost()


def test_the_controller_loses_the_primary_in_the_middle(stage: Stage) -> None:
    """The hosts go on by themselves; the same command does the rest."""
    primary, target = other(stage)
    watcher = stage.freeze_at(primary, stage.data(primary, MARKER))
    run = stage.begin("switchover", "-e", f"pgtandem_target={target}", *SHORT)
    stage.frozen(watcher)
    stage.thaw_later(primary, seconds=3)
    stage.cut(primary, "controller")
    stage.writes()
    assert stage.ask(target, "select pg_is_in_recovery()") == "f"
    outcome = run.wait()
    assert outcome.rc != 0, outcome.text
    lab("heal", primary, "controller")
    stage.switched(target)
    stage.nothing_lost()


def test_commits_that_wait_for_a_standby(stage: Stage) -> None:
    """There and back; each time the new primary ends with a list of its own, and the old one has none."""
    waits = ("-e", '{"pgtandem_synchronous": {"mode": "any", "count": 1}}')
    outcome = stage.begin("site", *waits).wait()
    assert outcome.rc == 0, outcome.text
    try:
        for _number in range(2):
            primary, target = other(stage)
            stage.switched(target, *waits)
            quorum = "select count(*) from pg_stat_replication where sync_state = 'quorum'"
            assert stage.ask(target, quorum) == "2"
            assert stage.ask(primary, "show synchronous_standby_names") == ""
            stage.writes()
            stage.nothing_lost()
    finally:
        outcome = stage.begin("site").wait()
        assert outcome.rc == 0, outcome.text


def test_a_standby_below_the_target(stage: Stage) -> None:
    """It follows the same host all the while, as that becomes the primary and a standby again."""
    primary, target, third = NAMES
    if stage.primary() != primary:
        # An upstream that is the inventory's primary stands for whoever is the primary.
        stage.switched(primary)
    below = stage.inventory({third: {"pgtandem_upstream": target}})
    outcome = stage.begin("site", "--inventory", below).wait()
    assert outcome.rc == 0, outcome.text
    assert stage.followers(primary) == target and stage.followers(target) == third
    stage.switched(target, "--inventory", below)
    outcome = stage.switch(primary, "--inventory", below)
    assert outcome.rc == 0, outcome.text
    assert stage.primary() == primary
    assert eventually(lambda: (stage.followers(primary), stage.followers(target)) == (target, third), seconds=60)
    assert (stage.slots(primary), stage.slots(target), stage.slots(third)) == (target, third, "")
    stage.writes()
    stage.nothing_lost()


def test_check_mode_changes_nothing(stage: Stage) -> None:
    primary, target = other(stage)
    since = time.monotonic()
    outcome = stage.switch(target, "--check", "--diff")
    assert outcome.rc == 0 and f"{target} waits for the shutdown of {primary}" in outcome.said, outcome.text
    assert stage.primary() == primary
    stage.writes()
    assert stage.gap_since(since) < 5


def test_a_run_of_site_after_all_of_this_changes_nothing(stage: Stage) -> None:
    stage.quiet()
