# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values in a systemd unit, read back as systemd.syntax(7) says, and by systemd itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.unit import (
    command_line,
    environment,
    plain_value,
    program,
    word,
)
from hypothesis import given
from hypothesis import strategies as st

#: Letters that mean something to systemd, among others.
HOSTILE = st.text(st.sampled_from("%$\\\"'; #@+-!:|={}()hHnabé日 \t\n\r\0\x1b\x85\u2028"), max_size=12) | st.text()


def read_words(line: str) -> list[str]:
    """What systemd makes of a value that is split into words (extract_first_word with quotes and C's escapes), for
    what the writer may write: anything else fails."""
    assert "\n" not in line and not re.search(r"(?<!\\)(?:\\\\)*\\\Z", line), "the line would go on"
    words = []
    for found in re.finditer(r'"((?:[^"\\]|\\["\\])*)"(?:\s|\Z)|([^\s"\'\\;][^\s"\'\\]*)(?:\s|\Z)|(.)', line):
        quoted, bare, wrong = found.groups()
        assert wrong is None, f"at {line[found.start() :]}"
        words.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare)
    return words


def without_specifiers(text: str) -> str:
    assert "%" not in text.replace("%%", ""), f"a specifier is left in {text}"
    return text.replace("%%", "%")


def without_variables(text: str) -> str:
    assert "$" not in text.replace("$$", ""), f"a variable is left in {text}"
    return text.replace("$$", "$")


def written(write: t.Callable[..., str], *values: str) -> str | None:
    try:
        return write(*values)
    except ReplicationError:
        return None


@given(HOSTILE)
def test_a_word_is_read_as_it_was_written(value: str) -> None:
    line = written(word, value)
    assert line is None or [without_specifiers(one) for one in read_words(line)] == [value]


@given(st.lists(HOSTILE, max_size=3))
def test_a_command_line_is_read_as_it_was_written(values: list[str]) -> None:
    line = written(command_line, "/usr/bin/x", *values)
    if line is not None:
        read = [without_variables(without_specifiers(one)) for one in read_words(line)]
        assert read == ["/usr/bin/x", *values]


@given(HOSTILE)
def test_a_plain_value_is_read_as_it_was_written(value: str) -> None:
    line = written(plain_value, value)
    if line is not None:
        assert "\n" not in line and not line.endswith("\\")
        assert without_specifiers(line.strip()) == value


@given(HOSTILE)
def test_an_environment_is_read_as_it_was_written(value: str) -> None:
    line = written(environment, "NAME", value)
    assert line is None or [without_specifiers(one) for one in read_words(line)] == [f"NAME={value}"]


@pytest.mark.parametrize("value", ["a\nExecStartPre=+/bin/sh", "a\rb", "a\0", "\x1b[2J", "a\udcff"])
@pytest.mark.parametrize("write", [plain_value, word, lambda value: command_line("/x", value), program])
def test_what_no_unit_can_hold_is_refused(write: t.Callable[[str], str], value: str) -> None:
    with pytest.raises(ReplicationError, match="unit cannot"):
        write(value)


@pytest.mark.parametrize("path", ["+/bin/sh", "-/bin/sh", "bin/sh", "", "/srv/$x/y", "/srv/a\\b", "/srv/'a'", '/srv/"'])
def test_a_program_is_a_plain_absolute_path(path: str) -> None:
    with pytest.raises(ReplicationError, match="program"):
        program(path)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this host")
def test_systemd_reads_the_same_words(tmp_path: Path) -> None:
    """It names each program that it does not find, by the path that it understood."""
    names = ["plain", "a b", "50%", "%h", "x;y", "#x", "täst 日本", "a%%b", "{x}", "a=b", "@x", " lead", "tail "]
    paths = [f"/nonexistent/{name}/x" for name in names]
    others = ["$HOME", "${HOME}", "%n", ";", "\\", '"', "'", "", "a\\x41", "-"]
    units = []
    for number, path in enumerate(paths):
        lines = [
            "[Unit]",
            f"Description={plain_value('100% sure')}",
            "[Service]",
            f"Environment={environment('A', others[4] + chr(34) + ' %h $HOME')}",
            f"WorkingDirectory={plain_value('/srv/a b 50%')}",
            f"ExecStart={command_line(path, *others)}",
        ]
        units.append(tmp_path / f"pgtandem-writer-{number}.service")
        units[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    said = re.findall(r"pgtandem-writer-(\d+)\.service: (Command .*)", answer.stderr)
    missing = "is not executable: No such file or directory"
    assert sorted(said) == sorted((str(number), f"Command {path} {missing}") for number, path in enumerate(paths))
