# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import quorum
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.timelines import divergence
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from nodes import SYSTEM, Node, empty, history, host, receiver, seen

OTHER = "7000000000000000001"


def primary(name: str = "pg1", group: str = "primary", **changes: t.Any) -> Node:
    return seen(host(name, group), "primary", **changes)


def standby(name: str = "pg2", group: str = "standby", **changes: t.Any) -> Node:
    return seen(host(name, group), "standby", **changes)


def follow(*nodes: Node) -> list[Node]:
    for node in nodes:
        node["on_role_change"] = "follow"
    return list(nodes)


def with_parameters(node: Node, **parameters: t.Any) -> Node:
    node["parameters"] = parameters
    return node


def stale(name: str, value: str, overrides: str | None = None) -> list[dict[str, t.Any]]:
    return [{"name": name, "value": value, "overrides": overrides, "path": "/data/postgresql.auto.conf", "line": 3}]


def end(name: str, place: str, path: str) -> dict[str, t.Any]:
    value = "x %f %p" if name == "restore_command" else "7"
    return {"name": name, "value": value, "path": path, "line": 3, "place": place, "effect": "it ends"}


def asking_for(node: Node, **asked: t.Any) -> Node:
    node.update(asked)
    return node


FORKED = {"timeline": 2, "timeline_history": history(t1="0/5000000"), "positions": {"current": "0/6000000"}}

