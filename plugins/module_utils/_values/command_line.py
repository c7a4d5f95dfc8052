# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Parameters on a server's command line, wherever that is written down (manual, postgres; units)."""

from __future__ import annotations

import os.path
import re
import shlex
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import last_values, parse_lines

#: Options of the server that set a parameter.
_SHORT = {
    "B": "shared_buffers",
    "D": "data_directory",
    "N": "max_connections",
    "S": "work_mem",
    "h": "listen_addresses",
    "k": "unix_socket_directories",
    "p": "port",
}
#: Those that take a value and set none that matters here.
_WITH_VALUE = frozenset("Ccdfortvx-") | frozenset(_SHORT)
#: A unit's command may have these before its program (systemd.service(5)).
_PREFIXES = "@-:+!|"


def settings_of_words(words: t.Sequence[str]) -> dict[str, str]:
    """The parameters in the arguments of the server program, its own name left out.

    >>> settings_of_words(["-D", "/data", "-c", "work_mem=1MB", "--log-statement=all", "-p5433"])
    {'data_directory': '/data', 'work_mem': '1MB', 'log_statement': 'all', 'port': '5433'}
    """
    found: dict[str, str] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        pair = ""
        if word.startswith("--") and len(word) > 2:
            pair = word[2:] if "=" in word else ""
        elif word.startswith("-") and len(word) > 1 and word[1] in _WITH_VALUE:
            value = word[2:] or (left.pop(0) if left else "")
            if word[1] in _SHORT:
                found[_SHORT[word[1]]] = value
            elif word[1] == "c":
                pair = value
        if pair:
            name, _equals, value = pair.partition("=")
            found[name.strip().replace("-", "_").lower()] = value
    return found


def settings_of_command(words: t.Sequence[str]) -> dict[str, str]:
    """The parameters in a command that starts a server, by itself or through pg_ctl.

    >>> settings_of_command(["/usr/bin/pg_ctl", "start", "-o", "-c work_mem=1MB -c port=5433"])
    {'work_mem': '1MB', 'port': '5433'}
    """
    found: dict[str, str] = {}
    for number, word in enumerate(words):
        program = os.path.basename(word)
        if program in ("postgres", "postmaster"):
            return settings_of_words(words[number + 1 :])
        if program == "pg_ctl":
            for options in _options_of_pg_ctl(words[number + 1 :]):
                found.update(settings_of_words(_split(options)))
            return found
    return found


def settings_of_pg_ctl_conf(text: str, path: str) -> dict[str, str]:
    """The parameters in Debian's pg_ctl.conf, which holds options of pg_ctl."""
    setting = last_values(parse_lines(text, path)).get("pg_ctl_options")
    return settings_of_command(["pg_ctl", *_split(setting.value)]) if setting else {}


def settings_of_unit(texts: t.Iterable[str]) -> dict[str, str]:
    """The parameters in the command of a systemd unit; its file first, then its drop-ins in their order."""
    commands: list[str] = []
    for text in texts:
        for line in re.sub(r"\\\n", " ", text).split("\n"):
            key, equals, value = line.strip().partition("=")
            if equals and key.strip() == "ExecStart":
                # An empty one takes back what came before.
                commands = [*commands, value.strip()] if value.strip() else []
    return settings_of_command(_split(commands[-1].lstrip(_PREFIXES))) if commands else {}


def _options_of_pg_ctl(words: t.Sequence[str]) -> t.Iterator[str]:
    for number, word in enumerate(words):
        if word in ("-o", "--options"):
            yield from words[number + 1 : number + 2]
        elif word.startswith("--options="):
            yield word.partition("=")[2]
        elif word.startswith("-o"):
            yield word[2:]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        # Quotes that do not match: whoever starts the server with that hears of it.
        return text.split()
