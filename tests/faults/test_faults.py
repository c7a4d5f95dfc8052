# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run meets in real life. After each: nothing is lost, nothing is wiped, the message says what to do, the next
correct run converges with a proof, and the run after that changes nothing."""

from __future__ import annotations

import json
import shlex
import time
import typing as t

import pytest
from outside import eventually
from runs import lab

if t.TYPE_CHECKING:
    from fate import Fate
    from outside import Node
    from runs import Run

DATA = "/var/lib/postgresql/15/main"
CONFIG = "/etc/postgresql/15/main"
SETTINGS = f"{CONFIG}/conf.d/99-pgtandem.conf"
#: name -> (host, the file that appears there in that moment)
MOMENTS = {
    "initdb begins": ("pg1", f"{DATA}/pgtandem-incoming"),
    "the configuration begins": ("pg1", f"{CONFIG}/.pgtandem-creating"),
    "initdb is at work": ("pg1", f"{DATA}/pgtandem-incoming/PG_VERSION"),
    "the configuration is half made": ("pg1", f"{CONFIG}/postgresql.conf"),
    "the new cluster moves up": ("pg1", f"{DATA}/global/pg_control"),
    "the primary is configured": ("pg1", f"{SETTINGS}"),
    "the primary starts": ("pg1", f"{DATA}/postmaster.pid"),
    "the base backup begins": ("pg2", f"{DATA}/pgtandem-incoming"),
    "the standby's configuration begins": ("pg2", f"{CONFIG}/.pgtandem-creating"),
    "the base backup is at work": ("pg2", f"{DATA}/pgtandem-incoming/base"),
    "the copy is a standby and not configured": ("pg2", f"{DATA}/global/pg_control"),
    "the standby is configured": ("pg2", f"{SETTINGS}"),
    "the standby starts": ("pg2", f"{DATA}/postmaster.pid"),
}
#: those that can be seen ever after
LASTING = {
    "the new cluster moves up",
    "the primary is configured",
    "the primary starts",
    "the copy is a standby and not configured",
    "the standby is configured",
    "the standby starts",
}
SLOW = json.dumps({"pgtandem_basebackup": {"max_rate": "8M"}})


def node_of(fate: Fate, name: str) -> Node:
    """Return one of the two."""
    return fate.primary if name == fate.primary.name else fate.standby


# --- the run is killed half-way -------------------------------------------------------------------------------------


MODULE = pytest.param(
    "module",
    marks=pytest.mark.repetition("test_basebackup.py kills what copies; a host's end is its module's"),
)


@pytest.mark.parametrize("victim", ["controller", MODULE, "host"])
def test_a_run_is_killed_in_every_phase(bare: Fate, victim: str) -> None:
    """One cluster comes to be by runs that are killed one after the other, each a little later than the last.

    With the controller only the run's own machine goes: what it had started on the host goes on to its end. With the
    module only the module goes, with a signal that it cannot see. With the host everything goes at once.
    """
    met = []
    for moment, (name, path) in MOMENTS.items():
        node = node_of(bare, name)
        copied = victim == "controller" and moment == "the base backup is at work"
        if copied or passed(bare, moment):
            continue  # what was left going got further
        # The host watches before the run begins, which may come there at once.
        with bare.watching(node, path) as watcher:
            run = bare.begin("-e", SLOW)
            frozen = bare.frozen(run, node, watcher)
        if not frozen:
            # What the last run left got past this moment.
            outcome = run.wait()
            assert outcome.rc == 0, f"{moment}, after {met}: {outcome.text}"
            bare.wipe(bare.standby)
            continue
        met.append(moment)
        if victim == "controller":
            run.kill()
            bare.thaw(node)
        elif victim == "module":
            node.out("ps -e -o pid=,comm= | awk '$2 ~ /^python3/ { print $1 }' | xargs kill -KILL")
            bare.thaw(node)
            outcome = run.wait()
            assert outcome.rc != 0, outcome.text
        else:
            bare.power_off(node)
            bare.power_on(node)
            outcome = run.wait()
            # A run whose copy was whole before the host died finds it again when the host is back.
            assert outcome.rc != 0 or "The connection was lost" in outcome.said, outcome.text
        # What receives the WAL for a copy outlives its parent, for the next run to end.
        bare.idle(node, besides="pg_basebackup" if victim == "module" else "")
    assert len(met) >= (2 if victim == "controller" else 9), met
    bare.converges()


def passed(fate: Fate, moment: str) -> bool:
    """Return whether a moment that stays in sight was reached, this one or a later one."""
    names = list(MOMENTS)
    later = [MOMENTS[name] for name in names[names.index(moment) :] if name in LASTING]
    return any(node_of(fate, name).host.run("test -e %s", path).rc == 0 for name, path in later)


def test_a_run_during_an_orphaned_copy_leaves_it_alone(single: Fate) -> None:
    """The controller is gone, and its copy goes on: the next run must neither clear it nor begin a second one."""
    run = single.begin("-e", SLOW)
    assert single.frozen_at(run, single.standby, MOMENTS["the base backup is at work"][1]), run.text
    run.kill()
    single.thaw(single.standby)
    second = single.begin("-e", SLOW)
    seen = watch_copies(single, second)
    outcome = second.wait()
    assert seen <= 1
    if outcome.rc:
        assert "Another run is filling" in outcome.errors
        assert "Wait for its end" in outcome.errors
    single.idle(single.standby)
    single.converges()


def watch_copies(fate: Fate, *runs: Run) -> int:
    """Return the most base backups that the primary sent at one time while runs went on."""
    most = 0
    while not all(run.ended() for run in runs):
        # without a server yet there is no answer
        said = fate.primary.host.run(
            "sudo -u postgres psql -h /run/postgresql -XAtc 'select count(*) from pg_stat_progress_basebackup'"
        )
        most = max(most, int(said.stdout.strip() or 0) if said.rc == 0 else 0)
        time.sleep(0.3)
    return most


# --- two runs at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [0, 4])
def test_two_runs_at_once(bare: Fate, lead: float) -> None:
    """Both come to a sane end, there is one cluster and one copy of it."""
    first = bare.begin()
    time.sleep(lead)
    second = bare.begin()
    most = watch_copies(bare, first, second)
    outcomes = [first.wait(), second.wait()]
    assert most <= 1
    for outcome in outcomes:
        if outcome.rc:
            assert "another run" in outcome.errors.lower(), outcome.errors or outcome.text
    assert 0 in [outcome.rc for outcome in outcomes], "\n\n".join(outcome.text for outcome in outcomes)
    bare.converges()


# --- a standby that cannot be seeded as things are ------------------------------------------------------------------

# Each of these leaves the host as it was, which is looked at; so one run seeds it after all of them.


def test_the_network_is_cut_before_a_standby_is_seeded(single: Fate) -> None:
    with single.untouched(single.standby):
        single.cut()
        single.refuses("cannot log in for replication", single.primary.address, "firewall", "Nothing was copied")
        single.heal()


def test_a_standby_has_a_wrong_password(single: Fate) -> None:
    wrong = {"pg2": {"pgtandem_replication_password": "mistaken1Word"}}
    with single.untouched(single.standby):
        outcome = single.refuses("pgtandem_replication_password differs", host_vars=wrong)
    assert "mistaken1Word" not in outcome.text
    assert outcome.counted("changed") == 0


def test_the_standbys_disk_has_no_room(single: Fate) -> None:
    single.fill(single.standby, "/srv/small", 20_000_000)
    with single.untouched(single.standby):
        single.refuses(
            "There is not enough room",
            "/srv/small/main",
            "Nothing was copied",
            host_vars={"pg2": {"pgtandem_data_directory": "/srv/small/main"}},
        )


def test_half_a_backup_of_somebody_else_is_refused(single: Fate) -> None:
    """Nobody knows what it is worth, so it is not touched."""
    copy = (
        f"install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/15 {DATA}; cd /; "
        f"sudo -u postgres env PGPASSFILE=/srv/small/pass /usr/lib/postgresql/15/bin/pg_basebackup -D {DATA} "
        f"-d 'host={single.primary.address} user=replica' --checkpoint=fast --max-rate=4M"
    )
    password = single.standby.password.replace("\\", "\\\\").replace(":", "\\:")
    single.standby.store_secret(f"*:*:*:*:{password}\n", "/srv/small/pass")
    single.standby.out("chown postgres /srv/small/pass")
    half = (
        f"{{ sh -c {shlex.quote(copy)} & }}; until [ -e {DATA}/base ]; do sleep 0.01; done; pkill -KILL pg_basebackup"
    )
    single.standby.out(f"{half}; rm /srv/small/pass")
    single.idle(single.standby)
    with single.untouched(single.standby):
        outcome = single.refuses("half a copy that something else made", DATA, "Move it away")
    assert outcome.counted("changed") == 0
    single.standby.out(f"rm -rf {DATA}")


def test_foreign_files_are_refused(single: Fate) -> None:
    single.standby.out(f"install -d -o postgres -g postgres -m 0700 {DATA}; echo thesis > {DATA}/chapter1.txt")
    with single.untouched(single.standby):
        single.refuses("holds files that are not PostgreSQL's (chapter1.txt)", "Nothing was changed")
    single.standby.out(f"rm -rf {DATA}")


def test_a_standby_is_seeded_after_all_of_that(single: Fate) -> None:
    single.converges()


# --- the network ----------------------------------------------------------------------------------------------------


def test_the_network_is_cut_during_the_base_backup(single: Fate) -> None:
    """Packets vanish and no connection is closed: without a limit of its own the copy would wait for hours."""
    single.primary.psql("create table ballast as select repeat(md5(g::text), 30) from generate_series(1, 60000) g")
    try:
        run = single.begin("-e", json.dumps({"pgtandem_basebackup": {"max_rate": "4M"}}))
        assert single.frozen_at(run, single.standby, MOMENTS["the base backup is at work"][1]), run.text
        single.cut()
        single.thaw(single.standby)
        outcome = run.wait()
        assert outcome.rc != 0, outcome.text
        assert "The base backup from" in outcome.errors
        assert "unfinished copy" in outcome.errors
        single.heal()
        single.converges()
    finally:
        single.heal()
        single.primary.psql("drop table ballast")


def test_the_network_of_a_working_pair_is_cut(pair: Fate) -> None:
    """The proof does not hold, and says so; nothing is done to either host."""
    before = pair.sums(pair.standby, CONFIG, f"{DATA}/PG_VERSION")
    pair.cut()
    outcome = pair.refuses("pg2", arguments=["-e", "pgtandem_proof_timeout=8"])
    assert "replay" in outcome.errors or "stream" in outcome.errors, outcome.errors
    assert outcome.counted("changed") == 0
    pair.heal()
    pair.converges()
    assert pair.sums(pair.standby, CONFIG, f"{DATA}/PG_VERSION") == before


# --- a host or a service is down ------------------------------------------------------------------------------------


def test_the_primarys_service_is_stopped(pair: Fate) -> None:
    """A server that is down is started, and no other primary is made."""
    system = pair.primary.psql("select system_identifier from pg_control_system()")
    pair.primary.out("systemctl stop postgresql@15-main")
    pair.converges()
    assert pair.primary.psql("select system_identifier from pg_control_system()") == system


def test_a_server_does_not_start(pair: Fate) -> None:
    """Its own words come at once, and it starts when the cause is gone."""
    for node in (pair.primary, pair.standby):
        node.out("systemctl stop postgresql@15-main")
        broken = f"{CONFIG}/conf.d/00-theirs.conf"
        node.out(f"echo \"shared_preload_libraries = 'nothing_such'\" >{broken}")
        outcome = pair.site()
        assert outcome.rc != 0, outcome.text
        assert "did not start" in outcome.errors and "nothing_such" in outcome.errors, outcome.errors
        node.out(f"rm {broken}")
        pair.converges()


def test_the_primarys_host_is_dead(pair: Fate) -> None:
    before = pair.sums(pair.standby, CONFIG, f"{DATA}/PG_VERSION")
    pair.power_off(pair.primary)
    outcome = pair.refuses("pg1, the primary of cluster 'main', could not be read", "Make it reachable")
    assert outcome.counted("changed") == 0
    assert pair.standby.psql("select pg_is_in_recovery()") == "t"
    assert pair.standby.psql("select count(*) from kept") == "20000"
    pair.power_on(pair.primary)
    pair.converges()
    assert pair.sums(pair.standby, CONFIG, f"{DATA}/PG_VERSION") == before


def test_the_standbys_host_is_dead(pair: Fate) -> None:
    """The primary is looked after all the same."""
    pair.power_off(pair.standby)
    outcome = pair.site()
    assert outcome.rc == 4, outcome.text
    assert "pg1 : ok=" in outcome.said
    assert outcome.counted("failed") == 0, outcome.text
    assert pair.primary.psql("select count(*) from kept") == "20000"
    pair.power_on(pair.standby)
    pair.converges()


def test_the_primary_dies_during_the_base_backup(single: Fate) -> None:
    run = single.begin("-e", SLOW)
    assert single.frozen_at(run, single.standby, MOMENTS["the base backup is at work"][1]), run.text
    single.power_off(single.primary)
    single.thaw(single.standby)
    single.power_on(single.primary)
    outcome = run.wait()
    assert outcome.rc != 0, outcome.text
    assert "The base backup from" in outcome.errors
    single.converges()


# --- disks ----------------------------------------------------------------------------------------------------------


def test_the_standbys_disk_fills_during_the_base_backup(single: Fate) -> None:
    """There was room, and somebody else took it."""
    place = {"pg2": {"pgtandem_data_directory": "/srv/small/main"}}
    try:
        single.standby.vars["pgtandem_data_directory"] = "/srv/small/main"
        single.standby.out("echo keep > /srv/small/theirs")
        run = single.begin("-e", SLOW, host_vars=place)
        assert single.frozen_at(run, single.standby, "/srv/small/main/pgtandem-incoming/base"), run.text
        single.fill(single.standby, "/srv/small", 0)
        single.thaw(single.standby)
        outcome = run.wait()
        assert outcome.rc != 0, outcome.text
        assert "No space left on device" in outcome.errors, outcome.errors or outcome.text
        assert "unfinished copy" in outcome.errors
        assert single.standby.out("cat /srv/small/theirs").strip() == "keep"
        lab("empty", "pg2", "/srv/small")
        single.converges(host_vars=place)
        assert single.standby.out("cat /srv/small/theirs").strip() == "keep"
    finally:
        single.wipe(single.standby)
        del single.standby.vars["pgtandem_data_directory"]


# --- passwords ------------------------------------------------------------------------------------------------------


def test_a_working_standby_is_given_a_wrong_password(pair: Fate) -> None:
    """An open connection outlives its password, so the mistake must not wait for the next outage to be seen."""
    wrong = {"pg2": {"pgtandem_replication_password": "mistaken1Word"}}
    outcome = pair.site(host_vars=wrong)
    assert outcome.rc != 0, outcome.text
    assert "pgtandem_replication_password" in outcome.errors, outcome.errors
    assert "mistaken1Word" not in outcome.text
    pair.converges()
    reconnect(pair)
    pair.replicates()


def test_the_password_is_changed_for_the_whole_cluster(pair: Fate) -> None:
    """Without a new copy, and it holds when the connection is made anew."""
    born = pair.standby.out(f"stat --format=%i {DATA}/PG_VERSION")
    new = {name: {"pgtandem_replication_password": "an0ther'Secret\\ %"} for name in ("pg1", "pg2")}
    try:
        outcome = pair.converges(host_vars=new)
        assert outcome.counted("changed") > 0
        reconnect(pair)
        pair.replicates()
    finally:
        pair.converges()
    reconnect(pair)
    pair.replicates()
    assert pair.standby.out(f"stat --format=%i {DATA}/PG_VERSION") == born


def reconnect(fate: Fate) -> None:
    """Break the connection between the two, so that the standby has to log in again."""
    count = "select count(*) from pg_stat_replication where state = 'streaming'"
    before = fate.primary.psql("select max(backend_start) from pg_stat_replication")
    fate.primary.psql("select pg_terminate_backend(pid) from pg_stat_replication")
    assert eventually(
        lambda: (
            fate.primary.psql(count) == "1"
            and fate.primary.psql("select max(backend_start) from pg_stat_replication") != before
        )
    ), fate.standby.out("tail -n 5 /var/log/postgresql/*.log")


# --- the servers and the inventory disagree -------------------------------------------------------------------------


def test_a_standby_was_promoted_by_hand(pair: Fate) -> None:
    """Two primaries: the run stops and touches neither."""
    pair.standby.psql("select pg_promote()")
    pair.standby.psql("create table theirs as select 1 as n")
    before = [pair.sums(node, CONFIG, f"{DATA}/PG_VERSION") for node in (pair.primary, pair.standby)]
    outcome = pair.refuses("two primaries of system", "pg1 (timeline 1)", "pg2 (timeline 2)", "Nothing was changed")
    assert outcome.counted("changed") == 0
    assert [pair.sums(node, CONFIG, f"{DATA}/PG_VERSION") for node in (pair.primary, pair.standby)] == before
    assert pair.primary.psql("select count(*) from kept") == "20000"
    assert pair.standby.psql("select n from theirs") == "1"
    # the administrator decides for pg1
    pair.standby.out(f"systemctl stop postgresql@15-main; rm -rf {DATA}")
    pair.converges()


def test_the_primary_lost_its_data(pair: Fate) -> None:
    """An empty disk where the primary was: a new cluster beside the standby's data would be the end of that data."""
    pair.primary.out(f"systemctl stop postgresql@15-main; mv {DATA} /var/lib/postgresql/15/lost")
    before = pair.sums(pair.standby, CONFIG, f"{DATA}/PG_VERSION")
    outcome = pair.refuses("whose data is not there", "pg2: ", "failover.yml")
    assert outcome.counted("changed") == 0
    assert pair.primary.host.run("test -e %s", f"{DATA}/PG_VERSION").rc != 0
    assert pair.sums(pair.standby, CONFIG, f"{DATA}/PG_VERSION") == before
    assert pair.standby.psql("select count(*) from kept") == "20000"
    pair.primary.out(f"mv /var/lib/postgresql/15/lost {DATA}")
    pair.converges()


# --- what is left when all is over ----------------------------------------------------------------------------------


def test_nothing_is_left_of_all_the_faults(pair: Fate) -> None:
    """No file of a run that was killed; and so the tests that come next find a pair as the first run makes it."""
    for node in (pair.primary, pair.standby):
        left = node.out("find / -xdev -name '*pgtandem*' ! -path '/proc/*' ! -path '/etc/postgresql/*' -print")
        names = [path for path in left.splitlines() if not path.startswith("/etc/postgresql-common/")]
        assert not names, names
    pair.converges()