#: What is there, and the reasons to stop: each by its id, with words that its message has to have.
STOPS: list[tuple[str, t.Callable[[], list[Node]], dict[str, tuple[str, ...]]]] = [
    (
        "two primaries, both running",
        lambda: [primary(), primary("pg2", "standby", timeline=2)],
        {"two-primaries": ("pg1 (timeline 1), running", "pg2 (timeline 2), running", SYSTEM, "stop the other")},
    ),
    (
        "the old primary is stopped, a standby was promoted",
        lambda: [primary(running=False), primary("pg2", "standby", timeline=2)],
        {"two-primaries": ("pg1 (timeline 1), stopped", "most likely pg2", "do not start pg1", "rejoin.yml")},
    ),
    (
        "two primaries of one system while the inventory's is a standby",
        lambda: follow(standby("pg1", "primary"), primary("pg2", "standby"), primary("pg3", "standby")),
        {"two-primaries": ("pg2 (timeline", "pg3 (timeline")},
    ),
    (
        "three primaries",
        lambda: [primary(), primary("pg2", "standby"), primary("pg3", "standby")],
        {"two-primaries": ("has 3 primaries",)},
    ),
    (
        "the inventory's primary is a standby now",
        lambda: [standby("pg1", "primary"), primary("pg2", "standby")],
        {"primary-moved": ("is pg2 now, not pg1", "pgtandem_on_role_change: follow")},
    ),
    (
        "the inventory's primary is a standby and nobody is a primary",
        lambda: [standby("pg1", "primary"), standby()],
        {"no-primary": ("pg1", "Promote the right host")},
    ),
    (
        "the same, and the one that may be was not read",
        lambda: [standby("pg1", "primary"), host("pg2")],
        {"no-primary": ("pg2 could not be read; it may be the primary",)},
    ),
    (
        "a standby of another system",
        lambda: [primary(), standby(system_identifier=OTHER)],
        {"foreign-system": ("pg2", OTHER, SYSTEM, "pgtandem_cluster")},
    ),
    (
        "a primary of another system where a standby is to be",
        lambda: [primary(), primary("pg2", "standby", system_identifier=OTHER)],
        {"foreign-system": ("pg2", "base backup would destroy it", "Move that directory away")},
    ),
    (
        "a foreign standby, with follow",
        lambda: follow(standby("pg1", "primary"), primary("pg2", "standby"), standby("pg3", system_identifier=OTHER)),
        {"foreign-system": ("pg3", OTHER)},
    ),
    (
        "a standby beyond the fork",
        lambda: [primary(**FORKED), standby(positions={"receive": "0/5000100", "replay": "0/5000100"})],
        {"diverged": ("pg2 has diverged from pg1", "0/5000100", "0/5000000", "rejoin.yml")},
    ),
    (
        "a data directory of something else",
        lambda: [primary(), _foreign(empty(host("pg2")))],
        {"host-directory": ("pg2", "Move it away")},
    ),
    (
        "an instance that Patroni runs",
        lambda: [primary(), standby(patroni="/etc/postgresql/15/main/postgresql.conf")],
        {"host-patroni": ("pg2: is run by Patroni", "/etc/postgresql/15/main/postgresql.conf", "patronictl")},
    ),
    (
        "clusters that share an address and a port",
        lambda: [
            primary(),
            empty(host("pg2")),
            seen(host("pg3", "primary", cluster="other", address="10.0.0.1"), "primary", system_identifier="1"),
        ],
        {
            "inventory-same-place": (
                "pg1 of cluster 'main' and pg3 of cluster 'other'",
                "10.0.0.1:5432",
                "one pgtandem_cluster",
            )
        },
    ),
    (
        "two instances in one directory of a host",
        lambda: [
            primary(instance={"version": "15", "layout": "debian", "data_directory": "/data"}),
            empty(host("pg2")),
            seen(
                host("pg3", "primary", cluster="other", address="10.0.0.1", port=5433),
                "primary",
                system_identifier="1",
                instance={"version": "15", "layout": "debian", "data_directory": "/data"},
            ),
        ],
        {"inventory-same-directory": ("pg1 and pg3", "(/data)", "another pgtandem_instance")},
    ),
    (
        "a delay without a unit",
        lambda: [primary(), empty(host("pg2", apply_delay="60"))],
        {"inventory-recovery": ("pg2", "write it with its unit")},
    ),
    (
        "a command for the archive that fetches nothing, and the same setting twice",
        lambda: [
            primary(),
            empty(host("pg2", restore_command="true", parameters={"restore_command": "cp /a/%f %p"})),
        ],
        {"inventory-recovery": ("needs %f, the file it fetches", "leave it in one")},
    ),
    (
        "options of the connection that libpq does not have, that are secrets, or that cannot be",
        lambda: [
            primary(),
            empty(
                host(
                    "pg2",
                    connection_options={
                        "keepalives_idel": 10,
                        "sslpassword": "hunter2",
                        "connect_timeout": "soon",
                        "sslnegotiation": "direct",
                        "sslmode": "yes",
                        "target_session_attrs": "master",
                    },
                )
            ),
        ],
        {
            "inventory-connection-option": (
                "libpq has no option 'keepalives_idel'",
                "may not have sslpassword, as a secret",
                "connect_timeout is 'soon'",
                "libpq of PostgreSQL 15 has no sslnegotiation; it came with 17",
                "sslmode is 'yes'",
                "has no target_session_attrs 'master'",
            )
        },
    ),
    (
        "a standby of a standby that asks for a primary",
        lambda: [
            primary(),
            empty(host("pg2")),
            empty(host("pg3", upstream="pg2", connection_options={"target_session_attrs": "read-write"})),
        ],
        {"inventory-connection-option": ("pg3", "its upstream is a standby, so it would never connect")},
    ),
    (
        "unequal majors",
        lambda: [primary(), standby(instance={"version": "16", "layout": "debian"})],
        {"versions": ("PostgreSQL 15 on pg1", "PostgreSQL 16 on pg2", "one major version")},
    ),
    (
        "unequal architectures",
        lambda: [primary(), standby(host={"architecture": "aarch64"})],
        {"architectures": ("x86_64 on pg1", "aarch64 on pg2")},
    ),
    (
        "unequal blocks",
        lambda: [primary(), standby(control={"block_size": 32768})],
        {"block-sizes": ("8192 on pg1", "32768 on pg2")},
    ),
    (
        "unequal segments",
        lambda: [primary(), standby(control={"wal_segment_bytes": 1048576})],
        {"segment-sizes": ("16777216 on pg1", "1048576 on pg2")},
    ),
    (
        "a stale primary_conninfo",
        lambda: [primary(), standby(stale_settings=stale("primary_conninfo", "host=gone", "host=pg1"))],
        {"stale-setting": ("postgresql.auto.conf line 3", "host=gone", "ALTER SYSTEM RESET primary_conninfo")},
    ),
    (
        "a stale primary_conninfo that happens to be equal",
        lambda: [primary(), standby(stale_settings=stale("primary_conninfo", "host=pg1", "host=pg1"))],
        {"stale-setting": ("pg2",)},
    ),
    (
        "another stale setting of a standby",
        lambda: [primary(), standby(stale_settings=stale("recovery_target_timeline", "current"))],
        {"stale-setting": ("ALTER SYSTEM RESET recovery_target_timeline",)},
    ),
    (
        "a recovery target in a file of the primary",
        lambda: [primary(recovery_ends=[end("recovery_target_time", "file", "/etc/conf.d/20-pitr.conf")]), standby()],
        {"recovery-ends": ("pg1", "/etc/conf.d/20-pitr.conf line 3", "Take that line out of /etc/conf.d/20-pitr.conf")},
    ),
    (
        "a recovery target that ALTER SYSTEM wrote, of a standby, is told once",
        lambda: [
            primary(),
            standby(
                recovery_ends=[end("recovery_target_xid", "auto", "/data/postgresql.auto.conf")],
                stale_settings=stale("recovery_target_xid", "7"),
            ),
        ],
        {"recovery-ends": ("pg2", "ALTER SYSTEM RESET recovery_target_xid")},
    ),
    (
        "a library that the standby alone lacks",
        lambda: [
            primary(next_start={"problems": [], "restarts": ["shared_preload_libraries"]}),
            standby(next_start={"problems": ["There is no library x. Install it."], "restarts": []}),
        ],
        {"inventory-start": ("pg2", "no library x", "Install it.")},
    ),
    (
        "recovery.signal",
        lambda: [primary(), standby(recovery_ends=[dict(end("recovery.signal", "signal", "/data/recovery.signal"))])],
        {"recovery-ends": ("/data/recovery.signal", "delete that file")},
    ),
    (
        "a command that the inventory asks for and that cannot run",
        lambda: [
            primary(),
            asking_for(standby(recovery_ends=[end("restore_command", "managed", "/x")]), restore_command="x %f %p"),
        ],
        {"recovery-ends": ("pg2", "Correct it in the inventory")},
    ),
    (
        "the primary was not read",
        lambda: [host("pg1", "primary"), standby()],
        {"primary-unread": ("pg1, the primary of cluster 'main', could not be read", "Make it reachable")},
    ),
    (
        "no host was read",
        lambda: [host("pg1", "primary"), host("pg2")],
        {"primary-unread": ("could not be read, so nothing is known",)},
    ),
    (
        "the primary was not read, and another runs",
        lambda: [host("pg1", "primary"), primary("pg2", "standby"), standby("pg3")],
        {"primary-unread": ("while pg2 runs as a primary", "pgtandem_on_role_change: follow")},
    ),
    (
        "the same with follow, on the smaller side",
        lambda: follow(host("pg1", "primary"), primary("pg2", "standby"), host("pg3"), host("pg4"), standby("pg5")),
        {"primary-unread": ("fewer than half", "pg1, pg3, pg4")},
    ),
    (
        "the same with follow, and a standby still streams from the unread one",
        lambda: follow(host("pg1", "primary"), primary("pg2", "standby"), standby("pg3", wal_receiver=receiver("pg1"))),
        {"two-primaries": ("still sends WAL to pg3", "pg2 is a primary too")},
    ),
    (
        "the primary was not read, and two others run",
        lambda: follow(host("pg1", "primary"), primary("pg2", "standby"), primary("pg3", "standby")),
        {"two-primaries": ("pg2", "pg3")},
    ),
    (
        "the primary is stopped and a standby was not read",
        lambda: [primary(running=False), host("pg2")],
        {"unread-could-be-primary": ("pg2 may have been promoted", "two primaries")},
    ),
    (
        "the primary is to be made and a standby was not read",
        lambda: [empty(host("pg1", "primary")), host("pg2")],
        {"unread-could-be-primary": ("Data may be where nobody could look", "pg2")},
    ),
    (
        "the primary is to be made beside data",
        lambda: [empty(host("pg1", "primary")), standby()],
        {"primary-empty": ("pg1", "A new cluster beside existing data")},
    ),
    (
        "a Patroni that is down",
        lambda: [primary(patroni="/etc/postgresql/15/main/postgresql.conf", patroni_running=False), standby()],
        {"host-patroni": ("no Patroni runs", "patroni_handover.yml")},
    ),
    (
        "the primary's disk is not mounted",
        lambda: [_unmounted(empty(host("pg1", "primary"))), empty(host("pg2"))],
        {"primary-unmounted": ("pg1", "may not be mounted", "pg_dropcluster 15 main")},
    ),
    (
        "the primary's disk is not mounted, and a standby has its data",
        lambda: [_unmounted(empty(host("pg1", "primary"))), standby()],
        {"primary-unmounted": ("pg1", "may not be mounted", "pg2: ", "failover.yml")},
    ),
    (
        "a Python that packages do not reach",
        lambda: [_in_venv(empty(host("pg1", "primary")))],
        {"host-psycopg": ("/opt/venv/bin/python", "ansible_python_interpreter")},
    ),
    (
        "many at once",
        lambda: [with_parameters(primary(), wal_keep_segments=8), standby(system_identifier=OTHER)],
        {"inventory-parameter": ("wal_keep_size",), "foreign-system": ("pg2",)},
    ),
]


