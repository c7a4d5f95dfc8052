# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A result on its way to people: on the host when a module ends, on the controller when a plugin does."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.secrets import mask_secrets
from ansible_collections.pgtandem.replication.plugins.module_utils._values.text import (
    MESSAGE_LIMIT,
    TEXT_LIMIT,
    printable,
    shorten,
)

#: Keys of a result that only people read, so that nothing goes wrong where a secret is struck out.
_FOR_PEOPLE = (
    "actions",
    "diff",
    "exception",
    "log",
    "msg",
    "notes",
    "problems",
    "reasons",
    "stderr",
    "stdout",
    "tree",
    "warnings",
)


def _mapped(value: t.Any, change: t.Callable[[str], str]) -> t.Any:
    if isinstance(value, str):
        return change(str.__str__(value))
    if isinstance(value, dict):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(item, change) for item in value]
    return value


def clean_texts(value: t.Any) -> t.Any:
    """The value with every text cut to a length and without what steers a terminal; lines stay lines.

    >>> clean_texts({"a": ["b" + chr(27), 1, None]}) == {"a": ["b" + chr(92) + "x1b", 1, None]}
    True
    """
    return _mapped(value, lambda text: printable(shorten(text, TEXT_LIMIT), lines=True))


def clean_message(text: str) -> str:
    """A message: its further lines are set in, so that none of them looks like a line of Ansible's own."""
    return re.sub(r"\n(?! {4})", "\n    ", shorten(mask_secrets(text), MESSAGE_LIMIT))


def clean_result(result: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A result with cleaned texts, and secrets struck out of what people read."""
    cleaned = t.cast("dict[str, t.Any]", clean_texts(dict(result)))
    for key in _FOR_PEOPLE:
        if key in cleaned:
            cleaned[key] = _mapped(cleaned[key], clean_message if key == "msg" else mask_secrets)
    return cleaned
