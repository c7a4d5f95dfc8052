# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The managed block of pg_hba.conf (manual, The pg_hba.conf File): pure text in, text out.

The server takes the first line that matches, so the block goes to the top of a file that does not have it yet, and
stays where it is in one that does. Everything outside the block belongs to the user and is kept to the letter.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._quoting import quote_identifier

BEGIN = "# BEGIN pgtandem.replication (managed: changes between these marks are lost)"
END = "# END pgtandem.replication"

_TYPES = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
#: Words that mean something to the server in the database or user field, and so are never quoted.
_KEYWORDS = ("all", "replication", "sameuser", "samerole", "samegroup")


class HbaRule(t.NamedTuple):
    """One line. C(address) is empty for C(local)."""

    type: str
    database: str
    user: str
    address: str
    method: str
    options: str = ""


def _field(text: str) -> str:
    if text in _KEYWORDS or re.match(r"^[+]?[A-Za-z0-9_,]+\Z", text):
        return text
    # Inside quotes the plus sign would be a letter of the name.
    return "+" + quote_identifier(text[1:]) if text.startswith("+") else quote_identifier(text)


def peer_address(text: str) -> str:
    """An address or a name as the address field wants it: one host, nothing wider.

    >>> peer_address("10.12.12.12"), peer_address("fe80::1"), peer_address("pg1.example.com")
    ('10.12.12.12/32', 'fe80::1/128', 'pg1.example.com')
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    return f"{address}/{address.max_prefixlen}"


def _matches(field: t.Sequence[str] | None, name: str) -> bool | None:
    """Whether a list of names has one; None where groups or patterns would have to be asked about."""
    names = field or ["all"]
    if "all" in names or name in names:
        return True
    return None if any(other.startswith(("+", "/")) for other in names) else False


def _within(rule: t.Mapping[str, t.Any], address: str) -> bool | None:
    """Whether a rule's address has one; None where names or the server's own networks would have to be known."""
    if rule["address"] == "all":
        return True
    if not rule["netmask"]:
        return None
    try:
        # ipaddress knows no masks of IPv6 in letters, so the ones are counted.
        ones = bin(int(ipaddress.ip_address(rule["netmask"]))).count("1")
        network = ipaddress.ip_network(f"{rule['address']}/{ones}", strict=False)
    except ValueError:
        return None
    return ipaddress.ip_address(address) in network


def admits_replication(rules: t.Iterable[t.Mapping[str, t.Any]], *, user: str, address: str) -> bool | None:
    """Whether rows of pg_hba_file_rules about replication let a role in from an address: the first that matches
    decides (manual, The pg_hba.conf File). None where that takes more than the rows say.

    >>> rule = {"type": "host", "user_name": ["all"], "address": "10.0.0.0", "netmask": "255.0.0.0", "error": None}
    >>> admits_replication([dict(rule, auth_method="md5")], user="replica", address="10.0.0.2")
    True
    >>> admits_replication([dict(rule, auth_method="reject")], user="replica", address="10.0.0.2")
    False
    """
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return None
    for rule in rules:
        if rule["error"]:
            # The server went on with the rules that it had before.
            return None
        if rule["type"] == "local":
            continue
        found = (_matches(rule["user_name"], user), _within(rule, address))
        if False in found:
            continue
        if None in found:
            return None
        refuses = rule["auth_method"] == "reject"
        # Whether the connection will be encrypted is not known here; that it may come in is what counts.
        return None if refuses and rule["type"] != "host" else not refuses
    return False


def rule_from(values: t.Mapping[str, t.Any]) -> HbaRule:
    """A rule as the user wrote it, with what can be known to be wrong refused; the server judges the rest."""
    known = ("type", "database", "user", "address", "method", "options")
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ReplicationError(f"A rule for pg_hba.conf has no {', '.join(unknown)}; it has {', '.join(known)}.")
    rule = HbaRule(**{name: str(values.get(name) or "") for name in known})
    rule = rule._replace(type=rule.type or "host", database=rule.database or "all", user=rule.user or "all")
    if rule.type not in _TYPES:
        raise ReplicationError(f"{rule.type!r} is no connection type of pg_hba.conf; those are {', '.join(_TYPES)}.")
    if not rule.method:
        raise ReplicationError(f"The rule for pg_hba.conf {dict(values)} has no method, such as scram-sha-256.")
    if (rule.type == "local") == bool(rule.address):
        raise ReplicationError(
            f"The rule for pg_hba.conf {dict(values)} "
            + ("is local, so it has no address." if rule.type == "local" else "needs an address, such as 10.0.0.0/8.")
        )
    if any(char in field for field in rule for char in "\n\r"):
        raise ReplicationError("A rule for pg_hba.conf cannot hold a line break.")
    return rule


def render_rule(rule: HbaRule) -> str:
    """The rule as a line.

    >>> render_rule(HbaRule("host", "replication", "replica", "10.12.12.12/32", "scram-sha-256"))
    'host replication replica 10.12.12.12/32 scram-sha-256'
    """
    fields = [rule.type, _field(rule.database), _field(rule.user), rule.address, rule.method, rule.options]
    return " ".join(field for field in fields if field)


class IdentRule(t.NamedTuple):
    """A line of pg_ident.conf: who the system says it is, and the role that this may log in as."""

    map: str
    system_user: str
    role: str


def render_ident(rule: IdentRule) -> str:
    """The rule as a line; every field in quotes, in which a name that begins with a slash is no expression from 16 on.

    >>> render_ident(IdentRule("pgtandem", "pg2.example.com", "replica"))
    'pgtandem "pg2.example.com" "replica"'
    """
    for field in rule:
        if any(char in field for char in '\n\r"'):
            raise ReplicationError("A name in pg_ident.conf cannot hold a line break or a double quote. Rename it.")
    return f'{rule.map} "{rule.system_user}" "{rule.role}"'


def replace_block(text: str, rules: t.Sequence[HbaRule]) -> str:
    """pg_hba.conf with its managed block holding exactly these rules."""
    return _replaced(text, [render_rule(rule) for rule in rules], "pg_hba.conf")


def replace_ident_block(text: str, rules: t.Sequence[IdentRule]) -> str:
    """pg_ident.conf likewise; a file that needs no block and has none stays as it is."""
    if not rules and BEGIN not in text:
        return text
    return _replaced(text, [render_ident(rule) for rule in rules], "pg_ident.conf")


def _replaced(text: str, rendered: t.Sequence[str], name: str) -> str:
    block = "\n".join([BEGIN, *rendered, END]) + "\n"
    lines = text.splitlines(keepends=True)
    marks = [line.rstrip("\r\n") for line in lines]
    begins, ends = marks.count(BEGIN), marks.count(END)
    if begins == 0 and ends == 0:
        return block + text
    if begins != 1 or ends != 1 or marks.index(END) < marks.index(BEGIN):
        raise ReplicationError(
            f"The marks of the managed block in {name} are damaged. It needs exactly one line "
            f"'{BEGIN}' and after it one line '{END}', or neither of them."
        )
    first, last = marks.index(BEGIN), marks.index(END)
    return "".join(lines[:first]) + block + "".join(lines[last + 1 :])
