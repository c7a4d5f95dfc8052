# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose files lie in the folders that go with a data directory."""

from __future__ import annotations

import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._aside import Move, others_in

HOST = t.cast("t.Any", types.SimpleNamespace(instance=types.SimpleNamespace(major="15")))


@pytest.mark.parametrize(
    ("name", "strange"),
    [
        ("PG_15_202209061", False),
        ("PG_17_202406281", True),
        ("PG_150_1", True),
        ("000000010000000000000003", False),
        ("000000010000000000000003.partial", False),
        ("000000010000000000000002.00000028.backup", False),
        ("00000002.history", False),
        ("archive_status", False),
        ("summaries", False),
        ("xlogtemp.4711", False),
        ("lost+found", False),
        ("notes.txt", True),
    ],
)
def test_what_another_server_put_there_is_seen(tmp_path: Path, name: str, strange: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / name).touch()
    moves = [Move(path, f"{path}.aside") for path in (f"{tmp_path}/main", str(outside))]
    assert others_in(HOST, moves) == ([f"{outside}/{name}"] if strange else [])


def test_the_data_directory_itself_may_hold_anything(tmp_path: Path) -> None:
    """The user named it; what a rewind put away is ours."""
    for folder in ("main", "main.pgtandem-rewind"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "notes.txt").touch()
    moves = [Move(f"{tmp_path}/{folder}", "") for folder in ("main", "main.pgtandem-rewind", "gone")]
    assert others_in(HOST, moves) == []
