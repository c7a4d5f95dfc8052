# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The primary's host loses its power while a client writes: nothing that the client was told is lost, and there are
never two primaries by a run's doing."""

from __future__ import annotations

import json
import sys

import pytest
from outside import eventually
from runs import LAB, lab
from scene import STOP, Scene
from stage import MARKER

#: Tasks of a failover and of the rejoin after it; in each round one of each is killed when it begins.
TASKS = [
    ("Note whom this run promotes", "Have the upstream keep WAL for this host"),
    ("Promote the standby that was chosen", "Bring the data directory back to the primary's history"),
    ("Settle the topology before anything is touched", "Configure and start the standby"),
    ("Configure and start the standby", "Drop the slots of hosts that no longer follow this one"),
    ("Drop the slots of hosts that no longer follow this one", "Show the topology"),
]
WRITE = "set synchronous_commit = local; create table if not exists aside (n int); insert into aside values (1)"


def test_a_failover_waits_until_the_primary_is_surely_dead(scene: Scene) -> None:
    """It answers; nobody but the standbys sees it; a fence fails, or lies; most hosts are out of sight."""
    primary, others = scene.others()
    scene.refused("failover", f"{primary} answers and runs as the primary", "use switchover.yml")
    scene.refused("failover", arguments=["-e", "pgtandem_fence_command=/bin/false"])
    outcome = scene.begin("failover", "-e", "pgtandem_fence_command=/bin/true").wait()
    assert outcome.rc != 0 and "The fence did not stop it" in outcome.said, outcome.text
    scene.cut(primary, "controller")
    scene.refused("failover", "its server answers", "It may be serving clients")
    scene.cut(others[0], "controller")
    scene.refused("failover", "fewer than half")
    lab("heal", primary, "controller")
    lab("heal", others[0], "controller")
    scene.sound(primary)
    scene.writes()
    scene.nothing_lost()


def test_a_primary_that_starts_as_a_standby_next_time_is_one_until_then(scene: Scene) -> None:
    primary, others = scene.others()
    signal = scene.data(primary, MARKER)
    scene.undo.append(lambda: scene.nodes[primary].out(f"rm -f {signal}"))
    scene.nodes[primary].out(f"touch {signal}")
    words = f"{signal} lies in its data directory, so that its next start makes a standby of it"
    scene.refused("status", f"{primary} runs as a primary, and {words}", "Otherwise delete that file")
    scene.refused("site", words)
    named = ["-e", f"pgtandem_target={others[0]}"]
    scene.refused("failover", f"{primary} answers and runs as the primary", arguments=named)
    assert scene.primaries() == [primary]


def test_the_primary_loses_its_power(scene: Scene) -> None:
    primary, others = scene.others()
    scene.power_off(primary)
    checked = scene.begin("failover", "--check").wait()
    assert checked.rc == 0 and f"in place of {primary}" in checked.said, checked.text
    assert scene.primaries() == []
    outcome = scene.played("failover")
    assert "what it wrote after its last message nobody can know" in outcome.said, outcome.text
    now = scene.primary_of(others)
    other = next(name for name in others if name != now)
    assert scene.followers(now) == other
    assert other in scene.ask(now, "show synchronous_standby_names")
    scene.writes()
    rows = scene.nothing_lost()
    print(f"\nfailover: {outcome.seconds:.1f} s; {rows} rows acknowledged, 0 lost")
    again = scene.played("failover")
    assert again.counted("changed") == 0 and "was promoted already" in again.said, again.text
    # A host that cannot be reached is a status of 4 to Ansible, and nothing changes.
    site = scene.begin("site").wait()
    assert site.rc == 4 and site.counted("changed") == site.counted("failed") == 0, site.text
    left_out = scene.played("site", "--limit", f"!{primary}")
    assert left_out.counted("changed") == 0, left_out.text
    # It comes back with its server, which waits for its standbys at each commit and so promises nobody anything.
    scene.power_on(primary)
    assert eventually(lambda: sorted(scene.primaries()) == sorted([now, primary]), seconds=60)
    node = scene.nodes[primary]
    psql = f"{node.bin_directory}/psql -h {node.postmaster[4] or '/run/postgresql'} -p {node.port} -d postgres"
    asked = f"cd / && timeout 5 runuser -u {node.os_user} -- {psql} -c 'create table promised (n int)'; echo status $?"
    assert "status 124" in node.out(asked)
    scene.refused("site", "two primaries")
    scene.refused("rejoin", f"runs as a primary beside {now}", arguments=["--limit", primary])
    before = scene.nodes[primary].postmaster
    if not scene.rewinds:
        refused = scene.begin("rejoin", "--limit", primary, *STOP).wait()
        assert refused.rc != 0 and "name this host in pgtandem_reseed" in refused.said, refused.text
    checked = scene.begin("rejoin", "--limit", primary, *STOP, *scene.copied(primary), "--check").wait()
    assert checked.rc == 0 and "Would stop the server" in checked.said, checked.text
    assert scene.nodes[primary].postmaster == before
    outcome = scene.rejoined(primary)
    assert ("rewind /" in outcome.said) == scene.rewinds, outcome.text
    scene.sound(now)
    assert scene.ask(primary, "select to_regclass('promised') is null") == "t"
    scene.writes()
    scene.nothing_lost()
    scene.quiet()
    scene.quiet_as_they_are()


