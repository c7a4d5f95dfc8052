# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Text in the format of postgresql.conf: read with its includes, and written (manual, Setting Parameters)."""

from __future__ import annotations

import os.path
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.identities import shown
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import quote_setting

#: The tokens of the server's own scanner (guc-file.l), to which every byte above 127 is a letter too. Said by what is
#: not a letter: Python needs 60 ms, at each start of a module, to compile a set that goes up to the last character.
_LETTER = r"[^\x00-@\[-\^`{-\x7f]"
_ID = rf"{_LETTER}(?:{_LETTER}|[0-9])*"
#: What may be written as a name; whether there is such a parameter is for the server to say.
PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)*")
_LINE = re.compile(
    rf"""^(?P<name>{_ID}(?:\.{_ID})?)(?!{_LETTER}|[0-9])
        [ \t\r]*=?[ \t\r]*
        (?P<value>'(?:''|\\.|[^'\\])*'           # quoted
        |{_LETTER}(?:{_LETTER}|[-0-9._:/])*       # a word
        |[-+]?(?:\d+|0x[0-9a-fA-F]+)[A-Za-z]*    # a whole number with its unit
        |[-+]?\d*\.\d*(?:[Ee][-+]?\d+)?)          # any other number
        [ \t\r]*(?:\#.*)?$""",
    re.VERBOSE,
)
#: A word with one dot is a name to the scanner, which no value may be.
_QUALIFIED = re.compile(rf"{_ID}\.{_ID}\Z")
_BLANK = re.compile(r"[ \t\r]*(?:#.*)?$")
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "f": "\f", "r": "\r"}
#: As deep as the server follows includes, counted from 0.
_DEEPEST = 10


class Setting(t.NamedTuple):
    """One assignment as a file has it."""

    name: str
    value: str
    path: str
    line: int


class Fault(t.NamedTuple):
    """What the server refuses in a file, and over which it does not start."""

    path: str
    line: int
    text: str


class Reading(t.NamedTuple):
    """What a file and everything that it includes say."""

    #: In the order that counts: the last one of a name wins.
    settings: list[Setting]
    faults: list[Fault]


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


def parse_file(text: str, path: str) -> Reading:
    """One file, include directives among its assignments; names are folded to lower case."""
    found = Reading([], [])
    # Not splitlines(), which knows more line ends than the server.
    for number, line in enumerate(text.split("\n"), start=1):
        # The scanner passes over blanks between any two tokens.
        match = _LINE.match(line.lstrip(" \t\r"))
        if match and not _QUALIFIED.match(match.group("value")):
            found.settings.append(Setting(match.group("name").lower(), unquote(match.group("value")), path, number))
        elif not _BLANK.match(line):
            found.faults.append(Fault(path, number, "syntax error"))
    return found


def parse_lines(text: str, path: str) -> list[Setting]:
    """The assignments of one file in order."""
    return parse_file(text, path).settings


def _join(base: str, name: str) -> str:
    return os.path.normpath(name if name.startswith("/") else os.path.dirname(base) + "/" + name)


def read_tree(path: str, reader: Reader) -> Reading:
    """A file and everything that it includes, each where it stands (manual, Managing Configuration File Contents)."""
    found = Reading([], [])
    text = reader.read_text(path)
    if text is None:
        found.faults.append(Fault(path, 0, "there is no such file"))
    else:
        _read(text, path, reader, 0, found)
    return found


def _read(text: str, path: str, reader: Reader, depth: int, found: Reading) -> None:
    own = parse_file(text, path)
    found.faults.extend(own.faults)
    for setting in own.settings:
        if setting.name in ("include", "include_if_exists"):
            _include(setting, reader, depth, found)
        elif setting.name == "include_dir":
            folder = _join(path, setting.value) if setting.value.strip() else ""
            names = reader.list_names(folder) if folder else []
            for name in sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape")):
                if name.endswith(".conf") and len(name) > len(".conf") and not name.startswith("."):
                    _include(setting._replace(value=f"{folder}/{name}"), reader, depth, found)
        else:
            found.settings.append(setting)


def _include(setting: Setting, reader: Reader, depth: int, found: Reading) -> None:
    """What one file brings in; a file that may be missing leaves no trace."""
    path = _join(setting.path, setting.value) if setting.value.strip() else ""
    # The server counts the folder of an include_dir as no level of its own.
    problem = ""
    if not path:
        problem = f"{setting.name} names no file"
    elif depth >= _DEEPEST:
        problem = f"{path} is included at more than {_DEEPEST} levels"
    text = None if problem else reader.read_text(path)
    if text is not None:
        _read(text, path, reader, depth + 1, found)
    elif problem or setting.name == "include":
        found.faults.append(Fault(setting.path, setting.line, problem or f"there is no {path}"))


def read_settings(path: str, reader: Reader) -> list[Setting]:
    """Every assignment that the server would read from a file and from what it includes, in the order that counts."""
    return read_tree(path, reader).settings


def last_values(settings: t.Iterable[Setting], *, without: str | None = None) -> dict[str, Setting]:
    """The winning assignment of each name, with one file left out."""
    return {setting.name: setting for setting in settings if setting.path != without}


def render_settings(values: t.Mapping[str, str], header: t.Sequence[str]) -> str:
    """A managed file: comment lines, then one assignment a line in the order of the names."""
    wrong = [name for name in values if not PARAMETER_NAME.fullmatch(name)]
    if wrong:
        raise ReplicationError(f"{shown(wrong[0])} is not a parameter's name.")
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
