# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from xml.etree import ElementTree

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import parse_lsn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.live import live_members
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.html import html_text
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.document import document
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.findings import Limits, findings
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.metrics import metrics_text
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.svg_layout import NARROW, WIDE, layout
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.tree import render
from nodes import Node, cascade, empty, host, receiver, seen, sender, slot

MOMENT = "2026-11-22T17:39:52+00:00"


def report(nodes: list[Node]) -> dict[str, t.Any]:
    return document(nodes, limits=Limits(), generated=MOMENT)


def pair(**standby: t.Any) -> list[Node]:
    """A sound primary and standby; what is given changes the standby."""
    first = seen(host("pg1", "primary"), "primary", wal_senders=[sender("pg2", slot_name="pg2")], slots=[slot("pg2")])
    told: dict[str, t.Any] = {"wal_receiver": receiver("pg1"), "upstream": {"host": "10.0.0.1", "port": 5432}}
    return [first, seen(host("pg2"), "standby", **{**told, **standby})]


# --- Who follows whom ---


def test_a_cascade_is_drawn_as_it_is() -> None:
    members = {member["name"]: member for member in live_members(cascade())}
    assert [(name, member["level"]) for name, member in members.items()] == [
        ("pg1", 0), ("pg2", 1), ("pg3", 1), ("pg4", 2), ("a-very-long-name-<b>&.example.com5", 3), ("pg6", 0),
    ]  # fmt: skip
    assert members["pg2"]["connection"]["sync_state"] == "sync"
    assert members["pg3"]["connection"]["lag_bytes"] == parse_lsn("0/5000000") - parse_lsn("0/4FFFA00")
    assert [row["application_name"] for row in members["pg1"]["strangers"]] == ["<other> & co"]
    assert members["pg6"]["read"] is False


@pytest.mark.parametrize(
    ("changes", "upstream"),
    [
        pytest.param({}, "pg1", id="by address"),
        pytest.param({"upstream": {"host": "pg1", "port": 5432}}, "pg1", id="by name"),
        pytest.param({"upstream": {"host": "db.example.com", "port": 5432}}, "pg1", id="by its port there"),
        pytest.param(
            {"upstream": {"host": "db", "port": 1}, "wal_receiver": receiver("pg1", local_port=None)},
            "pg1",
            id="by its own name there",
        ),
        pytest.param(
            {"upstream": {"host": "10.0.0.1", "port": 5433}, "wal_receiver": None}, "pg1", id="sender is left"
        ),
    ],
)
def test_an_upstream_is_found(changes: dict[str, t.Any], upstream: str) -> None:
    assert live_members(pair(**changes))[1]["upstream"]["name"] == upstream


def test_a_dead_connection_does_not_stand_for_the_standby() -> None:
    """The connections of a copy that the network cut go by the name of the standby until the server ends them."""
    nodes = pair()
    status = t.cast(t.Any, nodes[0]["status"])
    alive = status["wal_senders"][0]
    copied = {**alive, "pid": 1, "client_port": 1, "state": "backup", "replay_lsn": None}
    status["wal_senders"] = [copied, {**copied, "pid": 2, "state": "catchup"}, alive]
    t.cast(t.Any, nodes[1]["status"])["wal_receiver"]["local_port"] = None
    assert "streaming" in render("main", live_members(nodes))[-1]


def test_an_upstream_outside_is_said() -> None:
    nodes = pair(upstream={"host": "192.0.2.99", "port": 5432})
    nodes[0]["status"]["wal_senders"] = []
    member = live_members(nodes)[1]
    assert member["upstream"] == {"name": None, "host": "192.0.2.99", "port": 5432}
    assert "from 192.0.2.99:5432, not a host of this cluster" in render("main", live_members(nodes))[-1]


