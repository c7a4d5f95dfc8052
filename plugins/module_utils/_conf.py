# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Text in the format of postgresql.conf: read with its includes, and written (manual, Setting Parameters)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._quoting import quote_setting

_LINE = re.compile(
    r"""^\s*(?P<name>[A-Za-z_][A-Za-z0-9_.$]*)      # parameter
        (?:\s*=\s*|\s+)
        (?P<value>'(?:''|\\.|[^'\\])*'|[^\s#'=][^\s#']*) # quoted or bare
        \s*(?:\#.*)?$""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "f": "\f", "r": "\r"}


class Setting(t.NamedTuple):
    """One assignment as a file has it."""

    name: str
    value: str
    path: str
    line: int


class Reader(t.Protocol):
    """How included files are read; the paths are absolute."""

    def read_text(self, path: str) -> str | None:
        """A file's text, None where there is none."""

    def list_names(self, path: str) -> list[str]:
        """The names in a folder, empty where there is none."""


def unquote(raw: str) -> str:
    r"""The value that the server sees.

    >>> unquote("'it''s'"), unquote("on"), unquote(r"'a\\b'")
    ("it's", 'on', 'a\\b')
    """
    if not raw.startswith("'"):
        return raw
    return re.sub(
        r"''|\\([0-7]{1,3}|.)",
        lambda found: "'" if found.group(0) == "''" else _escaped(found.group(1)),
        raw[1:-1],
    )


def _escaped(text: str) -> str:
    return chr(int(text, 8) & 0xFF) if text[0] in "01234567" else _ESCAPES.get(text, text)


def parse_lines(text: str, path: str) -> list[Setting]:
    """The assignments of one file in order, include directives among them; names are folded to lower case."""
    settings = []
    # Not splitlines(), which knows more line ends than the server.
    for number, line in enumerate(text.split("\n"), start=1):
        match = _LINE.match(line)
        if match:
            settings.append(Setting(match.group("name").lower(), unquote(match.group("value")), path, number))
    return settings


def _join(base: str, name: str) -> str:
    return name if name.startswith("/") else base.rsplit("/", 1)[0] + "/" + name


def read_settings(path: str, reader: Reader, *, depth: int = 0) -> list[Setting]:
    """Every assignment that the server would read from a file and from what it includes, in the order that counts.

    The last one of a name wins. The server stops at ten levels of includes; so does this.
    """
    text = reader.read_text(path)
    if text is None or depth > 10:
        return []
    found: list[Setting] = []
    for setting in parse_lines(text, path):
        if setting.name in ("include", "include_if_exists"):
            found.extend(read_settings(_join(path, setting.value), reader, depth=depth + 1))
        elif setting.name == "include_dir":
            folder = _join(path, setting.value)
            for name in sorted(reader.list_names(folder)):
                if name.endswith(".conf") and not name.startswith("."):
                    found.extend(read_settings(f"{folder}/{name}", reader, depth=depth + 1))
        else:
            found.append(setting)
    return found


def last_values(settings: t.Iterable[Setting], *, without: str | None = None) -> dict[str, Setting]:
    """The winning assignment of each name, with one file left out."""
    return {setting.name: setting for setting in settings if setting.path != without}


def render_settings(values: t.Mapping[str, str], header: t.Sequence[str]) -> str:
    """A managed file: comment lines, then one assignment a line in the order of the names."""
    lines = [f"# {line}".rstrip() for line in header]
    lines += [f"{name} = {quote_setting(values[name])}" for name in sorted(values)]
    return "\n".join(lines) + "\n"


def changes(before: t.Mapping[str, str], after: t.Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """What differs, as C({name: (old, new)}).

    >>> changes({"a": "1", "b": "2"}, {"a": "1", "b": "3"})
    {'b': ('2', '3')}
    """
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(set(before) | set(after))
        if before.get(name) != after.get(name)
    }