def _unmounted(node: Node) -> Node:
    node["status"]["instance"]["instance"] = "main"
    node["status"]["data_directory"]["expected_by"] = "/etc/postgresql/15/main/postgresql.conf"
    return node


def _in_venv(node: Node) -> Node:
    node["status"]["host"].update(psycopg=None, python_path="/opt/venv/bin/python", packages_serve_python=False)
    return node


def _foreign(node: Node) -> Node:
    node["status"]["data_directory"].update(state="foreign", description="/data holds files that are not PostgreSQL's")
    return node


@pytest.mark.parametrize(("nodes", "expected"), [row[1:] for row in STOPS], ids=[row[0] for row in STOPS])
def test_the_gate_stops(nodes: t.Callable[[], list[Node]], expected: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ReplicationError) as caught:
        settle(nodes())
    reasons = caught.value.details["reasons"]
    assert list(dict.fromkeys(reason["id"] for reason in reasons)) == list(expected), caught.value.message
    for kind, words in expected.items():
        texts = [reason["text"] for reason in reasons if reason["id"] == kind]
        # Where there is one reason it says all of it.
        assert [word for word in words if not any(word in text for text in texts)] == [], texts
    for reason in reasons:
        assert reason["text"] in caught.value.message
        assert reason["text"] == f"{reason['evidence']} {reason['remedy']}"
        assert reason["evidence"].endswith((".", ")")) and reason["remedy"].endswith(".")
    assert caught.value.message.startswith("Nothing was changed.")


