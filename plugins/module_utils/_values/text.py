# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Text that comes from outside: what a terminal or a line of a file would read as more than letters."""

from __future__ import annotations

import re
import typing as t

#: Longer than any text that a server or a host has to say: certificates with all that stands between are shorter.
TEXT_LIMIT = 256 * 1024
#: What a message keeps of one text.
MESSAGE_LIMIT = 8 * 1024

#: C0 and C1 controls and DEL, the marks that turn the direction of letters, the separators of Unicode, and bytes that
#: are not UTF-8 (which Python keeps as lone surrogates).
_STEERING = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_NOT_PRINTABLE = re.compile(f"[{_STEERING}]")
_NOT_PRINTABLE_IN_LINES = re.compile(f"(?![\n\t])[{_STEERING}]")


def _escaped(found: t.Match[str]) -> str:
    number = ord(found.group(0))
    if 0xDC80 <= number <= 0xDCFF:
        # The byte that could not be read as UTF-8.
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with everything escaped that would steer a terminal; with `lines`, line breaks and tabs stay.

    >>> print(printable("a" + chr(27) + "[2J" + chr(0x202E) + "b" + chr(10)))
    a\x1b[2J\u202eb\x0a
    >>> printable("two" + chr(10) + "lines", lines=True) == "two" + chr(10) + "lines"
    True
    """
    return (_NOT_PRINTABLE_IN_LINES if lines else _NOT_PRINTABLE).sub(_escaped, text)


def shorten(text: str, limit: int) -> str:
    """The begin of a text that is too long, with its length.

    >>> shorten("abc", 3), shorten("abcd", 3)
    ('abc', 'abc... (cut; 4 characters)')
    """
    return text if len(text) <= limit else f"{text[:limit]}... (cut; {len(text)} characters)"


def breaks_lines(text: str) -> bool:
    """Whether a text holds what ends a line or a string in some file's syntax, steers a terminal, or is not UTF-8.

    >>> breaks_lines("a b"), breaks_lines("a" + chr(10)), breaks_lines(chr(0))
    (False, True, True)
    """
    return _NOT_PRINTABLE.search(text) is not None
