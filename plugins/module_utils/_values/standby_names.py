# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The value of C(synchronous_standby_names), written and read (manual, Synchronous Replication)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import quote_identifier
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

_TOKEN = re.compile(r'\s*(?:("(?:[^"]|"")*")|([(),])|([^\s,()"]+))')


class StandbyNames(t.NamedTuple):
    """For whom a commit waits: C(first) takes them in order, C(any) whichever answer first."""

    mode: str
    number: int
    names: tuple[str, ...]


def render_names(wanted: StandbyNames, version: int) -> str:
    """The value for a version. Names are quoted, since one with a hyphen, or called any, would not be read otherwise.

    >>> render_names(StandbyNames("any", 2, ("pg-2", "pg3")), 150000)
    'ANY 2 ("pg-2", "pg3")'
    >>> render_names(StandbyNames("first", 1, ("pg2",)), 90600)
    '1 ("pg2")'
    >>> render_names(StandbyNames("first", 1, ("a", "b")), 90400)
    '"a", "b"'
    """
    names = ", ".join(quote_identifier(name) for name in wanted.names)
    if not supports(version, "several_sync_standbys"):
        return names
    keyword = f"{wanted.mode.upper()} " if supports(version, "sync_keywords") else ""
    return f"{keyword}{wanted.number} ({names})"


def _is_count(word: str) -> bool:
    return re.fullmatch("[0-9]{1,10}", word) is not None


def parse_names(text: str) -> StandbyNames | None:
    """What a server was told; None where that is nobody, or nothing that a server would read.

    >>> parse_names('ANY 2 (pg2, "PG-3")')
    StandbyNames(mode='any', number=2, names=('pg2', 'PG-3'))
    >>> parse_names("*"), parse_names(" ")
    (StandbyNames(mode='first', number=1, names=('*',)), None)
    """
    words: list[tuple[str, bool]] = []
    position = 0
    text = text.strip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            return None
        quoted, sign, bare = found.groups()
        words.append((quoted[1:-1].replace('""', '"'), True) if quoted else (sign or bare, False))
        position = found.end()
    mode, count = "first", 1
    if (
        words
        and not words[0][1]
        and words[0][0].lower() in ("any", "first")
        and len(words) > 1
        and _is_count(words[1][0])
    ):
        mode = words[0][0].lower()
        words = words[1:]
    if len(words) > 1 and _is_count(words[0][0]) and words[1] == ("(", False):
        count = int(words[0][0])
        words = words[1:]
    names = tuple(word for word, quoted in words if quoted or word not in ("(", ")", ","))
    return StandbyNames(mode, count, names) if names else None


def meanwhile(current: StandbyNames | None, wanted: StandbyNames | None) -> StandbyNames | None:
    """What holds from the begin of a run until its standbys are proven: nobody new, nobody who is to go, and no more of
    them than before, so that no commit waits for a standby that may not be there."""
    if current is None or wanted is None:
        return None
    known = {name.lower() for name in current.names}
    kept = tuple(name for name in wanted.names if "*" in known or name.lower() in known)
    count = min(current.number, wanted.number, len(kept))
    return StandbyNames(wanted.mode, count, kept) if kept else None
