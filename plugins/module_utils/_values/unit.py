# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Values in a systemd unit: systemd.syntax(7), systemd.service(5) "Command lines", systemd.exec(5) "Environment".

Three things give letters a meaning there: specifiers (`%h`) in nearly every value, variables (`$HOME`) in command
lines, and quotes with C's escapes where a value is split into words. A backslash at the end of a line goes on in the
next one, and nothing can hold a line break.
"""

from __future__ import annotations

import re

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.text import breaks_lines, printable

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=,+@-]+")
#: systemd refuses quotes and backslashes. A dollar sign would begin a variable in the program's first argument and not
#: in its path.
_NOT_OF_PROGRAMS = re.compile("[\"'\\\\$]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _require_writable(value: str) -> None:
    if breaks_lines(value):
        raise ReplicationError(
            f"A systemd unit cannot hold {printable(value)!r}: it has a control character in it. Correct the variable "
            "that it is from."
        )


def plain_value(value: str) -> str:
    """A value that is read whole: `Description=`, `User=`, `WorkingDirectory=`, `PIDFile=`.

    >>> plain_value("100% sure")
    '100%% sure'
    """
    _require_writable(value)
    if value != value.strip() or value.endswith("\\"):
        raise ReplicationError(
            f"A systemd unit cannot hold {value!r}: white space at its ends is lost, and a backslash at the end joins "
            "it with the next line. Correct the variable that it is from."
        )
    return value.replace("%", "%%")


def word(value: str) -> str:
    r"""A word of a value that is split into words but knows no variables.

    >>> print(word("/srv/a b"), word("/srv/50%"), word('say "x"'))
    "/srv/a b" "/srv/50%%" "say \"x\""
    """
    _require_writable(value)
    if _PLAIN_WORD.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def argument(value: str) -> str:
    """A word after the first of `ExecStart=` and its kind.

    >>> print(argument("--options=-c x='$y'"))
    "--options=-c x='$$y'"
    """
    return word(value).replace("$", "$$")


def program(path: str) -> str:
    """The first word of `ExecStart=` and its kind: an absolute path, so that no letter of it is one of the prefixes
    that change how the program runs (`+` as root, `!`, `-`, `:`, `@`).

    >>> print(program("/usr/lib/postgresql/15/bin/pg_ctl"), program("/srv/my pg/bin/postgres"))
    /usr/lib/postgresql/15/bin/pg_ctl "/srv/my pg/bin/postgres"
    """
    if not path.startswith("/") or _NOT_OF_PROGRAMS.search(path):
        raise ReplicationError(
            f"A systemd unit cannot run {printable(path)!r}: a program is an absolute path without quotes, backslashes "
            "and dollar signs. Correct pgtandem_bin_directory."
        )
    return word(path)


def command_line(path: str, *arguments: str) -> str:
    """What `ExecStart=` and its kind run.

    >>> command_line("/usr/bin/postgres", "-D", "/srv/a b", "$HOME")
    '/usr/bin/postgres -D "/srv/a b" "$$HOME"'
    """
    return " ".join([program(path), *(argument(one) for one in arguments)])


def environment(name: str, value: str) -> str:
    """An assignment of `Environment=`; a dollar sign has no meaning there.

    >>> environment("PGDATA", "/srv/a b")
    '"PGDATA=/srv/a b"'
    """
    if not _VARIABLE.fullmatch(name):
        raise ReplicationError(f"{printable(name)!r} is not a name of an environment variable.")
    return word(f"{name}={value}")
