# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of servers that did not start, in their formats and languages."""

from __future__ import annotations

import gettext
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.log_text import (
    plain_lines,
    stops_a_process,
    why_it_ended,
)

PREFIX = "2026-12-01 02:50:11.731 UTC [28535] "
CATALOGUES = sorted(Path("/usr/share/locale").glob("*/LC_MESSAGES/postgres-*.mo"))


@pytest.mark.parametrize("path", CATALOGUES or [None], ids=lambda path: path.parts[-3] if path else "none")
def test_severities_are_known_in_the_languages_that_are_here(path: Path | None) -> None:
    if path is None:
        pytest.skip("no translations of a server are installed")
    with path.open("rb") as stream:
        words = gettext.GNUTranslations(stream).gettext
    told = {word: stops_a_process(f"{PREFIX}{words(word)}:  x") for word in ("FATAL", "PANIC", "ERROR", "LOG")}
    assert told == {"FATAL": True, "PANIC": True, "ERROR": False, "LOG": False}


def test_the_panic_is_shown_and_not_what_follows_it() -> None:
    lines = [f"{PREFIX}LOG:  database system was shut down", f"{PREFIX}LOG:  invalid primary checkpoint record"]
    panic = f"{PREFIX}PANIK:  konnte keinen gültigen Checkpoint-Datensatz finden"
    rest = [f"{PREFIX}LOG:  Startprozess wurde beendet: Signal 6", f"{PREFIX}LOG:  {'x' * 20}"]
    shown = why_it_ended([*lines, panic, *rest, "pg_ctl: could not start server", "Examine the log output."])
    assert shown[:3] == [*lines, panic] and len(shown) == 4


def test_clients_that_knock_do_not_hide_the_cause() -> None:
    cause = f'{PREFIX}FATAL:  could not load library "x.so"'
    knock = "FATAL:  the database system is starting up"
    shown = why_it_ended([cause, *(f"{PREFIX[:-3]}{number}] {knock}" for number in range(40))])
    assert cause in shown and len(shown) < 6


def test_without_either_the_last_lines_are_shown() -> None:
    lines = [f"LOG:  {number}" for number in range(9)]
    assert why_it_ended(lines) == lines[-5:]


def test_records_become_lines() -> None:
    record = (
        '2026-12-01 03:00:00.000 UTC,,,12,,6,1,,2026-12-01,,0,FATAL,58P01,"could not access file ""x""","d",'
        '"look there",,,,,,"","postmaster",,0\n'
    )
    assert plain_lines('half",a,record\n' + record, "csvlog") == [
        '2026-12-01 03:00:00.000 UTC FATAL:  could not access file "x"',
        "2026-12-01 03:00:00.000 UTC DETAIL:  d",
        "2026-12-01 03:00:00.000 UTC HINT:  look there",
    ]
    assert plain_lines('cut off"}\n{"error_severity": "PANIC", "message": "a\\nb"}\n', "jsonlog") == ["PANIC:  a b"]
