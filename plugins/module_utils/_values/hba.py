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
from ansible_collections.pgtandem.replication.plugins.module_utils._values.identities import (
    is_address,
    is_host_name,
    shown,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import quote_identifier
from ansible_collections.pgtandem.replication.plugins.module_utils._values.text import breaks_lines

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


#: Names, or several with commas between them; the plus sign says that members of a group are meant.
_PLAIN_FIELD = re.compile(r"[+]?[A-Za-z0-9_]+(?:,[+]?[A-Za-z0-9_]+)*")
_METHOD = re.compile(r"[a-z][a-z0-9-]*")
#: name=value, with the value or all of it in quotes; a # outside them would begin a comment, an @ name a file.
_OPTION = r"""(?:"[a-z0-9_]+=[^"]*"|[a-z0-9_]+=(?:"[^"]*"|[^\s"#])*)"""
_OPTIONS = re.compile(rf"(?:{_OPTION}(?: +{_OPTION})*)?")
_SUFFIX = re.compile(r"\.(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+")


def _field(text: str) -> str:
    if text in _KEYWORDS or _PLAIN_FIELD.fullmatch(text):
        return text
    # Inside quotes the plus sign would be a letter of the name.
    return "+" + quote_identifier(text[1:]) if text.startswith("+") else quote_identifier(text)


def peer_address(text: str) -> str:
    """An address or a name as the address field wants it: one host, nothing wider.

    >>> peer_address("10.12.12.12"), peer_address("fe80::1"), peer_address("pg1.example.com")
    ('10.12.12.12/32', 'fe80::1/128', 'pg1.example.com')
    """
    if is_address(text):
        plain, zoned, scope = text.partition("%")
        address = ipaddress.ip_address(plain)
        return f"{address}{zoned}{scope}/{address.max_prefixlen}"
    if is_host_name(text):
        return text
    raise ReplicationError(
        f"{shown(text)} is neither one IP address nor one host's name, so it cannot be in pg_hba.conf. Correct "
        "pgtandem_address."
    )


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
    if any(breaks_lines(field) for field in rule):
        raise ReplicationError("A rule for pg_hba.conf cannot hold a line break or another control character.")
    if not (rule.type == "local" or _is_address_field(rule.address)):
        raise ReplicationError(
            f"{shown(rule.address)} is not an address of pg_hba.conf: it has one IP address, one network such as "
            "10.0.0.0/8, one host's name, or one of all, samehost, samenet."
        )
    if not _METHOD.fullmatch(rule.method):
        raise ReplicationError(f"{shown(rule.method)} is not a method of pg_hba.conf, such as scram-sha-256.")
    if not _OPTIONS.fullmatch(rule.options) or rule.options.endswith("\\"):
        raise ReplicationError(
            f"{shown(rule.options)} are not options of pg_hba.conf: those are name=value, with spaces between them, "
            "and a value with a space or a # is in double quotes."
        )
    return rule


def _is_address_field(text: str) -> bool:
    """One address or network, with the mask behind the slash or after a space, a name, or the end of one."""
    if text in ("all", "samehost", "samenet") or is_host_name(text) or _SUFFIX.fullmatch(text):
        return True
    if text.count(" ") == 1:
        address, mask = text.split(" ")
        return is_address(address) and is_address(mask) and _bits(address) == _bits(mask)
    address, slash, width = text.partition("/")
    if not (is_address(address) and slash):
        return is_address(text)
    return width.isascii() and width.isdigit() and len(width) <= 3 and int(width) <= _bits(address)


def _bits(address: str) -> int:
    return ipaddress.ip_address(address.partition("%")[0]).max_prefixlen


def with_addresses(rules: t.Sequence[HbaRule], addresses: t.Mapping[str, t.Sequence[str]]) -> list[HbaRule]:
    """The rules, and behind each of a name the same ones of the addresses that it is to stand for as well.

    >>> rule = HbaRule("host", "replication", "replica", "pg2", "scram-sha-256")
    >>> [one.address for one in with_addresses([rule], {"pg2": ["10.0.0.2"]})]
    ['pg2', '10.0.0.2/32']
    """
    found = []
    for rule in rules:
        found += [rule, *(rule._replace(address=peer_address(one)) for one in addresses.get(rule.address, ()))]
    return list(dict.fromkeys(found))


def addresses_beside(text: str, rules: t.Sequence[HbaRule], name: str) -> list[str]:
    """The addresses that an earlier run wrote for a name into the managed block.

    >>> rule = HbaRule("host", "replication", "replica", "pg2", "scram-sha-256")
    >>> addresses_beside(replace_block("", with_addresses([rule], {"pg2": ["10.0.0.2"]})), [rule], "pg2")
    ['10.0.0.2']
    """
    known = {rule.address for rule in rules}
    lines = text.partition(BEGIN)[2].partition(END)[0].splitlines()
    named = next((render_rule(rule) for rule in rules if rule.address == name), None)
    if named is None or named not in lines:
        return []
    found = []
    for line in lines[lines.index(named) + 1 :]:
        address = (line.split() + [""] * 4)[3]
        if address in known or not is_address(address.partition("/")[0]):
            break
        found.append(address.partition("/")[0])
    return found


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
    """The rule as a line; both names in quotes, so that nothing in them is a keyword or a list.

    >>> render_ident(IdentRule("pgtandem", "pg2.example.com", "replica"))
    'pgtandem "pg2.example.com" "replica"'
    """
    for field in rule:
        if breaks_lines(field) or '"' in field or field.startswith("/"):
            raise ReplicationError(
                f"The name {shown(field)} cannot be in pg_ident.conf: there is no way to write control characters and "
                "double quotes, and a slash at the begin would make an expression of it. Rename it."
            )
    if not re.fullmatch(r"[A-Za-z0-9_]+", rule.map):
        raise ReplicationError(f"{shown(rule.map)} is not the name of a map of pg_ident.conf.")
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