#: What is there, who is the primary then, and the words of the notes.
GOES_ON: list[tuple[str, t.Callable[[], list[Node]], str, tuple[str, ...]]] = [
    ("all is new", lambda: [empty(host("pg1", "primary")), empty(host("pg2"))], "pg1", ()),
    ("all is well", lambda: [primary(), standby()], "pg1", ()),
    ("all are stopped", lambda: [primary(running=False), standby(running=False)], "pg1", ()),
    ("a new standby", lambda: [primary(), empty(host("pg2"))], "pg1", ()),
    (
        "the primary moved, with follow",
        lambda: follow(standby("pg1", "primary"), primary("pg2", "standby")),
        "pg2",
        ("pg2 is the primary",),
    ),
    ("a standby was not read", lambda: [primary(), host("pg2")], "pg1", ("pg2 could not be read", "left as it is")),
    (
        "no standby was read, and nothing is deleted",
        lambda: [primary(), host("pg2"), host("pg3")],
        "pg1",
        ("pg2 could not", "pg3 could not"),
    ),
    (
        "the primary is down, another was promoted, with follow and most hosts",
        lambda: follow(host("pg1", "primary"), primary("pg2", "standby"), standby("pg3", wal_receiver=receiver("pg2"))),
        "pg2",
        ("pg1 could not be read", "pg2 is the primary"),
    ),
    (
        "another collation library",
        lambda: [
            primary(collation={"provider": "c", "locale": "de_DE.UTF-8", "version": "2.31"}),
            standby(collation={"provider": "c", "locale": "de_DE.UTF-8", "version": "2.36"}),
        ],
        "pg1",
        ("version 2.31 on pg1", "version 2.36 on pg2", "REINDEX"),
    ),
    (
        "a command that the run is about to replace",
        lambda: [
            primary(),
            asking_for(
                standby(recovery_ends=[end("restore_command", "managed", "/m"), end("restore_command", "file", "/x")]),
                restore_command="cp /a/%f %p",
            ),
        ],
        "pg1",
        (),
    ),
    (
        "a stale setting of a primary waits",
        lambda: [primary(stale_settings=stale("primary_conninfo", "host=gone")), standby()],
        "pg1",
        (),
    ),
    (
        "a setting that changes nothing",
        lambda: [primary(), standby(stale_settings=stale("primary_slot_name", "pg2", "pg2"))],
        "pg1",
        (),
    ),
    ("a standby that was behind the fork", lambda: [primary(**FORKED), standby()], "pg1", ()),
    (
        "a streaming standby read after its primary",
        lambda: [
            primary(),
            standby(wal_receiver=receiver("pg1"), positions={"receive": "0/5000100", "replay": "0/5000100"}),
        ],
        "pg1",
        (),
    ),
]


