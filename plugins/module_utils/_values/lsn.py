# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Positions in the write-ahead log (manual, WAL Internals): compared as numbers, never as text."""

from __future__ import annotations

import re

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError

_LSN = re.compile(r"^([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})$")


def parse_lsn(text: str) -> int:
    """The position in bytes. Version 19 pads the second half with zeros, older ones do not.

    >>> parse_lsn("0/3000000") == parse_lsn("0/03000000")
    True
    """
    match = _LSN.match(text.strip())
    if not match:
        raise ReplicationError(f"{text!r} is not a WAL position such as 0/3000060.")
    return (int(match.group(1), 16) << 32) + int(match.group(2), 16)


def is_lsn(text: str) -> bool:
    """Whether a text is a position.

    >>> is_lsn("0/3000060"), is_lsn("x")
    (True, False)
    """
    return _LSN.match(text.strip()) is not None


def format_lsn(position: int) -> str:
    """The usual text of a position.

    >>> format_lsn(parse_lsn("A/0000B10"))
    'A/B10'
    """
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def latest_lsn(*positions: str | None) -> str | None:
    """The last of those that are known, None where none is.

    >>> latest_lsn("0/9", None, "0/10"), latest_lsn(None)
    ('0/10', None)
    """
    return max((lsn for lsn in positions if lsn), key=parse_lsn, default=None)


def lsn_distance(ahead: str | None, behind: str | None) -> int | None:
    """Bytes between two positions, None where one is unknown, never below zero.

    >>> lsn_distance("0/3000100", "0/3000000"), lsn_distance(None, "0/1")
    (256, None)
    """
    if not ahead or not behind:
        return None
    return max(0, parse_lsn(ahead) - parse_lsn(behind))
