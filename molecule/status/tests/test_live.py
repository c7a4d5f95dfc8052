# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tree, report, JSON, metrics and live inventory say what psql says, on a cascade whose primary then dies; and the gate
stops for what came of it, with no file and no row changed.

The tests go from one state to the next, so they run in this order and all together. Nothing here is shared with the
collection: what is true comes from psql on the hosts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "testinfra"), str(ROOT / "molecule" / "shared")]

from outside import Node, eventually
from steps import inventories, lab

MONITOR = "m0nitor Word"
NAMES = ("pg1", "pg2", "pg3", "pg4")
STREAMING = "select count(*) from pg_stat_wal_receiver where status = 'streaming'"
stops = pytest.mark.stops


def play(name: str, *words: str) -> tuple[int, str]:
    """Run a playbook of the collection to its end."""
    done = subprocess.run(
        ["ansible-playbook", *inventories(), f"pgtandem.replication.{name}", *words],
        cwd=ROOT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_TIMEOUT": "5"},
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    return done.returncode, output


# --- What psql says ---


class Server(t.NamedTuple):
    """One server as psql on its host sees it."""

    role: str
    timeline: int
    system: str
    #: Who follows it: the follower's name and its sync_state, of those that stream.
    followers: dict[str, str]
    #: The address that its WAL receiver streams from.
    sender: str
    #: Each slot, and whether it is in use.
    slots: dict[str, str]


def rows(node: Node, sql: str) -> list[list[str]]:
    return [line.split("|") for line in node.psql(sql).splitlines()]


def truth(alive: t.Iterable[str]) -> dict[str, Server]:
    addresses = {Node(name).address: name for name in NAMES}
    found = {}
    for name in alive:
        node = Node(name)
        ((recovery, timeline, system),) = rows(
            node,
            "select pg_is_in_recovery(), case when pg_is_in_recovery() then"
            " (select min_recovery_end_timeline from pg_control_recovery()) else"
            " (select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int) end,"
            " (select system_identifier from pg_control_system())",
        )
        senders = rows(node, "select client_addr, sync_state from pg_stat_replication where state = 'streaming'")
        found[name] = Server(
            "standby" if recovery == "t" else "primary",
            int(timeline),
            system,
            {addresses[address]: state for address, state in senders},
            addresses.get(node.psql("select sender_host from pg_stat_wal_receiver where status = 'streaming'"), ""),
            dict(rows(node, "select slot_name, active from pg_replication_slots")),
        )
    return found


def position(name: str) -> int:
    """How far a server's data goes, in bytes."""
    return int(
        Node(name).psql(
            "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end"
            " - '0/0'::pg_lsn"
        )
    )


# --- What the collection says ---


class Said(t.NamedTuple):
    """What one run of status.yml gave."""

    status: int
    output: str
    report: dict[str, t.Any]
    page: ElementTree.Element
    #: (metric, labels without the cluster's) -> value
    metrics: dict[tuple[str, tuple[tuple[str, str], ...]], float]

    @property
    def nodes(self) -> dict[str, dict[str, t.Any]]:
        return {node["name"]: node for node in self.report["clusters"][0]["nodes"]}

    @property
    def findings(self) -> set[tuple[str, str | None]]:
        return {(one["id"], one["host"]) for one in self.report["findings"]}

    def table(self, title: str) -> list[list[str]]:
        """A table of the page, its rows as texts."""
        for section in self.page.iter("section"):
            heading = section.find("h3")
            if heading is not None and heading.text == title:
                return [["".join(cell.itertext()) for cell in row] for row in section.iter("tr")][1:]
        return []


def look(folder: Path, *words: str) -> Said:
    files = {kind: folder / name for kind, name in (("json", "s.json"), ("html", "s.html"), ("metrics", "s.prom"))}
    for path in files.values():
        path.unlink(missing_ok=True)
    told = " ".join(f"pgtandem_status_{kind}={path}" for kind, path in files.items())
    status, output = play("status", "-e", told, *words)
    texts = {kind: path.read_text(encoding="utf-8") for kind, path in files.items()}
    assert "hunter2Tandem" not in output + "".join(texts.values())
    metrics = {
        (sample.name, tuple(sorted((key, value) for key, value in sample.labels.items() if key != "cluster"))):
        sample.value
        for family in text_string_to_metric_families(texts["metrics"])
        for sample in family.samples
    }  # fmt: skip
    page = ElementTree.fromstring(texts["html"].removeprefix("<!DOCTYPE html>"))
    return Said(status, output, json.loads(texts["json"]), page, metrics)


def live_inventory(folder: Path) -> dict[str, t.Any]:
    path = folder / "topology.yml"
    hosts = "".join(f"  {name}: {{address: {Node(name).address}}}\n" for name in NAMES)
    path.write_text(
        f"plugin: pgtandem.replication.topology\nlogin_user: monitor\nconnect_timeout: 3\nhosts:\n{hosts}",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["ansible-inventory", "-i", str(path), "--list"],
        cwd=folder, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "PGTANDEM_LOGIN_PASSWORD": MONITOR,
            "ANSIBLE_INVENTORY_ENABLED": "pgtandem.replication.topology",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
        },
    )  # fmt: skip
    # Texts that are no templates are marked in some versions of Ansible.
    return t.cast(
        "dict[str, t.Any]", json.loads(done.stdout, object_hook=lambda value: value.get("__ansible_unsafe", value))
    )


