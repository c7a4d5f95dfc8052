# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quoting rules, there and back."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._conf import parse_lines
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._quoting import (
    format_conninfo,
    parse_conninfo,
    passfile_line,
    quote_conninfo,
    quote_identifier,
    quote_passfile,
    quote_setting,
    redact_conninfo,
)

#: Values that were tried on real servers, in a connection string, a password file and a parameter.
VALUES = [
    "plain", " ", "'", "\\",
    "it's", "trailing\\", ":", '"', "#", "%", "a=b", "a\tb", " lead", "trail ", "päß 日本'\\x",
    "\ufb01", "x" * 202, "{{ x }}", "$HOME",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_a_connection_string_is_read_as_it_was_written(value: str) -> None:
    assert parse_conninfo(f"host=a user={quote_conninfo(value)} port=1") == {"host": "a", "user": value, "port": "1"}


@pytest.mark.parametrize("value", VALUES)
def test_a_setting_is_read_as_it_was_written(value: str) -> None:
    conninfo = format_conninfo({"host": "pg1", "application_name": value})
    (setting,) = parse_lines(f"primary_conninfo = {quote_setting(conninfo)}", "/x")
    assert parse_conninfo(setting.value)["application_name"] == value


def test_both_rules_together_write_what_the_server_writes() -> None:
    assert quote_setting("password=" + quote_conninfo("päß 日本'\\x")) == r"'password=''päß 日本\\''\\\\x'''"


def test_a_line_break_is_never_plain() -> None:
    assert quote_conninfo("a\n") == "'a\n'"


@pytest.mark.parametrize("write", [quote_setting, quote_passfile])
@pytest.mark.parametrize("value", ["a\nb", "a\r", "\n"])
def test_line_breaks_are_refused(write: object, value: str) -> None:
    with pytest.raises(ReplicationError):
        write(value)  # type: ignore[operator]


def test_a_password_has_no_place_in_a_connection_string() -> None:
    with pytest.raises(ReplicationError) as refused:
        format_conninfo({"host": "a", "password": "geheim"})
    assert "geheim" not in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "password=geheim",
        "password = 'geheim it\\'s geheim' host=a",
        "host=a password=ge\\ heim,geheim",
        "password='geheim\ngeheim",
        "password='a\\\ngeheim'",
        "sslpassword=geheim",
        "postgresql://replica:geheim@pg1:5432/postgres",
        "postgres://replica:ge@geheim@pg1?x=y",
    ],
)
def test_a_password_is_struck_out(text: str) -> None:
    shown = redact_conninfo(text)
    assert "heim" not in shown and "***" in shown


@pytest.mark.parametrize(
    "text", ["postgresql://replica:geheim@pg1/", "password=my geheim host=a", "geheim", "host=a =geheim"]
)
def test_an_unreadable_connection_string_is_not_shown(text: str) -> None:
    with pytest.raises(ReplicationError) as refused:
        parse_conninfo(text)
    assert "geheim" not in refused.value.message


def test_a_line_of_a_password_file() -> None:
    line = passfile_line(host="fe80::1", port=5432, user="a:b", password="c\\d:e")
    assert line == r"fe80\:\:1:5432:*:a\:b:c\\d\:e"


def test_identifier() -> None:
    assert quote_identifier('a"; DROP') == '"a""; DROP"'
