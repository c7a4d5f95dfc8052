# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters on a server's command line."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.command_line import (
    settings_of_command,
    settings_of_pg_ctl_conf,
    settings_of_unit,
    settings_of_words,
)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["-c", "work-mem=1MB"], {"work_mem": "1MB"}),
        (["-cwork_mem=1MB"], {"work_mem": "1MB"}),
        (["--recovery-target-name=x=y"], {"recovery_target_name": "x=y"}),
        (["-d", "5", "-p", "1", "-k/run"], {"port": "1", "unix_socket_directories": "/run"}),
        (["-F", "-c"], {}),
        ([], {}),
    ],
)
def test_words(words: list[str], found: dict[str, str]) -> None:
    assert settings_of_words(words) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pg_ctl_options = '-o \"-c recovery_target_name=x\"'", {"recovery_target_name": "x"}),
        ("pg_ctl_options = ''", {}),
        ("", {}),
    ],
)
def test_debians_pg_ctl_conf(text: str, found: dict[str, str]) -> None:
    assert settings_of_pg_ctl_conf(text, "/x") == found


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["[Service]\nExecStart=/b/postgres -D /d -c a=1"], {"data_directory": "/d", "a": "1"}),
        (["ExecStart=-/b/postgres \\\n -c a=1"], {"a": "1"}),
        (["ExecStart=/b/postgres -c a=1", "ExecStart=\nExecStart=/b/postgres -c b=2"], {"b": "2"}),
        (["ExecStart=/b/pg_ctl start --options='-c a=1'"], {"a": "1"}),
        (["ExecStartPre=/b/postgres -c a=1"], {}),
        ([], {}),
    ],
)
def test_units(texts: list[str], found: dict[str, str]) -> None:
    assert settings_of_unit(texts) == found


def test_another_program_has_none() -> None:
    assert settings_of_command(["/usr/bin/docker", "run", "-c", "a=1"]) == {}
