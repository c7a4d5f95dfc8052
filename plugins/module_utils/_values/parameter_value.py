# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Values of parameters from YAML as the server reads them (manual, Setting Parameters; ALTER SYSTEM)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError

#: Parameters whose elements are identifiers: what is not in quotes is read in lower case.
_IDENTIFIERS = frozenset({"search_path", "temp_tablespaces"})
#: Those whose elements are files and folders. Before 12 libraries were identifiers.
_FILES = frozenset(
    {
        "local_preload_libraries",
        "session_preload_libraries",
        "shared_preload_libraries",
        "unix_socket_directories",
    }
)
#: Those with a grammar of their own, in which names of standbys are identifiers as well.
_STANDBYS = frozenset({"synchronous_standby_names", "synchronized_standby_slots"})
#: What stays as it is without quotes, of each kind; of names of standbys also what is more than a name.
_PLAIN = {
    **dict.fromkeys(_IDENTIFIERS, re.compile(r"[a-z_][a-z0-9_$]*|\$user")),
    **dict.fromkeys(_FILES, re.compile(r"[a-z0-9_$./@+-]+")),
    **dict.fromkeys(_STANDBYS, re.compile(r"[a-z_][a-z0-9_$]*|\*|.*[()].*")),
}


def as_text(value: t.Any) -> str:
    """A value from YAML as the server reads it.

    >>> as_text(True), as_text(300), as_text("64MB")
    ('on', '300', '64MB')
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def parameter_text(name: str, value: t.Any) -> str:
    """The value of a parameter; a list is written as ALTER SYSTEM writes several values.

    >>> parameter_text("search_path", ["$user", "App", "public"])
    '$user, "App", public'
    >>> parameter_text("shared_preload_libraries", ["pg_stat_statements", "auto_explain"])
    'pg_stat_statements, auto_explain'
    >>> parameter_text("synchronous_standby_names", ["pg-2", "pg3"])
    '"pg-2", pg3'
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(_element(name, element) for element in value)
    if value is None or isinstance(value, dict):
        raise ReplicationError(f"{name} is {'null' if value is None else 'a dictionary'}, which is not a value.")
    return as_text(value)


def _element(name: str, value: t.Any) -> str:
    if value is None or isinstance(value, (dict, list, tuple)):
        kind = "null" if value is None else "a dictionary" if isinstance(value, dict) else "a list"
        raise ReplicationError(f"{name} is a list that holds {kind}; its elements are single values.")
    text = as_text(value)
    plain = _PLAIN.get(name)
    if plain is None or plain.fullmatch(text) or (len(text) > 1 and text[0] == text[-1] == '"'):
        return text
    return '"' + text.replace('"', '""') + '"'


def parameter_texts(parameters: t.Mapping[str, t.Any]) -> tuple[dict[str, str], list[str]]:
    """Parameters under their names in lower case, and sentences for those that cannot be. What is null is not set.

    >>> parameter_texts({"Work_Mem": "8MB", "search_path": None, "fsync": {}})
    ({'work_mem': '8MB'}, ['fsync is a dictionary, which is not a value.'])
    """
    texts, problems = {}, []
    for key, value in parameters.items():
        name = str(key).lower()
        if value is None:
            continue
        try:
            texts[name] = parameter_text(name, value)
        except ReplicationError as error:
            problems.append(error.message)
    return texts, problems
