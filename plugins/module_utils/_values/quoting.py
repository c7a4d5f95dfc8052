# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Every quoting rule of PostgreSQL that the collection needs, each in one function.

Sources: the manual's Connection Strings, The Password File, and Parameter Interaction via the Configuration File.
"""

from __future__ import annotations

import re

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.identities import shown
from ansible_collections.pgtandem.replication.plugins.module_utils._values.secrets import mask_secrets

_OPTION_NAME = re.compile(r"[a-z_]+")
#: What separates options for libpq, whatever else Unicode calls white space.
_SPACES = " \t\n\v\f\r"
_ASSIGNMENT = re.compile(r"([a-z_]+)[ \t\n\v\f\r]*=[ \t\n\v\f\r]*")
_PLAIN_CONNINFO = re.compile(r"^[A-Za-z0-9_.:/,+-]+\Z")


def quote_conninfo(value: str) -> str:
    r"""One value of a connection string.

    >>> print(quote_conninfo("it's \\ here"), quote_conninfo("10.12.12.10"))
    'it\'s \\ here' 10.12.12.10
    """
    if "\0" in value:
        raise ReplicationError("A connection string cannot hold a NUL.")
    if _PLAIN_CONNINFO.match(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def format_conninfo(options: dict[str, str]) -> str:
    """A connection string in the given order; a password has no place in it.

    >>> format_conninfo({"host": "pg1", "port": "5432", "application_name": "pg 2"})
    "host=pg1 port=5432 application_name='pg 2'"
    """
    if "password" in options:
        raise ReplicationError("A password does not belong in a connection string; it goes into a password file.")
    wrong = [name for name in options if not _OPTION_NAME.fullmatch(name)]
    if wrong:
        raise ReplicationError(f"{shown(wrong[0])} is not the name of an option of libpq.")
    return " ".join(f"{name}={quote_conninfo(value)}" for name, value in options.items() if value != "")


def parse_conninfo(text: str) -> dict[str, str]:
    r"""The options of a keyword/value connection string.

    >>> parse_conninfo("host=pg1 application_name = 'it\\'s'")
    {'host': 'pg1', 'application_name': "it's"}
    """
    options: dict[str, str] = {}
    position = 0
    while position < len(text):
        if text[position] in _SPACES:
            position += 1
            continue
        match = _ASSIGNMENT.match(text, position)
        if not match:
            # Not shown: where it is broken, or a URI, nobody can tell which part of it is the password.
            raise ReplicationError(
                "This is not a connection string of the form name=value"
                + (f"; it was understood up to {', '.join(options)}." if options else ".")
            )
        position = match.end()
        value = []
        quoted = position < len(text) and text[position] == "'"
        position += int(quoted)
        while position < len(text):
            char = text[position]
            if char == "\\":
                position += 1
                # At the end of the text there is nothing for it to keep, and libpq drops it.
                char = text[position : position + 1]
            elif char == "'" if quoted else char in _SPACES:
                break
            value.append(char)
            position += 1
        position += int(quoted)
        options[match.group(1)] = "".join(value)
    return options


def redact_conninfo(text: str) -> str:
    r"""The same connection string, or command, with every secret in it struck out.

    >>> redact_conninfo("host=a password='b \\' c' user=d")
    'host=a password=*** user=d'
    """
    text = re.sub(r"(password\s*=\s*)(?:'(?:\\.|[^'\\])*'?|(?:\\.|\S)+)", r"\1***", text, flags=re.DOTALL)
    return mask_secrets(re.sub(r"(\bpostgres(?:ql)?://[^/?:@\s]*:)[^/?\s]*@", r"\1***@", text))


def quote_setting(value: str) -> str:
    r"""A value in postgresql.conf, postgresql.auto.conf or recovery.conf.

    >>> print(quote_setting("application_name='a\\b'"))
    'application_name=''a\\b'''
    """
    if any(char in value for char in "\n\r\0"):
        raise ReplicationError("A server parameter's value cannot hold a line break or a NUL.")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def quote_passfile(value: str) -> str:
    r"""One field of a password file.

    >>> print(quote_passfile("a:b\\c"))
    a\:b\\c
    """
    if any(char in value for char in "\n\r\0"):
        raise ReplicationError("A password with a line break or a NUL cannot be written to a password file.")
    return value.replace("\\", "\\\\").replace(":", "\\:")


def passfile_line(*, host: str, port: int, user: str, password: str) -> str:
    """A line of a password file. The database is C(*), since replication connections match only C(replication)."""
    return ":".join([quote_passfile(host), str(port), "*", quote_passfile(user), quote_passfile(password)])


def quote_identifier(name: str) -> str:
    """An SQL identifier.

    >>> quote_identifier('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'