def test_a_host_that_was_not_read_is_drawn_where_its_upstream_says() -> None:
    nodes = pair()
    nodes[1]["status"] = None
    tree = render("main", live_members(nodes))
    assert len(tree) == 3 and "not a host" not in "".join(tree), tree
    assert tree[2].startswith("└─ pg2") and "not read" in tree[2] and "streaming, as pg1 says" in tree[2], tree
    report(nodes)


def test_the_later_word_on_a_position_counts() -> None:
    """A standby may have been read before its upstream was, or its WAL sender may not have heard from it since."""
    for own, told in [("0/4000000", "0/5000000"), ("0/5000000", "0/4000000"), ("0/5000000", None)]:
        nodes = cascade()
        nodes[1]["status"]["positions"]["replay"] = own
        nodes[0]["status"]["wal_senders"][0]["replay_lsn"] = told
        second = live_members(nodes)[1]
        assert second["position"] == "0/5000000" and second["connection"]["lag_bytes"] == 0


def test_the_tree() -> None:
    lines = render("main", live_members(cascade()))
    assert lines[1].startswith("pg1  10.0.0.1:5432  primary  timeline 1  at 0/5000000")
    assert lines[2].startswith("├─ pg2  10.0.0.2:5432  standby") and "sync, lag 0 B  slot pg2" in lines[2]
    assert lines[3].startswith("│  └─ pg4")
    assert lines[4].startswith("│     └─ a-very-long") and "not streaming" in lines[4]
    assert "replay paused" in lines[5] and "lag 1.5 kB / 1 min 15 s" in lines[5]
    assert lines[6] == "├─ slot gone  physical  inactive  keeps 3.0 GB"
    assert lines[8].startswith("pg6  10.0.0.6:5432  not read (ssh: connect")


def test_hosts_that_tell_little_have_a_line() -> None:
    nodes = [host("pg1", "primary"), empty(host("pg2"))]
    assert render("main", live_members(nodes)) == [
        "cluster main  PostgreSQL unknown  system unknown",
        "pg2  10.0.0.2:5432  no server, not running (/data is empty)",
        "pg1  10.0.0.1:5432  not read",
    ]


def test_standbys_in_a_circle_are_drawn() -> None:
    one = seen(host("pg1"), "standby", upstream={"host": "10.0.0.2", "port": 5432})
    other = seen(host("pg2"), "standby", upstream={"host": "10.0.0.1", "port": 5432})
    assert len(render("main", live_members([one, other]))) == 3
    for shape in (WIDE, NARROW):
        assert len(layout(live_members([one, other]), shape)["boxes"]) == 2


# --- What is wrong ---


def changed(nodes: list[Node], index: int, **changes: t.Any) -> list[Node]:
    status = nodes[index]["status"]
    for key, value in changes.items():
        status[key] = {**status[key], **value} if isinstance(value, dict) and status[key] else value
    return nodes


HBA = {"type": "host", "user_name": ["all"], "address": "10.0.0.0", "netmask": "255.0.0.0", "auth_method": "md5",
       "error": None}  # fmt: skip
