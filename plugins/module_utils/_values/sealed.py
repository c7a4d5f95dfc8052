# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A result that reaches the controller as it was, whatever secrets its module was given.

Ansible strikes every secret out of a module's result wherever its letters occur: with the password `main` no cluster
`main` would be left in it. A sealed value has no letter that a password has.
"""

from __future__ import annotations

import json
import typing as t
import zlib

#: The first of Unicode's characters for private use, of which a byte each stands for one.
_FIRST = 0xE000


def seal(value: t.Any) -> str:
    """Return a value of JSON as a text for `unseal`.

    >>> unseal(seal({"cluster": "main", "port": 5432}))
    {'cluster': 'main', 'port': 5432}
    >>> any(char.isascii() for char in seal("main"))
    False
    """
    return "".join(chr(_FIRST + byte) for byte in zlib.compress(json.dumps(value).encode("ascii"), 1))


def unseal(text: str) -> t.Any:
    """Return the value; a text that `seal` did not make raises `ValueError`."""
    try:
        return json.loads(zlib.decompress(bytes(ord(char) - _FIRST for char in text)))
    except zlib.error as error:
        raise ValueError(str(error)) from error