@pytest.mark.parametrize(("nodes", "expected", "notes"), [row[1:] for row in GOES_ON], ids=[row[0] for row in GOES_ON])
def test_the_gate_opens(nodes: t.Callable[[], list[Node]], expected: str, notes: tuple[str, ...]) -> None:
    topology = settle(nodes())
    assert topology["clusters"]["main"]["primary"] == expected
    assert topology["nodes"][expected]["role"] == "primary"
    assert [name for name, plan in topology["nodes"].items() if plan["role"] == "primary"] == [expected]
    told = " ".join(topology["notes"])
    assert all(note in told for note in notes) and bool(told) == bool(notes), told


def test_a_message_says_why_a_host_was_not_read() -> None:
    lost = dict(host("pg1", "primary"), unread_reason="No route to host")
    with pytest.raises(
        ReplicationError, match=r"pg1, the primary .* could not be read, .* follow \(No route to host\)"
    ):
        settle([lost, standby()])


def test_a_playbook_can_accept_the_state_that_is_its_job() -> None:
    nodes = [standby("pg1", "primary"), standby()]
    topology = settle(nodes, accept=["no-primary"])
    assert topology["clusters"]["main"]["primary"] is None and topology["nodes"] == {}
    assert [problem["id"] for problem in topology["clusters"]["main"]["accepted"]] == ["no-primary"]
    with pytest.raises(ReplicationError):
        settle(nodes, accept=["diverged"])


def test_clusters_are_judged_each_for_itself() -> None:
    other = primary("pg3", "primary", system_identifier=OTHER)
    other["cluster"] = "second"
    topology = settle([primary(), standby(), other])
    assert {name: found["primary"] for name, found in topology["clusters"].items()} == {"main": "pg1", "second": "pg3"}


