# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A server's log in any of its formats and languages: messages, and those that say why it ended."""

from __future__ import annotations

import csv
import json
import re
import typing as t

#: How servers of 10 to 19 translate the two severities; en, de, es, fr, ja, pt_BR, cs among FATAL.
_FATAL = (
    "FATAL",
    "FATALE",  # it
    "FATALT",  # sv
    "ВАЖНО",  # ru
    "ФАТАЛЬНО",  # uk
    "ფატალური",  # ka
    "치명적오류",  # ko
    "致命错误",  # zh_CN
    "嚴重錯誤",  # zh_TW
    "ÖLÜMCÜL (FATAL)",  # tr
    "KATASTROFALNY",  # pl
)
_PANIC = (
    "PANIC",
    "PANIK",  # de, sv
    "PANICO",  # it
    "PÂNICO",  # pt_BR
    "PANIKA",  # pl
    "PANİK",  # tr
    "PANIKA",  # cs
    "ПАНИКА",  # ru
    "ПАНІКА",  # uk
    "პანიკა",  # ka
    "손상",  # ko
    "比致命错误还过分的错误",  # zh_CN
)


def _severity(words: t.Iterable[str]) -> re.Pattern[str]:
    # At the beginning or behind a prefix; French puts a space before the colon.
    return re.compile(r"(?:^|(?<=\W))(?:" + "|".join(map(re.escape, words)) + r")\s?:\s")


_STOPS = _severity([*_FATAL, *_PANIC])
_PANICS = _severity(_PANIC)
#: Three spaces or a dash apart: what one message says besides stands in lines of their own.
_FIELDS = ("detail", "hint", "context")


def stops_a_process(message: str) -> bool:
    """Whether a message is a FATAL or a PANIC, in any language of the server's.

    >>> stops_a_process("2026-12-01 02:50 UTC [1] PANIK:  konnte nicht"), stops_a_process("LOG:  FATAL was said")
    (True, False)
    """
    return bool(_STOPS.search(message))


def join_continued(lines: t.Iterable[str]) -> list[str]:
    """One text a message: a server indents the further lines of one with a tab."""
    joined: list[str] = []
    for line in lines:
        if line.startswith("\t") and joined:
            joined[-1] += " " + line.strip()
        elif line.strip():
            joined.append(line.rstrip())
    return joined


def plain_lines(text: str, kind: str) -> list[str]:
    """The lines of a log that is C(stderr), C(csvlog) or C(jsonlog), as the first of these would have them.

    >>> plain_lines('{"timestamp":"12:00","error_severity":"FATAL","message":"no","hint":"try"}', "jsonlog")
    ['12:00 FATAL:  no', '12:00 HINT:  try']
    """
    if kind == "csvlog":
        # Cut off at its beginning, a record is too short.
        records: t.Iterable[t.Mapping[str, t.Any]] = (
            {"timestamp": row[0], "error_severity": row[11], "message": row[13], "detail": row[14], "hint": row[15]}
            for row in csv.reader(text.splitlines(keepends=True))
            if len(row) > 15
        )
    elif kind == "jsonlog":
        records = _json_records(text)
    else:
        return text.splitlines()
    found = []
    for record in records:
        head = record.get("timestamp", "")
        found.append(f"{head} {record.get('error_severity', '')}:  {_one_line(record.get('message'))}".lstrip())
        found += [f"{head} {name.upper()}:  {_one_line(record[name])}" for name in _FIELDS if record.get(name)]
    return found


def _one_line(value: object) -> str:
    return " ".join(str(value or "").split())


def _json_records(text: str) -> t.Iterator[t.Mapping[str, t.Any]]:
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def last_messages(lines: t.Iterable[str], *, most: int = 5) -> list[str]:
    """The end of a log."""
    return join_continued(lines)[-most:]


def why_it_ended(lines: t.Iterable[str], *, most: int = 8) -> list[str]:
    """The last PANIC, or else the FATAL messages, each once, with what stands before and behind it; without either the
    last lines.

    >>> why_it_ended(["LOG:  starting", "FATAL:  could not load library", "LOG:  database system is shut down"])
    ['LOG:  starting', 'FATAL:  could not load library', 'LOG:  database system is shut down']
    """
    lines = list(lines)
    messages = join_continued(lines)
    panics = [number for number, message in enumerate(messages) if _PANICS.search(message)][-1:]
    last: dict[str, int] = {}
    for number, message in enumerate(messages):
        found = _STOPS.search(message)
        if found:
            last[message[found.end() :]] = number
    told = panics or sorted(last.values())[-3:]
    wanted = {number + step for number in told for step in ((-2, -1, 0, 1) if len(told) == 1 else (-1, 0, 1))}
    chosen = [messages[number] for number in sorted(wanted) if 0 <= number < len(messages)]
    return chosen[-most:] if told else last_messages(lines)
