# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The state that one run leaves for the next one, as JSON in a place where PostgreSQL's account can write.

That account may have written anything, so it is a hint: each value has to be of its kind, and whoever uses a path or a
name computes it again.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused

#: No state of this collection is longer.
LIMIT = 1024 * 1024
_LONGEST_TEXT = 100_000

#: Whether a value is of its kind.
Check = t.Callable[[t.Any], bool]


def is_flag(value: t.Any) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


def is_number(value: t.Any) -> bool:
    """Whether it is a number that can be a time, an amount or a process."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**63


def is_whole(value: t.Any) -> bool:
    """Whether it is such a number without a fraction."""
    return isinstance(value, int) and is_number(value)


def is_text(value: t.Any) -> bool:
    """Whether it is a text for people, of any lines."""
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def is_line(value: t.Any) -> bool:
    """Whether it is one short line that a terminal shows as it is."""
    return isinstance(value, str) and len(value) <= 1000 and value.isprintable()


def is_path(value: t.Any) -> bool:
    """Whether it is an absolute path without detours."""
    return is_line(value) and value.startswith("/") and not {"..", "."} & set(value.split("/"))


def is_name(value: t.Any) -> bool:
    """Whether it is a name in a folder."""
    return is_line(value) and value not in ("", ".", "..") and "/" not in value


def one_of(*values: str) -> Check:
    """Whether it is one of these words."""
    return lambda value: isinstance(value, str) and value in values


def like(pattern: str) -> Check:
    """Whether all of it matches a pattern."""
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def or_none(check: Check) -> Check:
    """Whether it is null, or of this kind."""
    return lambda value: value is None or check(value)


def list_of(check: Check) -> Check:
    """Whether it is a list of such values."""
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


def pair_of(check: Check) -> Check:
    """Whether it is a list of two such values."""
    return lambda value: isinstance(value, list) and len(value) == 2 and all(check(item) for item in value)


def dict_of(**checks: Check) -> Check:
    """Whether it has exactly these keys, each with its kind."""
    return lambda value: (
        isinstance(value, dict) and set(value) == set(checks) and all(checks[key](value[key]) for key in checks)
    )


class StateFile(t.NamedTuple):
    """A kind of state: what may be in it, and what it is for, in a message."""

    purpose: str
    checks: t.Mapping[str, Check]

    def parse(self, text: str, path: str) -> dict[str, t.Any]:
        """What a file says; anything that this collection does not write there is refused."""
        if not text.strip():
            return {}
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise self._refused(path, "it is not JSON") from None
        if not isinstance(found, dict):
            raise self._refused(path, "it is not an object")
        for key, value in found.items():
            check = self.checks.get(key)
            if check is None or not check(value):
                raise self._refused(path, f"its {key[:40]!r} is not what this collection writes")
        return found

    def read(self, files: Files, path: str) -> dict[str, t.Any]:
        """What is noted, empty where nothing is."""
        text = files.read_text(path, limit=LIMIT, follow=False)
        return self.parse(text, path) if text is not None else {}

    def write(self, files: Files, path: str, content: t.Mapping[str, t.Any]) -> None:
        """Note it, instead of what was noted."""
        files.write_text(path, json.dumps(content, sort_keys=True) + "\n", mode=0o600, follow=False)

    def _refused(self, path: str, why: str) -> FileRefused:
        return FileRefused(
            f"{path} is where {self.purpose} is noted, and {why}: something else wrote it, so it is not acted upon. "
            "It was left as it is. Look at it, and remove it if it is of no use."
        )
