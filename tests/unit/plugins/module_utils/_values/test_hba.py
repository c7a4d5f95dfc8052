# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The managed block of pg_hba.conf."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import (
    BEGIN,
    END,
    HbaRule,
    IdentRule,
    addresses_beside,
    admits_replication,
    peer_address,
    render_ident,
    render_rule,
    replace_block,
    rule_from,
    with_addresses,
)
from hypothesis import given
from hypothesis import strategies as st
from pgtoolkit import hba

RULE = HbaRule("host", "replication", "replica", "10.0.0.2/32", "scram-sha-256")
BLOCK = f"{BEGIN}\nhost replication replica 10.0.0.2/32 scram-sha-256\n{END}\n"
USERS_OWN = "# mine\nlocal all all peer\n\nhost  all  all  10.0.0.0/8\tmd5 # old\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", BLOCK, id="empty"),
        pytest.param(USERS_OWN, BLOCK + USERS_OWN, id="first-time-on-top"),
        pytest.param(BLOCK + USERS_OWN, BLOCK + USERS_OWN, id="as-it-is"),
        pytest.param(f"# a\n{BEGIN}\nold\n{END}\n# b", f"# a\n{BLOCK}# b", id="in-its-place"),
        pytest.param(f"# a\r\n{BEGIN}\r\n{END}\r\n# b\r\n", f"# a\r\n{BLOCK}# b\r\n", id="the-users-line-ends"),
        pytest.param(f"# a\n{BEGIN}\n{END}", f"# a\n{BLOCK}", id="no-line-end-at-the-end"),
        pytest.param("# ä\x85\u2028b\n", BLOCK + "# ä\x85\u2028b\n", id="other-letters"),
    ],
)
def test_the_block_is_replaced_and_the_rest_kept(before: str, after: str) -> None:
    assert replace_block(before, [RULE]) == after
    assert replace_block(after, [RULE]) == after


@pytest.mark.parametrize(
    "text", [BEGIN + "\n", END + "\n", f"{END}\n{BEGIN}\n", BLOCK + BLOCK, f"{BEGIN}\n{BEGIN}\n{END}\n"]
)
def test_damaged_marks_stop_the_run(text: str) -> None:
    with pytest.raises(ReplicationError, match="marks"):
        replace_block(text, [RULE])


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        pytest.param(RULE._replace(user="pg-2"), 'host replication "pg-2" 10.0.0.2/32 scram-sha-256', id="quoted"),
        pytest.param(RULE._replace(user='a"b'), 'host replication "a""b" 10.0.0.2/32 scram-sha-256', id="quote"),
        pytest.param(RULE._replace(user="+team"), "host replication +team 10.0.0.2/32 scram-sha-256", id="group"),
        pytest.param(
            RULE._replace(user="+my team"), 'host replication +"my team" 10.0.0.2/32 scram-sha-256', id="group-quoted"
        ),
        pytest.param(HbaRule("local", "all", "all", "", "peer", "map=m"), "local all all peer map=m", id="local"),
    ],
)
def test_a_rule_as_a_line(rule: HbaRule, line: str) -> None:
    assert render_rule(rule) == line


@pytest.mark.parametrize(
    ("address", "written"),
    [("10.0.0.2", "10.0.0.2/32"), ("fe80::1", "fe80::1/128"), ("pg1", "pg1"), ("fe80::1%eth0", "fe80::1%eth0/128")],
)
def test_a_peer_is_one_host(address: str, written: str) -> None:
    assert peer_address(address) == written


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"method": "trust", "adress": "x"}, "adress"),
        ({"type": "remote", "address": "x", "method": "trust"}, "remote"),
        ({"address": "10.0.0.0/8"}, "no method"),
        ({"method": "md5"}, "needs an address"),
        ({"type": "local", "address": "x", "method": "peer"}, "has no address"),
        ({"address": "10.0.0.0/8", "method": "md5\nlocal all all trust"}, "line break"),
        ({"address": "10.0.0.0/8", "user": "a\nlocal all all trust", "method": "md5"}, "line break"),
        ({"address": "10.0.0.1/32 trust #", "method": "md5"}, "not an address"),
        ({"address": "10.0.0.1 trust", "method": "md5"}, "not an address"),
        ({"address": "@file", "method": "md5"}, "not an address"),
        ({"address": "10.0.0.0/8", "method": "trust #"}, "not a method"),
        ({"address": "10.0.0.0/99", "method": "md5"}, "not an address"),
        ({"address": "fd00::/129", "method": "md5"}, "not an address"),
        ({"address": "10.0.0.0 ffff::", "method": "md5"}, "not an address"),
        ({"address": "10.0.0.0/8", "method": "md5", "options": "map=x # y"}, "not options"),
        ({"address": "10.0.0.0/8", "method": "md5", "options": 'map="x'}, "not options"),
        ({"address": "10.0.0.0/8", "method": "md5", "options": "@file"}, "not options"),
        ({"address": "10.0.0.0/8", "method": "md5", "options": "map=x\\"}, "not options"),
    ],
)
def test_a_wrong_rule_is_refused(values: dict[str, t.Any], text: str) -> None:
    with pytest.raises(ReplicationError, match=text):
        rule_from(values)