def test_a_fence_takes_the_power_of_a_primary_that_answers(scene: Scene) -> None:
    primary, others = scene.others()
    command = f"sh -c '{sys.executable} {LAB} kill $PGTANDEM_FENCE_HOST'"
    scene.down.add(primary)
    outcome = scene.begin("failover", "-e", json.dumps({"pgtandem_fence_command": command})).wait()
    assert outcome.rc == 0, outcome.text
    now = scene.primary_of(others)
    scene.writes()
    scene.nothing_lost()
    scene.power_on(primary)
    scene.rejoined(primary)
    scene.sound(now)


def test_a_standby_with_less_takes_over_only_by_the_users_word(scene: Scene) -> None:
    """The bytes are told; the standby that has more is rewound."""
    primary, (less, more) = scene.others()
    scene.cut(primary, less)
    scene.nodes[primary].psql("create table if not exists last (n int); insert into last values (1)")
    scene.writes()
    scene.power_off(primary)
    named = ("-e", f"pgtandem_target={less}")
    scene.refused("failover", "bytes of WAL would be lost", f"Promote {more}", arguments=named)
    assert scene.primaries() == []
    scene.played("failover", *named, "-e", "pgtandem_accept_loss=true")
    assert scene.primary_of([less, more]) == less
    assert scene.followers(less) == more
    scene.writes()
    scene.forgiven |= scene.lost()
    assert scene.forgiven, "nothing was lost, so nothing was tried"
    scene.power_on(primary)
    lab("heal", primary, less)
    scene.rejoined(primary)
    scene.sound(less)
    scene.nothing_lost()


@pytest.mark.parametrize(("task", "back"), TASKS)
def test_the_controller_dies_and_the_same_command_goes_on(scene: Scene, task: str, back: str) -> None:
    """In the failover, and in the rejoin after it of a primary that went on for a while."""
    primary, others = scene.others()
    scene.power_off(primary)
    run = scene.begin("failover")
    assert run.kill_at(task), run.text
    assert len(scene.primaries()) <= 1
    scene.played("failover")
    now = scene.primary_of(others)
    scene.writes()
    scene.power_on(primary)
    assert eventually(lambda: primary in scene.primaries(), seconds=60)
    scene.nodes[primary].psql(WRITE)
    run = scene.begin("rejoin", "--limit", primary, *STOP)
    assert run.kill_at(back), run.text
    assert eventually(lambda: not scene.nodes[primary].out("pgrep pg_rewind || true").strip(), seconds=60)
    scene.rejoined(primary)
    scene.sound(now)
    scene.nothing_lost()
    scene.quiet()


@pytest.mark.parametrize("what", ["module", "host"])
def test_a_rewind_dies_half_way(scene: Scene, what: str) -> None:
    """No server starts on what it leaves, not even with its host; the same command goes on."""
    if not scene.rewinds:
        pytest.skip("this PostgreSQL comes without pg_rewind")
    primary, others = scene.others()
    scene.power_off(primary)
    scene.played("failover")
    now = scene.primary_of(others)
    scene.power_on(primary)
    assert eventually(lambda: primary in scene.primaries(), seconds=60)
    scene.nodes[primary].psql(WRITE)
    scene.nodes[now].psql("drop table if exists since; create table since as select generate_series(1, 1000000) as n")
    copied = scene.data(primary, scene.ask(now, "select pg_relation_filepath('since')"))
    mark = f"{scene.nodes[primary].data_directory}.pgtandem-rewind/state.json"
    watcher = scene.kill_at(primary, copied, mark)
    run = scene.begin("rejoin", "--limit", primary, *STOP)
    scene.killed(watcher)
    if what == "host":
        scene.power_off(primary)
    outcome = run.wait()
    assert outcome.rc != 0, outcome.text
    if what == "host":
        scene.power_on(primary)
    scene.start(primary)
    assert scene.primaries() == [now] and scene.ask(primary, "select 1") == ""
    scene.refused("site", "whose rewind was begun and is not finished")
    again = scene.begin("rejoin", "--limit", primary, *STOP).wait()
    if again.rc != 0:
        # pg_rewind had replaced WAL already that it needs to begin again (docs/rejoin.md).
        assert "ended half-way" in again.said and "name this host in pgtandem_reseed" in again.said, again.text
        scene.rejoined(primary, "-e", f"pgtandem_reseed={primary}")
    scene.sound(now)
    scene.nothing_lost()
    scene.quiet()


def test_two_failovers_at_once_promote_one(scene: Scene) -> None:
    primary, others = scene.others()
    scene.power_off(primary)
    loss = ("-e", "pgtandem_accept_loss=true")
    runs = [scene.begin("failover", "-e", f"pgtandem_target={name}", *loss) for name in others]
    outcomes = [run.wait() for run in runs]
    now = scene.primary_of(others)
    assert [outcome.rc == 0 for outcome in outcomes].count(True) == 1, "\n".join(one.text for one in outcomes)
    scene.forgiven |= scene.lost()
    scene.writes()
    scene.power_on(primary)
    scene.rejoined(primary)
    scene.sound(now)
    scene.nothing_lost()
