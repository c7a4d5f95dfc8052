# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts as the gate and the report see them, for tests: what is not said is sound."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import empty_status
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import node_from

SYSTEM = "7711038405245197515"
Node = t.Dict[str, t.Any]


def history(**forks: str) -> list[dict[str, t.Any]]:
    """C(t1="0/5000000") says that timeline 1 was left there."""
    return [{"timeline": int(name[1:]), "lsn": lsn, "reason": ""} for name, lsn in forks.items()]


def host(name: str, group: str = "standby", **variables: t.Any) -> Node:
    """A host of the inventory that was not read."""
    values = {"pgtandem_replication_password": "secret", "pgtandem_address": f"10.0.0.{name[-1]}"}
    values.update({f"pgtandem_{key}": value for key, value in variables.items()})
    return node_from(name, values.get, {group: [name]})


def empty(node: Node) -> Node:
    """The host was read, and nothing is there yet."""
    status = empty_status()
    status.update(installed=True, instance={"version": "15", "layout": "debian", "bin_directory": "/usr/bin"})
    status["host"].update(psycopg="psycopg2", architecture="x86_64", packages_serve_python=True)
    status["data_directory"].update(path="/data", state="empty", description="/data is empty")
    node["status"] = status
    return node


def seen(node: Node, role: str, **changes: t.Any) -> Node:
    """The host was read, and holds a primary or a standby; C(changes) are keys of the status, merged into it."""
    status = empty(node)["status"]
    status.update(
        running=True,
        accepts_connections=True,
        role=role,
        major="15",
        server_version=150018,
        timeline=1,
        timeline_history=[],
        system_identifier=SYSTEM,
    )
    status["settings"].update(data_directory="/data")
    status["control"] = {"block_size": 8192, "wal_segment_bytes": 16777216, "floors": {}}
    status["settings"].update(
        hot_standby="on", wal_level="replica", max_wal_senders="10", max_replication_slots="10", wal_log_hints="on"
    )
    if role == "primary":
        status["positions"].update(current="0/5000000", flush="0/5000000", insert="0/5000000")
    else:
        status["positions"].update(receive="0/5000000", replay="0/5000000")
        status["replay"].update(paused=False, lag_bytes=0, lag_seconds=0)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(status.get(key), dict):
            status[key] = {**status[key], **value}
        else:
            status[key] = value
    where = "running as process 4711" if status["running"] else "not running"
    status["data_directory"].update(
        state=role, description=f"/data holds a {role} of system {status['system_identifier']} (PostgreSQL 15, {where})"
    )
    if not status["running"]:
        status.update(accepts_connections=False, positions=dict.fromkeys(status["positions"]))
    return node


def sender(name: str, **changes: t.Any) -> dict[str, t.Any]:
    """A row of pg_stat_replication."""
    row = {
        "application_name": name,
        "client_addr": "10.0.0.2",
        "client_port": 40000,
        "pid": 1,
        "state": "streaming",
        "sync_state": "async",
        "sent_lsn": "0/5000000",
        "write_lsn": "0/5000000",
        "flush_lsn": "0/5000000",
        "replay_lsn": "0/5000000",
        "lag_bytes": 0,
        "replay_lag_seconds": None,
        "slot_name": None,
        "process": "postgres: walsender replica 10.0.0.2(40000) streaming 0/5000000",
    }
    return {**row, **changes}


def receiver(upstream: str, **changes: t.Any) -> dict[str, t.Any]:
    """The row of pg_stat_wal_receiver of a standby that follows a host of these tests."""
    row = {
        "status": "streaming",
        "sender_host": f"10.0.0.{upstream[-1]}",
        "sender_port": 5432,
        "local_port": 40000,
        "received_tli": 1,
        "slot_name": None,
        "process": "postgres: walreceiver streaming 0/5000000",
    }
    return {**row, **changes}


def slot(name: str, **changes: t.Any) -> dict[str, t.Any]:
    """A row of pg_replication_slots."""
    row = {
        "slot_name": name,
        "slot_type": "physical",
        "temporary": False,
        "active": True,
        "active_pid": 1,
        "restart_lsn": "0/5000000",
        "wal_status": "reserved",
        "safe_wal_size": None,
        "retained_bytes": 0,
    }
    return {**row, **changes}


def samples(*names: str) -> list[dict[str, t.Any]]:
    """Five looks at a server with standbys."""
    return [
        {
            "seconds": float(second),
            "lag_bytes": 1000 * second,
            "lag_seconds": 0.0,
            "standbys": [
                {"application_name": name, "lag_bytes": 40000 * number * second, "lag_seconds": None}
                for number, name in enumerate(names, 1)
            ],
        }
        for second in range(5)
    ]


def cascade() -> list[Node]:
    """Three levels, a synchronous standby, and several things that are wrong."""
    system = {"data_checksums": "on"}
    primary = seen(
        host("pg1", "primary"),
        "primary",
        wal_senders=[
            sender("pg2", sync_state="sync", slot_name="pg2", client_port=40002, pid=12, lag_bytes=0),
            sender(
                "pg3",
                slot_name="pg3",
                client_port=40003,
                pid=13,
                client_addr="10.0.0.3",
                lag_bytes=1536,
                replay_lsn="0/4FFFA00",
            ),
            sender("<other> & co", client_port=40009, pid=19, client_addr="10.0.0.9"),
        ],
        slots=[slot("pg2"), slot("pg3"), slot("gone", active=False, retained_bytes=3 * 1024**3)],
        settings={**system, "synchronous_standby_names": "FIRST 1 (pg2)", "work_mem": None, "server_version": "15.18"},
        pending_restart=["max_connections"],
    )
    primary["samples"] = samples("pg2", "pg3")
    second = seen(
        host("pg2"),
        "standby",
        wal_receiver=receiver("pg1", local_port=40002, slot_name="pg2"),
        upstream={"host": "10.0.0.1", "port": 5432},
        wal_senders=[sender("pg4", client_port=40004, pid=24, client_addr="10.0.0.4")],
        settings={**system, "server_version": "15.18"},
    )
    second["samples"] = samples("pg4")
    third = seen(
        host("pg3"),
        "standby",
        wal_receiver=receiver("pg1", local_port=40003, slot_name="pg3"),
        upstream={"host": "10.0.0.1", "port": 5432},
        replay={"paused": True, "lag_bytes": 1536, "lag_seconds": 75.5},
        positions={"receive": "0/5000000", "replay": "0/4FFFA00"},
        settings={**system, "max_wal_senders": "2", "server_version": "15.17"},
    )
    fourth = seen(
        host("pg4", upstream="pg2"),
        "standby",
        wal_receiver=receiver("pg2", local_port=40004),
        upstream={"host": "10.0.0.2", "port": 5432},
        settings={**system, "server_version": "15.18"},
    )
    fifth = seen(
        host("a-very-long-name-<b>&.example.com5", upstream="pg4"),
        "standby",
        upstream={"host": "10.0.0.4", "port": 5432},
        settings={**system, "server_version": "15.18"},
        positions={"receive": "0/4000000", "replay": "0/4000000"},
    )
    lost = dict(host("pg6"), unread_reason="ssh: connect to host 10.0.0.6 port 22: No route to host")
    return [primary, second, third, fourth, fifth, lost]