@pytest.mark.parametrize(
    "values",
    [
        {"address": "10.0.0.0 255.0.0.0"},
        {"address": ".example.com"},
        {"address": "samenet"},
        {"address": "fe80::/64"},
        {"address": "all", "options": 'ldapserver=x ldapprefix="cn=a b" "ldapsuffix=, dc=#"'},
        {"address": "all", "options": 'radiusservers="a,b" map=m'},
        {"type": "local", "user": "@file"},
    ],
)
def test_a_rule_that_can_be_is_taken(values: dict[str, str]) -> None:
    assert rule_from({**values, "method": "md5"}).method == "md5"


@pytest.mark.parametrize(
    "address", ["10.0.0.1/32 trust #", "all", "SameNet", "10.0.0.1\n", "fe80::1%x y", "10.0.0.0/8"]
)
def test_a_peer_that_is_not_one_host_is_refused(address: str) -> None:
    with pytest.raises(ReplicationError, match="Correct pgtandem_address"):
        peer_address(address)


# --- Property: what is written is read as it was meant, or refused ---

NAMES = st.text(st.sampled_from("abZ09_+@/#,\"'\\ \t\n\r\0%-.é"), min_size=1, max_size=10) | st.sampled_from(
    ["all", "replication", "sameuser", "samegroup", "samerole", "+staff", "@file", "/^a", "a,b", "+a,+b", "#", '"']
)


def tokens_of(line: str) -> list[list[tuple[str, bool]]]:
    """The fields of a line as src/backend/libpq/hba.c (next_token) reads them: each a list of words, with whether the
    word began with a quotation mark."""
    assert "\n" not in line and not line.endswith("\\"), "the line would end early, or go on"
    fields: list[list[tuple[str, bool]]] = []
    position = 0
    goes_on = False
    while position < len(line):
        while position < len(line) and line[position] in " \t\r,":
            position += 1
        if position == len(line) or line[position] == "#":
            break
        text, in_quotes, was_quote, initial, comma = "", False, False, False, False
        while position < len(line) and (line[position] not in " \t\r" or in_quotes):
            char = line[position]
            position += 1
            if char == "#" and not in_quotes:
                position = len(line)
                break
            if char == "," and not in_quotes:
                comma = True
                break
            if char != '"' or was_quote:
                text += char
            was_quote = not was_quote if in_quotes and char == '"' else False
            if char == '"':
                in_quotes = not in_quotes
                initial = initial or not text
        if goes_on:
            fields[-1].append((text, initial))
        else:
            fields.append([(text, initial)])
        goes_on = comma
    return fields


def meant(text: str) -> list[tuple[str, bool]]:
    """What the name in a rule means: keywords and lists of plain names as they are, anything else one name."""
    if text in ("all", "replication", "sameuser", "samerole", "samegroup"):
        return [(text, False)]
    if re.fullmatch(r"[+]?[A-Za-z0-9_]+(,[+]?[A-Za-z0-9_]+)*", text):
        return [(name, False) for name in text.split(",")]
    # The quotation mark after the plus sign is not the first letter, so that the group is meant.
    return [(text, not text.startswith("+"))]


@given(database=NAMES, user=NAMES)
def test_a_rule_is_read_as_it_was_written(database: str, user: str) -> None:
    try:
        rule = rule_from({"database": database, "user": user, "address": "10.0.0.0/8", "method": "md5"})
    except ReplicationError:
        assert re.search("[\x00-\x1f]", database + user)
        return
    read = tokens_of(render_rule(rule))
    assert read == [
        [("host", False)], meant(database), meant(user), [("10.0.0.0/8", False)], [("md5", False)]
    ]  # fmt: skip


@given(st.text(st.sampled_from('aZ09.:-_/%# ,"\n\t@+é'), max_size=14) | st.ip_addresses().map(str))
def test_an_address_is_one_field_of_one_host(address: str) -> None:
    try:
        written = peer_address(address)
    except ReplicationError:
        return
    line = render_rule(HbaRule("host", "all", "all", written, "md5"))
    assert tokens_of(line)[3:] == [[(written, False)], [("md5", False)]]
    (record,) = hba.parse([line])
    assert record.address == written and record.method == "md5"


