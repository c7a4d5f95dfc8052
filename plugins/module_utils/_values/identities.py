# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What addresses, names, accounts and paths may be: every value of an inventory that reaches a file's syntax, a
program's arguments or a path. The gate asks for all of them before anything is touched, each module for its own.

Not what would be possible in each place with quotes, but what all places take: pg_hba.conf, connection strings,
password files, certificates, systemd units, and the shell that pg_ctl hands paths to.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.text import breaks_lines, printable, shorten

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
#: A name of a host. Its last label is not a number, since the resolver would read 10.0.0 or 0x7f.1 as an address.
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?\Z){_LABEL}\.?")
#: Words that mean many hosts in pg_hba.conf.
_MANY_HOSTS = ("all", "samehost", "samenet")
_SCOPE = re.compile(r"[A-Za-z0-9_.-]+")

_INSTANCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
#: systemd.unit(5), Description; systemctl would take a leading hyphen for an option.
_SERVICE = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}\$?")
#: Letters that the shell reads even between double quotes, where pg_ctl puts paths.
_SHELL = re.compile(r"[\"$`\\]")

#: NAMEDATALEN - 1: of a longer name the server keeps only the begin, and would match another role.
_ROLE_BYTES = 63
#: Words of pg_hba.conf and SQL that mean something else than a role of that name.
_ROLE_WORDS = ("all", "current_role", "current_user", "none", "public", "replication", "session_user")


def is_address(text: str) -> bool:
    """Whether it is an IP address, with a zone at most.

    >>> is_address("10.0.0.1"), is_address("fe80::1"), is_address("10.0.0.1/32"), is_address("pg1")
    (True, True, False, False)
    """
    address, zoned, scope = text.partition("%")
    if zoned and not (_SCOPE.fullmatch(scope) and ":" in address):
        return False
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def is_host_name(text: str) -> bool:
    """Whether it is the name of one host.

    >>> is_host_name("pg1.example.com"), is_host_name("samenet"), is_host_name("10.0.0.300"), is_host_name(".local")
    (True, False, False, False)
    """
    return len(text) <= 253 and text.lower() not in _MANY_HOSTS and _HOST_NAME.fullmatch(text) is not None


def _is_one_line(text: str) -> bool:
    return not breaks_lines(text)


def _is_path(text: str) -> bool:
    return text.startswith("/") and _is_one_line(text) and not _SHELL.search(text) and text == text.strip()


def _is_role(text: str) -> bool:
    return (
        0 < len(text.encode("utf-8", "surrogateescape")) <= _ROLE_BYTES
        and _is_one_line(text)
        and text.lower() not in _ROLE_WORDS
        and not text.startswith(("pg_", "+", "/", "@"))
        and not set(text) & set('",')
    )


class Kind(t.NamedTuple):
    """What a value may be."""

    fits: t.Callable[[str], bool]
    #: What it is, after `it is`.
    description: str


_ADDRESS = Kind(lambda text: is_address(text) or is_host_name(text), "one IP address or one host's name")
_PATH = Kind(
    _is_path,
    "an absolute path without control characters, quotation marks, dollar signs, backquotes and backslashes",
)
_LINE = Kind(_is_one_line, "one line of text without control characters")

#: Variables by their names without the prefix.
KINDS: dict[str, Kind] = {
    "address": _ADDRESS,
    "cluster": _LINE,
    "instance": Kind(lambda text: _INSTANCE.fullmatch(text) is not None, "made of letters, digits, -, _ and ."),
    "service": Kind(lambda text: _SERVICE.fullmatch(text) is not None, "the name of a systemd unit"),
    "os_user": Kind(lambda text: _ACCOUNT.fullmatch(text) is not None, "the name of an account"),
    "replication_user": Kind(
        _is_role,
        f"the name of one role, of at most {_ROLE_BYTES} bytes, that is not a word of pg_hba.conf, does not begin with "
        "pg_, +, / or @, and holds no comma, quotation mark or control character",
    ),
    "login_user": _LINE,
    **dict.fromkeys(
        (
            "bin_directory",
            "client_bin_directory",
            "config_directory",
            "data_directory",
            "log_file",
            "passfile",
        ),
        _PATH,
    ),
}


def value_problem(name: str, value: str) -> str | None:
    """A sentence for what a variable cannot be; None where all is well, or nothing is said.

    >>> value_problem("address", "10.0.0.1"), value_problem("passfile", "")
    (None, None)
    >>> value_problem("address", "10.0.0.1/32 trust #")
    "pgtandem_address is '10.0.0.1/32 trust #'; it is to be one IP address or one host's name."
    """
    if not value or KINDS[name].fits(value):
        return None
    return f"pgtandem_{name} is {shown(value)}; it is to be {KINDS[name].description}."


def value_problems(values: t.Mapping[str, t.Any]) -> list[str]:
    """Sentences for all variables that cannot be; what is no text of a known kind is judged elsewhere."""
    found = [value_problem(name, value) for name, value in values.items() if name in KINDS and isinstance(value, str)]
    return [sentence for sentence in found if sentence]


def shown(value: str) -> str:
    """A value for a message, in quotes, however it was built."""
    return f"'{printable(shorten(value, 200))}'"
