# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tree that a run ends with."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.plugin_utils._tree import bytes_text, render


def plan(name: str, upstream: str | None, *downstream: str) -> dict[str, t.Any]:
    return {
        "cluster": "main",
        "role": "standby" if upstream else "primary",
        "address": f"10.0.0.{name[-1]}",
        "port": 5432,
        "application_name": name,
        "upstream": {"name": upstream} if upstream else None,
        "downstream": list(downstream),
    }


def status(role: str | None, **more: t.Any) -> dict[str, t.Any]:
    return {
        "role": role,
        "running": True,
        "timeline": 2,
        "system_identifier": "77",
        "major": "17",
        "positions": {"current": "0/804", "replay": "0/4"},
        "data_directory": {"description": "/data is empty"},
        "wal_receiver": None,
        "wal_senders": [],
        **more,
    }


def test_every_kind_of_line() -> None:
    plans = {
        "pg1": plan("pg1", None, "pg2", "pg4", "pg5"),
        "pg2": plan("pg2", "pg1", "pg3"),
        "pg3": plan("pg3", "pg2"),
        "pg4": plan("pg4", "pg1"),
        "pg5": plan("pg5", "pg1"),
    }
    row = {"application_name": "pg2", "sync_state": "sync", "lag_bytes": 2048}
    lines = render(
        plans,
        {
            "pg1": status("primary", wal_senders=[row]),
            "pg2": status("standby", wal_receiver={"status": "streaming"}),
            "pg3": status("standby"),
            "pg4": status(None, running=False),
            "pg5": None,
        },
    )
    assert lines == [
        "cluster main  PostgreSQL 17  system 77",
        "pg1  10.0.0.1:5432  primary  timeline 2  at 0/804",
        "├─ pg2  10.0.0.2:5432  standby  timeline 2  replayed 0/4  streaming  sync, lag 2.0 kB",
        "│  └─ pg3  10.0.0.3:5432  standby  timeline 2  replayed 0/4  not streaming",
        "├─ pg4  10.0.0.4:5432  no server, not running (/data is empty)",
        "└─ pg5  10.0.0.5:5432  not read",
    ]


def test_an_unread_primary_has_a_tree() -> None:
    assert render({"pg1": plan("pg1", None)}, {}) == [
        "cluster main  PostgreSQL ?  system unknown",
        "pg1  10.0.0.1:5432  not read",
    ]


def test_sizes() -> None:
    assert [bytes_text(1023), bytes_text(1024**4)] == ["1023 B", "1.0 TB"]