@pytest.mark.parametrize(
    ("read", "unread", "enough"),
    [(1, 0, True), (1, 1, True), (1, 2, False), (2, 1, True), (0, 1, False), (0, 0, False)],
)
def test_quorum_is_half_of_the_hosts(read: int, unread: int, enough: bool) -> None:
    nodes = [primary(f"pg{n}") for n in range(read)] + [host(f"pg{9 - n}") for n in range(unread)]
    assert quorum(nodes) is enough


def on(timeline: int | None, position: str, forks: dict[str, str] | None, **changes: t.Any) -> dict[str, t.Any]:
    told = {
        "timeline": timeline,
        "timeline_history": None if forks is None else history(**forks),
        "positions": {"receive": position, "replay": "0/1"},
        "wal_receiver": None,
        **changes,
    }
    return t.cast("dict[str, t.Any]", standby(**told)["status"])


PRIMARY_3 = {"timeline": 3, "timeline_history": history(t1="0/5000000", t2="0/7000000")}


@pytest.mark.parametrize(
    ("theirs", "ours", "word"),
    [
        pytest.param({}, on(1, "0/4000000", {}), None, id="behind on one timeline"),
        pytest.param({}, on(1, "0/5000000", {}), None, id="level"),
        pytest.param({}, on(1, "0/5000060", {}), "only at 0/5000000", id="ahead of the primary"),
        pytest.param(PRIMARY_3, on(1, "0/5000000", {}), None, id="at the fork"),
        pytest.param(PRIMARY_3, on(1, "0/5000001", {}), "beyond 0/5000000", id="one byte beyond the fork"),
        pytest.param(PRIMARY_3, on(2, "0/6000000", {"t1": "0/5000000"}), None, id="behind the second fork"),
        pytest.param(PRIMARY_3, on(2, "0/8000000", {"t1": "0/5000000"}), "beyond 0/7000000", id="beyond the second"),
        pytest.param(PRIMARY_3, on(4, "0/6000000", {"t1": "0/5000000"}), "only on timeline 3", id="newer timeline"),
        pytest.param(
            {"timeline": 3, "timeline_history": history(t1="0/5000000")},
            on(2, "0/5000100", {"t1": "0/5000000"}),
            "did not come from",
            id="sibling timeline",
        ),
        pytest.param(
            {"timeline": 2, "timeline_history": history(t1="0/5000000")},
            on(2, "0/4900100", {"t1": "0/4900000"}),
            "left timeline 1 at 0/4900000 and at 0/5000000",
            id="both promoted by themselves",
        ),
        pytest.param({"timeline": 3, "timeline_history": None}, on(1, "0/9000000", {}), None, id="history is gone"),
        pytest.param({}, on(None, "0/0", {}), None, id="timeline is not known"),
        pytest.param(
            PRIMARY_3,
            on(
                1, "0/1", {}, running=False,
                control={"checkpoint_lsn": "0/4000000", "minimum_recovery_lsn": "0/5000100"},
            ),  # fmt: skip
            "0/5000100",
            id="stopped beyond the fork",
        ),
        pytest.param(
            PRIMARY_3,
            on(1, "0/1", {}, running=False, control={"checkpoint_lsn": "0/5000000", "state": "shut down"}),
            "not before 0/5000000",
            id="its last record begins at the fork",
        ),
        pytest.param(
            PRIMARY_3,
            on(1, "0/1", {}, running=False, control={"checkpoint_lsn": "0/4000000", "state": "in production"}),
            "was killed while it wrote timeline 1",
            id="killed as a primary",
        ),
        pytest.param(
            PRIMARY_3,
            on(1, "0/1", {}, running=False, control={"checkpoint_lsn": "0/4000000", "state": "shut down"}),
            None,
            id="shut down as a primary",
        ),
    ],
)  # fmt: skip
def test_divergence(theirs: dict[str, t.Any], ours: dict[str, t.Any], word: str | None) -> None:
    found = divergence(primary(**theirs)["status"], ours)
    assert (word in found) if word and found else (found is None and word is None), found
