# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quoting rules, there and back."""

from __future__ import annotations

import io
import re

import psycopg2.extensions
import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import parse_lines, render_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import (
    format_conninfo,
    parse_conninfo,
    passfile_line,
    quote_conninfo,
    quote_identifier,
    quote_passfile,
    quote_setting,
    redact_conninfo,
)
from hypothesis import given
from hypothesis import strategies as st
from pgtoolkit import conf, pgpass

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


# --- Property: what is written is read as it was meant, by ours and by others' parsers, or refused ---

HOSTILE = st.text(st.sampled_from("ab'\"\\=:#%,@$ \t\n\r\v\0\xa0\u2028é"), max_size=14) | st.text(
    st.characters(exclude_categories=["Cs"])
)


@given(HOSTILE, HOSTILE)
def test_libpq_reads_a_connection_string_as_it_was_meant(user: str, name: str) -> None:
    options = {"host": "pg1", "user": user, "application_name": name, "port": "5432"}
    try:
        text = format_conninfo(options)
    except ReplicationError:
        assert "\0" in user + name
        return
    meant = {key: value for key, value in options.items() if value != ""}
    assert parse_conninfo(text) == psycopg2.extensions.parse_dsn(text) == meant


@given(st.text(st.sampled_from("abe'\\= \t\n\xa0\u2003"), max_size=20))
def test_a_connection_string_is_read_as_libpq_reads_it(text: str) -> None:
    """Also one that somebody else wrote."""
    text = f"host=a user={text}"
    try:
        read = psycopg2.extensions.parse_dsn(text)
    except psycopg2.ProgrammingError:
        return
    assert parse_conninfo(text) == read


@pytest.mark.parametrize("name", ["host=evil x", "a b", "a'", "", "Host", "a\n"])
def test_a_name_of_an_option_is_plain(name: str) -> None:
    with pytest.raises(ReplicationError, match="not the name"):
        format_conninfo({name: "x"})


@given(HOSTILE)
def test_a_setting_is_one_line_that_means_it(value: str) -> None:
    try:
        text = render_settings({"archive_command": value, "port": "1"}, ("header",))
    except ReplicationError:
        assert re.search("[\n\r\0]", value)
        return
    assert [(one.name, one.value) for one in parse_lines(text, "/x")] == [("archive_command", value), ("port", "1")]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="#\\\x85\u2028\u2029")))
def test_pgtoolkit_reads_a_setting_as_it_was_meant(value: str) -> None:
    """It knows neither escapes with a backslash nor a # in quotes, which the server does."""
    # A number, a size or a switch it would make one of.
    read = conf.parse(io.StringIO(render_settings({"restore_command": f"cp {value}"}, ())))
    assert {name: entry.value for name, entry in read.entries.items()} == {"restore_command": f"cp {value}"}


@pytest.mark.parametrize("name", ["a b", "a = 1\nport", "a'", "", "1a", "a..b", "a\n"])
def test_a_name_of_a_parameter_is_plain(name: str) -> None:
    with pytest.raises(ReplicationError, match="not a parameter's name"):
        render_settings({name: "x"}, ())


def fields_of(line: str) -> list[str]:
    """What libpq makes of a line (passwordFromFile, pwdfMatchesString in fe-connect.c)."""
    fields = [""]
    position = 0
    while position < len(line):
        if line[position] == "\\" and position + 1 < len(line):
            position += 1
            fields[-1] += line[position]
        elif line[position] == ":":
            fields.append("")
        else:
            fields[-1] += line[position]
        position += 1
    return fields


@given(HOSTILE, HOSTILE)
def test_a_line_of_a_password_file_is_read_as_it_was_meant(user: str, password: str) -> None:
    try:
        line = passfile_line(host="fe80::1", port=5432, user=user, password=password)
    except ReplicationError:
        assert re.search("[\n\r\0]", user + password)
        return
    assert "\n" not in line
    assert fields_of(line) == ["fe80::1", "5432", "*", user, password]
    # It takes an empty password for none, white space at the end away, and a colon next to an escaped one for nothing.
    line = passfile_line(host="pg1", port=5432, user=user, password=password)
    if user and password and line == line.strip() and ":" not in user + password:
        entry = pgpass.PassEntry.parse(line)
        assert (entry.hostname, entry.database, entry.username, entry.password) == ("pg1", "*", user, password)
