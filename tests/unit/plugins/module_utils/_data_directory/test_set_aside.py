# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data directory that is set aside with what goes with it, and brought back."""

from __future__ import annotations

import contextlib
import json
import os
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory import set_aside as set_aside_file
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.set_aside import (
    Move,
    go_on,
    keep,
    moves_of,
    others_in,
    remove,
    restore,
    set_aside,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import DirectoryEvidence
from stand_ins import host_on

HOST = t.cast("t.Any", types.SimpleNamespace(instance=types.SimpleNamespace(major="15"), files=Files()))


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


# --- set aside, brought back, and what somebody else noted ---


class Stopped(BaseException):
    """Stands for a crash: nothing catches it."""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A data directory with its WAL and a tablespace elsewhere."""
    for name in ("data/pg_tblspc", "wal/archive_status", "fast/PG_17_1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/pg_wal").symlink_to(tmp_path / "wal")
    (tmp_path / "data/pg_tblspc/1").symlink_to(tmp_path / "fast")
    (tmp_path / "data/mine").touch()
    (tmp_path / "bystander").mkdir()
    (tmp_path / "bystander/file").touch()
    return host_on(tmp_path)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def aside(host: Host) -> None:
    set_aside(host, moves_of(host), system_identifier="7")


@pytest.mark.parametrize("stop", range(4))
def test_a_stop_between_two_renames_is_gone_on_with_and_brought_back(
    host: Host, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = tree(tmp_path), os.rename
    done: list[str] = []

    def rename(source: str, target: str) -> None:
        if len(done) == stop:
            raise Stopped
        done.append(target)
        real(source, target)

    def stopped(what: t.Callable[[], object]) -> None:
        done.clear()
        with monkeypatch.context() as patched:
            patched.setattr("os.rename", rename)
            with contextlib.suppress(Stopped):
                what()

    stopped(lambda: aside(host))
    go_on(host)
    assert not list((tmp_path / "data").iterdir())
    assert (tmp_path / "data.pgtandem-aside/mine").exists() and (tmp_path / "fast.pgtandem-aside").exists()
    stopped(lambda: restore(host, check_mode=False))
    restore(host, check_mode=False)
    assert tree(tmp_path) == before


def test_what_was_set_aside_goes_and_nothing_else(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside(host)
    standby = DirectoryEvidence(
        host.instance.data_directory,
        exists=True,
        entries=("global",),
        control=t.cast("t.Any", object()),
        signal_files=("standby.signal",),
    )
    monkeypatch.setattr(set_aside_file, "look_at_directory", lambda _host: standby)
    assert remove(host, check_mode=False)
    assert tree(tmp_path) == ["bystander", "bystander/file", "data"]


@pytest.mark.parametrize("phase", ["moving", "moved", "removing", "restoring"])
@pytest.mark.parametrize("forged", ["path", "target", "more", "first", "swapped"])
def test_a_forged_journal_moves_and_removes_nothing(host: Host, tmp_path: Path, phase: str, forged: str) -> None:
    aside(host)
    path = tmp_path / "data.pgtandem-aside.json"
    noted = json.loads(path.read_text())
    noted["phase"] = phase
    other = str(tmp_path / "bystander")
    if forged == "path":
        noted["moves"][1][0] = other
    elif forged == "target":
        noted["moves"][1][1] = other
    elif forged == "more":
        noted["moves"].append([str(tmp_path / "taken"), other])
    elif forged == "first":
        noted["moves"].insert(0, [str(tmp_path / "taken"), other])
    else:
        noted["moves"][0].reverse()
    path.write_text(json.dumps(noted))
    before = tree(tmp_path)
    for what in (restore, remove, keep):
        with pytest.raises(FileRefused, match="not how this collection sets aside"):
            what(host, check_mode=False)
    with pytest.raises(FileRefused):
        go_on(host)
    assert tree(tmp_path) == before
