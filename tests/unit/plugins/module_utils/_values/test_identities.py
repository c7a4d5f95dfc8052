# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What addresses, names, accounts and paths may be."""

from __future__ import annotations

import re

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.identities import (
    KINDS,
    is_address,
    is_host_name,
    value_problem,
    value_problems,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD = {
    "address": ["10.0.0.1", "::1", "fe80::1%eth0", "pg1", "PG-1.example.com", "pg_1", "1pg", "pg1.example.com."],
    "cluster": ["main", "the main one", "größe"],
    "instance": ["main", "15-main", "a.b_c"],
    "service": ["none", "postgresql@15-main", "postgresql-15", "my\\x2dunit"],
    "os_user": ["postgres", "_pg", "svc-pg@example.com", "pg$"],
    "replication_user": ["replica", "Replica User", "größe", "a-b", "all_of_them", "repl'ica", "a" * 63],
    "login_user": ["postgres"],
    "bin_directory": ["/usr/lib/postgresql/15/bin"],
    "data_directory": ["/srv/a b/50%", "/srv/größe/it's", "/srv/#1"],
}  # fmt: skip
BAD = {
    "address": [
        "10.0.0.1/32 trust #", "10.0.0.1/32", "10.0.0.0/8", "10.0.0.300", "10.1", "1", "0x7f.1", "0x", "all", "SAMENET",
        "samehost", ".example.com", "pg1,pg2", "/tmp", "@abstract", "pg1\n", "pg 1", "pg1#", "-pg", "pg-", "größe",
        "fe80::1%a b", "fe80::1%", "10.0.0.1%eth0", "fe80::1%a\nb", "a..b", "a" * 64, "*.example.com", "|x", "{{ x }}",
    ],
    "cluster": ["a\nb", "a\x1b[2J", "a\u2028b", "a\0"],
    "instance": ["../x", "a/b", ".x", "-x", "a b", "a\n", "a%h", "a@b"],
    "service": ["-x", "a b", "a/b", "a\n", "a%h", "a;b"],
    "os_user": ["-x", "root\nGroup=root", "a b", "a:b", "a/b", "%u", "postgres\n"],
    "replication_user": [
        "all", "ALL", "replication", "public", "pg_monitor", "+staff", "/x", "@x", "a,b", 'a"b', "a\n", "a\0", "a" * 64,
        "ä" * 32,
    ],
    "data_directory": [
        "data", "/a\nExecStartPre=+/bin/sh", "/a\r", "/a\0", "/$(id)", "/`id`", '/a"b', "/a\\b",
        "/a ", "/a\x1b", "/a\udcff",
    ],
    "log_file": ["/x\n"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_what_can_be_is_taken(name: str, value: str) -> None:
    assert value_problem(name, value) is None


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_what_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    found = value_problem(name, value)
    assert found and found.startswith(f"pgtandem_{name} is '")
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\ud800-\udfff]", found), "the message itself would steer a terminal"


def test_all_problems_are_found_at_once() -> None:
    values = {"address": "a b", "passfile": "x", "port": 5432, "layout": "auto", "instance": "main"}
    assert [text.split()[0] for text in value_problems(values)] == ["pgtandem_address", "pgtandem_passfile"]


@given(st.sampled_from(sorted(KINDS)), st.text())
def test_nothing_that_is_taken_breaks_a_line(name: str, value: str) -> None:
    if value and value_problem(name, value) is None:
        assert not re.search("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]", value)


@given(st.ip_addresses().map(str))
def test_every_ip_address_is_one(address: str) -> None:
    assert is_address(address) and value_problem("address", address) is None


@given(st.text(st.sampled_from("aZ09.-_ /%#,@\n:*"), max_size=12))
def test_a_host_name_holds_no_letter_of_a_syntax(name: str) -> None:
    if is_host_name(name):
        assert re.fullmatch(r"[aZ09._-]+", name) and not name.startswith((".", "-"))