FINDINGS: list[tuple[str, t.Callable[[], list[Node]], dict[str, str]]] = [
    ("all is well", pair, {}),
    ("down", lambda: [pair()[0], seen(host("pg2"), "standby", running=False)], {"not-running": "error"}),
    (
        "not streaming",
        lambda: pair(wal_receiver=receiver("pg1", status="waiting")),
        {"not-streaming": "error"},
    ),
    ("no receiver", lambda: pair(wal_receiver=None), {"not-streaming": "error"}),
    (
        "the sender is in startup",
        lambda: changed(pair(), 0, wal_senders=[sender("pg2", state="startup")]),
        {"not-streaming": "error"},
    ),
    ("paused", lambda: pair(replay={"paused": True}), {"replay-paused": "warning"}),
    ("late", lambda: pair(replay={"lag_bytes": 9, "lag_seconds": 61}), {"lag-seconds": "warning"}),
    ("late on purpose", lambda: pair(settings={"recovery_min_apply_delay": "1h"}, replay={"lag_seconds": 3000}),
     {"delayed": "warning"}),
    ("far behind", lambda: changed(pair(), 0, positions={"current": "0/25000000"}), {"lag-bytes": "warning"}),
    ("waits for a restart", lambda: pair(pending_restart=["max_connections"]), {"pending-restart": "warning"}),
    ("lost slot", lambda: changed(pair(), 0, slots=[slot("pg2", wal_status="lost", restart_lsn=None)]),
     {"slot-lost": "error"}),
    ("slot at risk", lambda: changed(pair(), 0, slots=[slot("pg2", wal_status="unreserved")]),
     {"slot-at-risk": "error"}),
    ("slot of nobody", lambda: changed(pair(), 0, slots=[slot("x", active=False)]), {"slot-inactive": "warning"}),
    ("slot without WAL", lambda: changed(pair(), 0, slots=[slot("x", active=False, restart_lsn=None)]), {}),
    ("large slot", lambda: changed(pair(), 0, slots=[slot("x", retained_bytes=2 * 1024**3)]),
     {"slot-large": "warning"}),
    ("no synchronous standby", lambda: changed(pair(), 0, settings={"synchronous_standby_names": "*"}),
     {"no-sync-standby": "error"}),
    ("floors", lambda: changed(pair(settings={"max_connections": "50"}), 0, settings={"max_connections": "100"}),
     {"cannot-become-primary": "warning"}),
    ("keeps the others out", lambda: pair(replication_rules=[]), {"cannot-become-primary": "warning"}),
    ("md5", lambda: changed(pair(), 0, md5_roles=["replica"]), {"weak-password": "warning"}),
    ("md5 on a standby", lambda: pair(md5_roles=["replica"]), {}),
    ("lets the others in", lambda: pair(replication_rules=[HBA]), {}),
    ("cannot be rewound", lambda: pair(settings={"wal_log_hints": "off", "data_checksums": "off"}),
     {"cannot-rewind": "warning"}),
    ("no driver", lambda: pair(host={"psycopg": None}, accepts_connections=None), {"no-driver": "warning"}),
    ("other upstream", lambda: [*pair(), seen(host("pg3", upstream="pg2"), "standby", wal_receiver=receiver("pg1"),
                                              upstream={"host": "10.0.0.1", "port": 5432})],
     {"other-upstream": "warning"}),
    ("unread standby", lambda: [pair()[0], host("pg2")], {"unread": "error"}),
    ("unread primary", lambda: [host("pg1", "primary"), pair()[1]], {"primary-unread": "error"}),
    ("two primaries", lambda: [pair()[0], seen(host("pg2"), "primary")], {"two-primaries": "error"}),
    ("moved", lambda: [seen(host("pg1", "primary"), "standby", wal_receiver=receiver("pg2"),
                            upstream={"host": "10.0.0.2", "port": 5432}),
                       seen(host("pg2"), "primary", wal_senders=[sender("pg1")])], {"primary-moved": "warning"}),
    ("a standby at its next start", lambda: changed(pair(), 0, data_directory={
        "path": "/data", "state": "standby", "signal_files": ["standby.signal"]}),
     {"standby-signal": "error", "no-primary": "error"}),
    ("diverged", lambda: pair(timeline=2), {"diverged": "error"}),
    ("stale, of a primary", lambda: changed(pair(), 0, stale_settings=[
        {"name": "primary_conninfo", "value": "host=x", "overrides": None, "path": "/a", "line": 1}]),
     {"stale-setting-waits": "warning"}),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "expected"), [row[1:] for row in FINDINGS], ids=[row[0] for row in FINDINGS])
def test_findings(nodes: t.Callable[[], list[Node]], expected: dict[str, str]) -> None:
    members = nodes()
    found = findings("main", members, live_members(members), Limits())
    assert {one.id: one.severity for one in found} == expected, [one.text for one in found]
    assert all(one.text and one.text.endswith((".", ")")) for one in found)
    assert all(one.remedy.endswith((".", ")")) for one in found)