def agrees(said: Said, inventory: dict[str, t.Any], alive: t.Sequence[str]) -> None:
    """All that is written down is what psql says, on the hosts that live, and of the others that they were not read."""
    servers = truth(alive)
    nodes = said.nodes
    assert sorted(nodes) == sorted(NAMES)
    upstreams = {below: above for above, server in servers.items() for below in server.followers}
    primaries = [name for name, server in servers.items() if server.role == "primary"]
    hosts = {row[0]: row for row in said.table("Hosts")}
    for name, server in servers.items():
        node = nodes[name]
        assert (node["role"], node["timeline"], node["system_identifier"]) == server[:3], name
        assert node["read"] and node["running"]
        # A standby that lost its upstream stands below it all the same, and is said not to stream.
        below = [other for other in node["downstream"] if nodes[other]["connection"]["streaming"]]
        assert sorted(below) == sorted(server.followers), name
        assert {slot["slot_name"]: "t" if slot["active"] else "f" for slot in node["slots"]} == server.slots
        streams = name in upstreams
        if server.role == "standby":
            follows = upstreams.get(name) is not None and server.sender == upstreams[name]
            assert node["connection"]["streaming"] == streams == follows
        if streams:
            kind = servers[upstreams[name]].followers[name]
            assert node["upstream"]["name"] == upstreams[name] == hosts[name][7]
            assert node["level"] == level(name, upstreams)
            assert node["connection"]["sync_state"] == kind == hosts[name][9]
            labels = (("host", name), ("upstream", upstreams[name]))
            assert said.metrics["pgtandem_streaming", labels] == 1
            assert said.metrics["pgtandem_synchronous_standby", (("host", name),)] == (kind == "sync")
        assert hosts[name][1] == server.role and hosts[name][5] == str(server.timeline)
        assert said.metrics["pgtandem_timeline", (("host", name),)] == server.timeline
        assert said.metrics["pgtandem_up", (("host", name),)] == 1
    for name in set(NAMES) - set(alive):
        assert not nodes[name]["read"] and nodes[name]["role"] is None and hosts[name][1] == "unknown"
        assert said.metrics["pgtandem_up", (("host", name),)] == 0
        assert ("pgtandem_timeline", (("host", name),)) not in said.metrics
    assert said.metrics["pgtandem_primaries", ()] == len(primaries)
    assert said.report["clusters"][0]["primary"] == (primaries[0] if len(primaries) == 1 else None)
    senders = {(row[0], row[1], row[4]) for row in said.table("WAL senders") if row[3] == "streaming"}
    assert senders == {
        (name, below, kind) for name, server in servers.items() for below, kind in server.followers.items()
    }
    # The tree as it was printed: each standby below the server that it follows.
    tree = said.report["clusters"][0]["tree"]
    assert all(line in said.output for line in tree)
    lines = [found for found in (re.match(r"([│├└─ ]*)(pg\d)  ", line) for line in tree) if found]
    assert sorted(found[2] for found in lines) == sorted(NAMES)
    path: list[str] = []
    for found in lines:
        path = [*path[: len(found[1]) // 3], found[2]]
        if found[2] in upstreams:
            assert path[-2:-1] == [upstreams[found[2]]], "\n".join(tree)
    groups = {name: sorted(inventory.get(name, {}).get("hosts", [])) for name in ("primary", "standby", "standby_sync")}
    assert groups == {
        "primary": primaries,
        "standby": [name for name, server in servers.items() if server.role == "standby"],
        "standby_sync": sorted(
            below for server in servers.values() for below, kind in server.followers.items() if kind == "sync"
        ),
    }
    assert sorted(inventory.get("unreachable", {}).get("hosts", [])) == sorted(set(NAMES) - set(alive))
    for name, above in upstreams.items():
        assert inventory["_meta"]["hostvars"][name]["pgtandem_live"]["upstream"]["name"] == above


def level(name: str, upstreams: t.Mapping[str, str]) -> int:
    return 1 + level(upstreams[name], upstreams) if name in upstreams else 0


# --- Nothing changed ---

#: Names and contents of all that a server does not change by itself, and the server's process.
FILES = """
cd /var/lib/postgresql/15/main && ls -1 . base && cat postgresql.auto.conf
cd / && find /etc/postgresql /var/lib/postgresql -type f \\( -name '*.conf' -o -name '*.signal' -o -name '*pass*' \\) \
  -exec sha256sum {} + | sort
head -1 /var/lib/postgresql/15/main/postmaster.pid
"""
ROWS = (
    "select count(*) || ' ' || md5(string_agg(line, '' order by n)) from kept",
    "select string_agg(rolname || rolpassword, ',' order by rolname) from pg_authid",
    "select string_agg(slot_name, ',' order by slot_name) from pg_replication_slots",
    "select pg_is_in_recovery()",
)


def print_of(alive: t.Iterable[str]) -> dict[str, list[str]]:
    return {name: [Node(name).out(FILES), *(Node(name).psql(sql) for sql in ROWS)] for name in alive}


def refused(alive: t.Sequence[str], kinds: set[str], *words: str, arguments: t.Sequence[str] = ()) -> None:
    """site.yml stops for these reasons, and no file and no row is another one than before."""
    before = print_of(alive)
    status, output = play("site", *arguments)
    flat = " ".join(output.split())
    assert status != 0, output
    said = {one or other for one, other in re.findall(r'\bid: ([a-z-]+)|"id": "([a-z-]+)"', flat)}
    assert said == kinds, output
    for word in ("Nothing was changed.", *words):
        assert word in flat, f"{word!r} is not in: {output}"
    assert set(re.findall(r"changed=(\d+) ", output)) == {"0"}, output
    assert print_of(alive) == before


FOLLOW = ("-e", "pgtandem_on_role_change=follow")


@pytest.fixture(scope="module", autouse=True)
def rows_and_a_monitor() -> None:
    pg1 = Node("pg1")
    pg1.psql(
        "create table if not exists kept as select g as n, md5(g::text) as line from generate_series(1, 20000) g;"
        f"do $$ begin create role monitor login password '{MONITOR}' in role pg_monitor;"
        " exception when duplicate_object then null; end $$"
    )
    assert eventually(lambda: Node("pg3").try_psql("select count(*) from kept").stdout.strip() == "20000")


# --- Everything is well ---


def test_a_sound_cascade(tmp_path: Path) -> None:
    before = {name: position(name) for name in NAMES}
    said = look(tmp_path, "-e", "pgtandem_status_samples=3 pgtandem_status_sample_interval=0.5")
    after = {name: position(name) for name in NAMES}
    assert said.status == 0 and said.report["healthy"] and "Nothing is wrong." in said.output, said.output
    assert set(re.findall(r"changed=(\d+) ", said.output)) == {"0"}
    agrees(said, live_inventory(tmp_path), NAMES)
    servers = truth(NAMES)
    assert servers["pg1"].followers == {"pg2": "async", "pg4": "sync"}
    assert servers["pg2"].followers == {"pg3": "async"}
    for name in NAMES:
        high, low = (int(part, 16) for part in said.nodes[name]["position"].split("/"))
        assert before[name] <= (high << 32) + low <= after[name]
        assert len(said.nodes[name]["samples"]) == 3
    assert len(list(said.page.iter("polyline"))) == 6


def test_lag_is_what_psql_sees(tmp_path: Path) -> None:
    """Replay stands still on pg3 while the primary writes."""
    Node("pg3").psql("select pg_wal_replay_pause()")
    try:
        assert eventually(lambda: Node("pg3").psql("select pg_get_wal_replay_pause_state()") == "paused")
        Node("pg1").psql("create table passing as select generate_series(1, 20000) as n; drop table passing")
        behind = "select pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn()"
        assert eventually(lambda: int(Node("pg3").psql(behind)) > 500_000)
        time.sleep(2)
        age = float(Node("pg3").psql("select extract(epoch from now() - pg_last_xact_replay_timestamp())"))
        said = look(tmp_path)
        later = float(Node("pg3").psql("select extract(epoch from now() - pg_last_xact_replay_timestamp())"))
        link = said.nodes["pg3"]["connection"]
        # On a slow machine it is later than a minute by now, which is told too.
        assert said.status == 0, said.output
        assert said.findings - {("lag-seconds", "pg3")} == {("replay-paused", "pg3")}, said.output
        assert abs(link["lag_bytes"] - int(Node("pg3").psql(behind))) < 65536
        assert age <= link["lag_seconds"] <= later
        assert said.metrics["pgtandem_lag_bytes", (("host", "pg3"), ("upstream", "pg2"))] == link["lag_bytes"]
        assert said.metrics["pgtandem_replay_paused", (("host", "pg3"),)] == 1
    finally:
        Node("pg3").psql("select pg_wal_replay_resume()")


def test_a_partition_between_two_hosts_is_seen(tmp_path: Path) -> None:
    """The controller reaches both, and they do not reach each other."""
    lab("cut", "pg2", "pg3")
    try:
        # What both still believe for wal_sender_timeout and wal_receiver_timeout, a minute, ends at once.
        Node("pg2").psql("select pg_terminate_backend(pid) from pg_stat_replication")
        Node("pg3").out(f"kill {Node('pg3').psql('select pid from pg_stat_wal_receiver')}")
        assert eventually(lambda: Node("pg3").psql(STREAMING) == "0")
        said = look(tmp_path)
        assert said.status == 2 and ("not-streaming", "pg3") in said.findings, said.output
        agrees(said, live_inventory(tmp_path), NAMES)
    finally:
        lab("heal", "pg2", "pg3")
    assert eventually(lambda: Node("pg3").psql(STREAMING) == "1", seconds=90)


# --- The primary dies, and somebody promotes a standby by hand ---


@stops("primary-unread")
def test_the_primary_has_died(tmp_path: Path) -> None:
    lab("kill", "pg1")
    alive = ("pg2", "pg3", "pg4")
    refused(alive, {"primary-unread"}, "pg1, the primary of cluster 'main', could not be read")
    refused(alive, {"primary-unread"}, "could not be read", arguments=FOLLOW)
    said = look(tmp_path)
    assert said.status == 2 and {"primary-unread"} <= {kind for kind, _host in said.findings}, said.output


@stops("primary-unread")
def test_an_unplanned_promotion_is_seen(tmp_path: Path) -> None:
    pg2 = Node("pg2")
    pg2.out("pg_ctlcluster 15 main promote")
    assert eventually(lambda: pg2.psql("select pg_is_in_recovery()") == "f")
    alive = ("pg2", "pg3", "pg4")
    follows = "select received_tli from pg_stat_wal_receiver where status = 'streaming'"
    assert eventually(lambda: Node("pg3").psql(follows) == "2", seconds=60)
    pg2.psql("checkpoint")
    Node("pg3").psql("checkpoint")
    assert eventually(lambda: truth(["pg3"])["pg3"].timeline == 2, seconds=60)
    assert eventually(lambda: Node("pg4").psql(STREAMING) == "0", seconds=90)
    said = look(tmp_path)
    agrees(said, live_inventory(tmp_path), alive)
    assert said.status == 2 and {("primary-unread", "pg1"), ("not-streaming", "pg4")} <= said.findings, said.output
    assert said.nodes["pg3"]["timeline"] == said.nodes["pg2"]["timeline"] == 2
    refused(alive, {"primary-unread"}, "while pg2 runs as a primary", "pgtandem_on_role_change: follow")


@stops("primary-unread")
def test_the_smaller_side_of_a_partition_decides_nothing() -> None:
    """Of four hosts one is dead and two cannot be reached, though they live."""
    for name in ("pg3", "pg4"):
        lab("cut", name, "controller")
    try:
        refused(("pg2",), {"primary-unread"}, "fewer than half could be read", arguments=FOLLOW)
    finally:
        for name in ("pg3", "pg4"):
            lab("heal", name, "controller")


@stops("two-primaries", "diverged")
def test_the_old_primary_comes_back(tmp_path: Path) -> None:
    lab("start", "pg1")
    pg1 = Node("pg1")
    assert eventually(lambda: pg1.try_psql("select pg_is_in_recovery()").stdout.strip() == "f", seconds=60)
    said = look(tmp_path)
    assert said.status == 2 and {kind for kind, _host in said.findings} >= {"two-primaries"}, said.output
    assert said.metrics["pgtandem_primaries", ()] == 2 and said.report["clusters"][0]["primary"] is None
    inventory = live_inventory(tmp_path)
    assert sorted(inventory["primary"]["hosts"]) == ["pg1", "pg2"]
    words = ("has two primaries of system", "pg1 (timeline 1), running", "pg2 (timeline 2), running")
    # pg3 went with pg2, so it cannot follow pg1 any more.
    kinds = {"two-primaries", "diverged"}
    refused(NAMES, kinds, *words, "pg3 has diverged from pg1")
    refused(NAMES, kinds, *words, arguments=FOLLOW)


@stops("two-primaries")
def test_two_primaries_and_only_one_of_them_can_be_reached() -> None:
    """pg4 streams from pg1 again, which proves that the one that cannot be reached is alive."""
    assert eventually(lambda: Node("pg4").psql(STREAMING) == "1", seconds=60)
    lab("cut", "pg1", "controller")
    try:
        refused(("pg2", "pg3", "pg4"), {"two-primaries"}, "still sends WAL to pg4", arguments=FOLLOW)
    finally:
        lab("heal", "pg1", "controller")
