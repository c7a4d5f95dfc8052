# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replication as its users see it: what is written on the primary is read on the standby."""

from __future__ import annotations

import secrets
import typing as t

import pytest
from outside import eventually

if t.TYPE_CHECKING:
    from outside import Node


def test_a_primary_takes_writes(primary: Node) -> None:
    assert primary.psql("select pg_is_in_recovery()") == "f"
    assert primary.psql("show transaction_read_only") == "off"


def test_a_row_arrives(standby: Node) -> None:
    if standby.delayed:
        pytest.skip("it is late on purpose")
    word = secrets.token_hex(8)
    source = head_of(standby)
    source.psql(f"create table if not exists lab_probe (word text); insert into lab_probe values ('{word}')")
    try:
        count = f"select count(*) from lab_probe where word = '{word}'"
        arrived = eventually(lambda: standby.try_psql(count).stdout.strip() == "1")
        assert arrived, f"{standby} does not have the row that was written on {source}"
    finally:
        source.psql("drop table lab_probe")


def test_a_standby_takes_no_writes(standby: Node) -> None:
    outcome = standby.try_psql("create table lab_refused (word text)")
    assert outcome.rc != 0
    assert "read-only transaction" in outcome.stderr


def test_all_are_one_system(standby: Node) -> None:
    identifier = "select system_identifier from pg_control_system()"
    assert standby.psql(identifier) == standby.upstream.psql(identifier)


def test_the_upstream_names_the_standby(standby: Node) -> None:
    rows = f"select state from pg_stat_replication where client_addr = '{standby.address}'"
    states = eventually(lambda: "streaming" in standby.upstream.psql(rows).split())
    assert states, standby.upstream.psql("select client_addr, state from pg_stat_replication")


def test_the_standby_names_its_upstream(standby: Node) -> None:
    assert eventually(lambda: standby.psql("select status from pg_stat_wal_receiver") == "streaming")
    if standby.major >= 11:
        there = standby.psql("select sender_host || ' ' || sender_port from pg_stat_wal_receiver")
        assert there == f"{standby.upstream.address} {standby.upstream.port}"


def test_the_replication_role_may_replicate_and_nothing_more(primary: Node) -> None:
    rights = primary.psql(
        "select rolcanlogin, rolreplication, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls "
        f"from pg_roles where rolname = '{primary.replication_user}'"
    )
    assert rights == "t|t|f|f|f|f"


def head_of(node: Node) -> Node:
    """Return the primary at the head of a chain of standbys."""
    while node.psql("select pg_is_in_recovery()") == "t":
        node = node.upstream
    return node