def test_limits_can_be_turned_off() -> None:
    nodes = changed(pair(replay={"lag_seconds": 1e6, "lag_bytes": 9}), 0, positions={"current": "F/0"})
    assert findings("main", nodes, live_members(nodes), Limits(0, 0, 0)) == []


def test_errors_come_first() -> None:
    severities = [one["severity"] for one in report(cascade())["findings"]]
    assert severities == sorted(severities) and set(severities) == {"error", "warning"}
    assert report(cascade())["healthy"] is False and report(pair())["healthy"] is True


# --- The page ---


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    text = html_text(report(cascade()))
    assert text.startswith("<!DOCTYPE html>")
    # XML is stricter than HTML: every element is closed and every letter escaped.
    page = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert not page.findall(".//script") and not page.findall(".//link") and not page.findall(".//img")
    assert not re.findall(r"(?:https?:)?//|url\(|@import|\bon\w+=", text)
    # What came from outside is text and no markup.
    assert "a-very-long-name-<b>&.example.com5" in "".join(page.itertext())
    assert "<other> & co" in "".join(page.itertext())
    assert not page.findall(".//b")
    identifiers = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    named = [name for element in page.iter() for name in (element.get("aria-labelledby") or "").split()]
    assert set(named) <= set(identifiers)


def test_the_page_says_first_what_is_wrong() -> None:
    text = html_text(report(cascade()))
    assert "2 errors, 5 warnings" in text
    assert text.index("not-streaming") < text.index("slot-inactive") < text.index("Cluster main") < text.index("<table")
    assert "Nothing is wrong" in html_text(report(pair()))


def test_every_host_is_in_both_pictures() -> None:
    page = ElementTree.fromstring(html_text(report(cascade())).removeprefix("<!DOCTYPE html>"))
    for kind in ("wide", "narrow"):
        (picture, *plots) = [figure for figure in page.iter("figure") if figure.get("class") == kind]
        assert len(list(picture.iter("g"))) == 6
        assert len(list(picture.iter("path"))) == 4
        assert len(plots) == 1 and len(list(plots[0].iter("polyline"))) == 3


# --- Metrics ---


def samples_of(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    parser = pytest.importorskip("prometheus_client.parser")
    found = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation and family.type == "gauge"
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def test_metrics_are_in_the_format() -> None:
    text = metrics_text(report(cascade()))
    found = samples_of(text)

    def value(name: str, **labels: str) -> float | None:
        return found.get((f"pgtandem_{name}", frozenset({"cluster": "main", **labels}.items())))

    assert value("up", host="pg1") == 1 and value("up", host="pg6") == 0
    assert value("role_info", host="pg2", role="standby") == 1
    assert value("lag_bytes", host="pg3", upstream="pg1") == 1536
    assert value("lag_seconds", host="pg3", upstream="pg1") == 75.5
    assert value("slot_retained_bytes", host="pg1", slot="gone", type="physical") == 3 * 1024**3
    assert value("synchronous_standby", host="pg2") == 1
    assert value("pending_restart_settings", host="pg1") == 1
    assert value("findings", severity="error") == 2 and value("findings", severity="warning") == 5
    assert value("primaries") == 1
    assert value("timeline", host="pg6") is None
    assert found[("pgtandem_status_timestamp_seconds", frozenset())] == 1795369192
    assert len(found) == sum(1 for line in text.splitlines() if not line.startswith("#"))


def test_labels_of_metrics_are_escaped() -> None:
    name = 'a"b\\c\nd'
    nodes = pair()
    nodes[0]["status"]["slots"] = [slot(name)]
    assert any(("slot", name) in labels for _name, labels in samples_of(metrics_text(report(nodes))))


def test_each_family_is_together() -> None:
    names = [re.split(r"[{ ]", line)[0] for line in metrics_text(report(cascade())).splitlines() if line[0] != "#"]
    assert len(set(names)) == sum(1 for one, two in zip(["", *names], names) if one != two)
