# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The managed block of pg_hba.conf."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._hba import (
    BEGIN,
    END,
    HbaRule,
    admits_replication,
    peer_address,
    render_rule,
    replace_block,
    rule_from,
)

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
    [("10.0.0.2", "10.0.0.2/32"), ("fe80::1", "fe80::1/128"), ("pg1", "pg1"), ("10.0.0.0/8", "10.0.0.0/8")],
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
    ],
)
def test_a_wrong_rule_is_refused(values: dict[str, t.Any], text: str) -> None:
    with pytest.raises(ReplicationError, match=text):
        rule_from(values)


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
