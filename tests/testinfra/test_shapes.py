# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Standbys that differ: late on purpose, with an archive; and clusters that share hosts."""

from __future__ import annotations

import secrets
import typing as t

import pytest
from outside import Node, eventually, group
from test_data import head_of


def test_a_late_standby_has_what_it_does_not_show(standby: Node) -> None:
    if not standby.delayed:
        pytest.skip("it is not late on purpose")
    name, source = f"late_{secrets.token_hex(4)}", head_of(standby)
    source.psql(f"create table {name} ()")
    try:
        position = source.psql("select pg_current_wal_lsn()")
        received = eventually(lambda: standby.psql(f"select pg_last_wal_receive_lsn() >= '{position}'") == "t")
        assert received and standby.psql(f"select to_regclass('{name}') is null") == "t"
    finally:
        source.psql(f"drop table {name}")


def test_what_was_archived_is_there(standby: Node) -> None:
    """The table is there after side_effect.yml alone; before that the standby has to agree that it is not."""
    if "pgtandem_restore_command" not in standby.vars:
        pytest.skip("it has no archive")
    there = "select to_regclass('filled') is not null"
    if head_of(standby).psql(there) == "t":
        rows = "select count(*) from filled"
        assert eventually(lambda: standby.psql(rows) == head_of(standby).psql(rows))
    else:
        assert standby.psql(there) == "f"


def test_no_slot_is_lost(node: Node) -> None:
    if node.major >= 13:
        assert node.psql("select count(*) from pg_replication_slots where wal_status in ('lost', 'unreserved')") == "0"


def test_clusters_that_share_a_run_are_apart() -> None:
    systems: dict[str, set[str]] = {}
    for name in t.cast("list[str]", group("primary")):
        node = Node(name)
        systems.setdefault(node.psql("select system_identifier from pg_control_system()"), set()).add(node.cluster)
    assert all(len(clusters) == 1 for clusters in systems.values()), systems