@given(st.text(st.sampled_from("ab=\"#@\\ ,\n'"), max_size=12))
def test_options_are_one_line(options: str) -> None:
    try:
        rule = rule_from({"address": "all", "method": "md5", "options": options})
    except ReplicationError:
        return
    fields = tokens_of(render_rule(rule))
    assert fields[4] == [("md5", False)]
    # Nothing is lost, as a comment would be.
    read = "".join(word for field in fields[5:] for word, _quoted in field)
    assert sorted(set(read)) == sorted(set(options) - set('" ,') | ({'"'} & set(read)) | ({" ", ","} & set(read)))
    assert all(not word.startswith("@") or quoted for field in fields[5:] for word, quoted in field[:1])


@given(NAMES, NAMES)
def test_a_line_of_pg_ident_is_read_as_it_was_written(name: str, role: str) -> None:
    try:
        line = render_ident(IdentRule("m", name, role))
    except ReplicationError:
        assert re.search('[\x00-\x1f"]|^/', name) or re.search('[\x00-\x1f"]|^/', role)
        return
    assert tokens_of(line) == [[("m", False)], [(name, True)], [(role, True)]]


def test_a_short_rule_is_filled_up() -> None:
    assert rule_from({"address": "10.0.0.0/8", "method": "md5"}) == HbaRule("host", "all", "all", "10.0.0.0/8", "md5")


def seen(address: str, netmask: str | None, method: str = "scram-sha-256", **more: t.Any) -> dict[str, t.Any]:
    """A row of pg_hba_file_rules."""
    row = {"type": "host", "user_name": ["all"], "address": address, "netmask": netmask, "auth_method": method}
    return {**row, "error": None, **more}


ONE, MASK = "10.0.0.2", "255.255.255.255"


@pytest.mark.parametrize(
    ("rules", "address", "admitted"),
    [
        pytest.param([], ONE, False, id="no rule"),
        pytest.param([seen(ONE, MASK)], ONE, True, id="its own"),
        pytest.param([seen("10.0.0.3", MASK)], ONE, False, id="another's"),
        pytest.param([seen("10.0.0.0", "255.255.255.0")], ONE, True, id="its network"),
        pytest.param([seen("all", None)], ONE, True, id="everybody"),
        pytest.param([seen("all", None, "reject"), seen(ONE, MASK)], ONE, False, id="rejected first"),
        pytest.param([seen(ONE, MASK), seen("all", None, "reject")], ONE, True, id="rejected later"),
        pytest.param([seen(ONE, MASK, user_name=["other"])], ONE, False, id="another role"),
        pytest.param([seen(ONE, MASK, user_name=["+staff"])], ONE, None, id="a group"),
        pytest.param([seen(ONE, MASK, user_name=["/^rep"])], ONE, None, id="a pattern"),
        pytest.param([seen(ONE, MASK, user_name=["+staff", "replica"])], ONE, True, id="a group and the role"),
        pytest.param([seen("pg2.example.com", None)], ONE, None, id="a name"),
        pytest.param([seen("samenet", None)], ONE, None, id="the server's networks"),
        pytest.param([seen("", None, type="local")], ONE, False, id="the socket only"),
        pytest.param([seen(ONE, MASK, type="hostssl")], ONE, True, id="with TLS"),
        pytest.param([seen(ONE, MASK, "reject", type="hostnossl")], ONE, None, id="not without TLS"),
        pytest.param([seen(ONE, MASK, error="bad"), seen(ONE, MASK)], ONE, None, id="a broken file"),
        pytest.param([seen(ONE, MASK)], "pg2.example.com", None, id="the peer is a name"),
        pytest.param([seen("fe80::", "ffff:ffff::")], "fe80::2", True, id="IPv6"),
        pytest.param([seen("fe80::", "ffff:ffff::")], ONE, False, id="IPv6 and IPv4"),
    ],
)
def test_who_is_let_in(rules: list[dict[str, t.Any]], address: str, admitted: bool | None) -> None:
    assert admits_replication(rules, user="replica", address=address) is admitted


def test_addresses_stay_beside_a_name_that_cannot_be_looked_up_for_the_moment() -> None:
    rules = [RULE._replace(address="pg2.example"), RULE._replace(address="pg3.example")]
    text = replace_block("", with_addresses(rules, {"pg2.example": ["10.0.0.2", "fd00::2"]}))
    assert addresses_beside(text, rules, "pg2.example") == ["10.0.0.2", "fd00::2"]
    assert addresses_beside(text, rules, "pg3.example") == []
    kept = {name: addresses_beside(text, rules, name) for name in ("pg2.example", "pg3.example")}
    assert replace_block(text, with_addresses(rules, kept)) == text
