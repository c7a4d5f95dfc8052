# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a server runs with after its next start, from everything that it reads; and what of that would end a recovery.

A command line wins over postgresql.auto.conf, which wins over postgresql.conf and what that includes (manual, Setting
Parameters). Before 12 the settings of recovery are in recovery.conf alone.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import Reading, Setting, last_values
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import RECOVERY_TARGETS, TRIGGER_FILES

#: Where an assignment stands.
FILE, MANAGED, AUTO, COMMAND_LINE, RECOVERY_CONF = "file", "managed", "auto", "command-line", "recovery.conf"
#: A file whose name alone counts, and what a running server was started with.
SIGNAL, RUNNING = "signal", "running"


@dataclass(frozen=True)
class ServerSettings:
    """Everything that a server reads when it starts."""

    main_file: str
    managed_file: str
    auto_file: str
    files: Reading
    auto: Reading
    command_line: t.Mapping[str, str] = field(default_factory=dict)
    #: What holds that command line: a unit, pg_ctl.conf.
    command_place: str = ""
    #: None where there is none, or where this version has none.
    recovery_conf: Reading | None = None

    def assignments(self) -> list[Setting]:
        """All of them in the order that counts: the last one of a name wins."""
        return [
            *(self.recovery_conf.settings if self.recovery_conf else ()),
            *self.files.settings,
            *self.auto.settings,
            *(Setting(name, value, self.command_place, 0) for name, value in sorted(self.command_line.items())),
        ]

    def winners(self) -> dict[str, Setting]:
        """The assignment of each name that counts."""
        return last_values(self.assignments())

    def elsewhere(self) -> dict[str, str]:
        """What the files say without the managed one; postgresql.auto.conf and a command line are left out, too."""
        return {
            name: setting.value for name, setting in last_values(self.files.settings, without=self.managed_file).items()
        }

    def place_of(self, setting: Setting) -> str:
        """Which kind of place an assignment is in."""
        if setting.line == 0 and setting.path == self.command_place:
            return COMMAND_LINE
        if self.recovery_conf is not None and setting in self.recovery_conf.settings:
            return RECOVERY_CONF
        return {self.managed_file: MANAGED, self.auto_file: AUTO}.get(setting.path, FILE)


class RecoveryEnd(t.NamedTuple):
    """Something that ends the recovery of a standby without anybody having asked for a promotion, or keeps it from
    starting."""

    name: str
    value: str
    path: str
    line: int
    place: str
    #: What comes of it, as a clause.
    effect: str

    def as_result(self) -> dict[str, t.Any]:
        """Plain values for a module's result."""
        return dict(self._asdict())


#: Commands that the server runs, and what comes of one that the shell does not find (manual, Archive Recovery).
_COMMANDS = {
    "restore_command": "a standby with that does not start",
    "recovery_end_command": "a promotion with that fails",
}
_TARGET = "a standby with that stops its recovery there, and promotes itself or goes down"
_TRIGGER = "a standby with that promotes itself as soon as such a file is there"
_TIMELINE = "a standby with that does not follow a promotion"

#: Words of the shell itself that are no programs.
_SHELL_WORDS = frozenset((
    ".", ":", "[", "{", "!", "(", "alias", "break", "case", "cd", "command", "eval", "exec", "exit", "export",
    "false", "for", "if", "kill", "printf", "pwd", "read", "return", "set", "shift", "test", "time", "trap", "true",
    "type", "ulimit", "umask", "unset", "until", "wait", "while",
))  # fmt: skip


def program_of(command: str) -> str:
    """The program that a shell command begins with; empty where that takes a shell to tell.

    >>> program_of("cp /archive/%f %p"), program_of("test -f x && cp y z"), program_of("A=1 cp"), program_of("'a b' c")
    ('cp', '', '', '')
    """
    match = re.match(r"\s*([A-Za-z0-9_./+-]+)(?=\s|\Z)", command)
    return match.group(1) if match and match.group(1) not in _SHELL_WORDS else ""


def recovery_ends(
    settings: ServerSettings,
    *,
    signal_files: t.Container[str] = (),
    directory: str = "",
    can_run: t.Callable[[str], bool] = lambda _program: True,
) -> list[RecoveryEnd]:
    """What would end the recovery of a server that is, or becomes, a standby, each with the place to mend it."""
    found: list[RecoveryEnd] = []
    winners = settings.winners()
    for name, setting in sorted(winners.items()):
        effect = _effect_of(name, setting.value, can_run)
        if effect:
            found.append(RecoveryEnd(*setting, settings.place_of(setting), effect))
    if "recovery.signal" in signal_files and "standby.signal" not in signal_files:
        path = f"{directory}/recovery.signal"
        effect = "its next start restores from the archive and ends with a promotion"
        found.append(RecoveryEnd("recovery.signal", "", path, 0, SIGNAL, effect))
    return found


def recovery_ends_of_values(values: t.Mapping[str, str | None]) -> list[RecoveryEnd]:
    """The same of the parameters that a running standby has."""
    names = (*RECOVERY_TARGETS, "promote_trigger_file")
    return [
        RecoveryEnd(name, values[name] or "", "", 0, RUNNING, _effect_of(name, values[name] or "", lambda _: True))
        for name in names
        if values.get(name)
    ]


def _effect_of(name: str, value: str, can_run: t.Callable[[str], bool]) -> str:
    if not value.strip():
        return ""
    if name in RECOVERY_TARGETS:
        return _TARGET
    if name in TRIGGER_FILES:
        return _TRIGGER
    if name == "recovery_target_timeline" and value.strip().lower() != "latest":
        return _TIMELINE
    if name in _COMMANDS:
        program = program_of(value)
        if program and not can_run(program):
            return f"there is no program {program} that the server's account could run, and {_COMMANDS[name]}"
    return ""


def names_in_list(text: str) -> list[str]:
    """The elements of a parameter that is a list of names.

    >>> names_in_list(' pg_stat_statements, "a b" ,x')
    ['pg_stat_statements', 'a b', 'x']
    """
    pairs = re.findall(r'"([^"]*)"|([^,"]+)', text)
    return [quoted or plain.strip() for quoted, plain in pairs if quoted or plain.strip()]


_MEMORY_UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}


def memory_bytes(text: str, block: int) -> int | None:
    """A parameter that is an amount of memory; without a unit it is in blocks. None where it is none.

    >>> memory_bytes("128MB", 8192), memory_bytes("16384", 8192), memory_bytes("1.5 GB", 8192), memory_bytes("x", 1)
    (134217728, 134217728, 1610612736, None)
    """
    match = re.match(r"\s*(\d+(?:\.\d*)?)\s*([A-Za-z]*)\s*\Z", text)
    unit = match.group(2).lower() if match else ""
    if match is None or (unit and unit not in _MEMORY_UNITS):
        return None
    return round(float(match.group(1)) * (_MEMORY_UNITS[unit] if unit else block))
