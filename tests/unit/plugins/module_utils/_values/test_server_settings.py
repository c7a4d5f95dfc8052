# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which value counts, and what of it ends a recovery."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import Reading, parse_file
from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import (
    ServerSettings,
    program_of,
    recovery_ends,
    recovery_ends_of_values,
)


def settings(files: str = "", managed: str = "", auto: str = "", **more: t.Any) -> ServerSettings:
    read = [*parse_file(files, "/main").settings, *parse_file(managed, "/managed").settings]
    return ServerSettings("/main", "/managed", "/auto", Reading(read, []), parse_file(auto, "/auto"), **more)


def test_the_order_of_places() -> None:
    everything = settings(
        "a = 1\nb = 1\nc = 1\nd = 1", "b = 2\nc = 2\nd = 2", "c = 3\nd = 3",
        command_line={"d": "4"}, command_place="/unit",
    )  # fmt: skip
    winners = everything.winners()
    assert {name: (setting.value, everything.place_of(setting)) for name, setting in winners.items()} == {
        "a": ("1", "file"), "b": ("2", "managed"), "c": ("3", "auto"), "d": ("4", "command-line")
    }  # fmt: skip
    assert everything.elsewhere() == dict.fromkeys("abcd", "1")


NOTHING: list[tuple[str, str, int]] = []


@pytest.mark.parametrize(
    ("places", "ends"),
    [
        pytest.param({}, NOTHING, id="nothing"),
        pytest.param(
            {"files": "x = 1\nrecovery_target_time = '2026-01-01'"}, [("recovery_target_time", "file", 2)], id="file"
        ),
        pytest.param({"files": "recovery_target = immediate", "managed": "recovery_target = ''"}, NOTHING, id="undone"),
        pytest.param({"managed": "recovery_target = ''", "auto": "recovery_target = x"},
                     [("recovery_target", "auto", 1)], id="auto"),
        pytest.param({"files": "recovery_target_action = promote"}, NOTHING, id="harmless"),
        pytest.param({"files": "promote_trigger_file = '/x'"}, [("promote_trigger_file", "file", 1)], id="trigger"),
        pytest.param({"files": "recovery_target_timeline = 2"}, [("recovery_target_timeline", "file", 1)], id="t"),
        pytest.param({"files": "recovery_target_timeline = 'latest'"}, NOTHING, id="latest"),
        pytest.param({"files": "restore_command = 'gone %f %p'"}, [("restore_command", "file", 1)], id="gone"),
        pytest.param({"files": "restore_command = 'cp %f %p'"}, NOTHING, id="there"),
        pytest.param({"files": "archive_cleanup_command = 'gone'"}, NOTHING, id="only-a-warning"),
        pytest.param({"command_line": {"recovery_target_xid": "7"}, "command_place": "/unit"},
                     [("recovery_target_xid", "command-line", 0)], id="command-line"),
        pytest.param({"recovery_conf": parse_file("trigger_file = '/x'", "/recovery.conf")},
                     [("trigger_file", "recovery.conf", 1)], id="before-12"),
    ],
)  # fmt: skip
def test_what_ends_a_recovery(places: dict[str, t.Any], ends: list[tuple[str, str, int]]) -> None:
    found = recovery_ends(settings(**places), can_run=lambda program: program == "cp")
    assert [(end.name, end.place, end.line) for end in found] == ends


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["recovery.signal"], ["recovery.signal"]),
        (["standby.signal"], []),
        (["recovery.signal", "standby.signal"], []),
    ],
)
def test_signal_files(files: list[str], found: list[str]) -> None:
    assert [end.name for end in recovery_ends(settings(), signal_files=files)] == found


def test_what_a_running_standby_was_started_with() -> None:
    values = {"recovery_target_lsn": "0/3000000", "recovery_target": "", "promote_trigger_file": None}
    assert [(end.name, end.place) for end in recovery_ends_of_values(values)] == [("recovery_target_lsn", "running")]


@pytest.mark.parametrize("command", ["", "(cp a b)", "if true; then x; fi", "$HOME/x %f", '"/a b/c" %f', "! x", "a|b"])
def test_commands_that_take_a_shell_to_tell(command: str) -> None:
    assert program_of(command) == ""
