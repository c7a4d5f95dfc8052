# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A data directory that is filled, stopped at every step, and filled again."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import (
    Elsewhere,
    Incoming,
    alone,
    filling,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import look_at_directory
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    INCOMING,
    INCOMING_MARKER,
    DirectoryState,
    classify,
)
from stand_ins import host_on

#: Of a cluster, in the order of their names.
CLUSTER = ("PG_VERSION", "base", "global", "pg_wal", "standby.signal")


class Stopped(BaseException):
    """Stands for a crash: nothing catches it."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    # Root may be the account here, and that is for the programs to refuse.
    return host_on(tmp_path)


def grow(incoming: Incoming) -> None:
    os.mkdir(incoming.path)
    for name in CLUSTER:
        path = Path(incoming.path, name)
        if name in ("base", "global", "pg_wal"):
            path.mkdir()
        else:
            path.write_text("17\n")


def fill(host: Host) -> None:
    with filling(host) as incoming:
        if not incoming.is_whole("test"):
            incoming.begin("test")
            grow(incoming)
        incoming.finish("test")


def names(host: Host) -> list[str]:
    return sorted(os.listdir(host.instance.data_directory))


def test_all_of_it_moves_up(host: Host) -> None:
    fill(host)
    assert names(host) == sorted(CLUSTER)
    assert os.stat(host.instance.data_directory).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("stop", range(len(CLUSTER)))
def test_a_stop_between_two_renames_is_finished(host: Host, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real = os.rename

    def rename(source: str, target: str) -> None:
        if len(done) == stop:
            raise Stopped
        done.append(os.path.basename(target))
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("os.rename", rename)
        with pytest.raises(Stopped):
            fill(host)
    # Until the last step there is nothing that a server would start on.
    assert "global" not in names(host)
    assert classify(look_at_directory(host)) is DirectoryState.INCOMING
    grown: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "grow", lambda incoming: grown.append(incoming.path))
    fill(host)
    assert grown == [] and names(host) == sorted(CLUSTER)


@pytest.mark.parametrize("step", ["sync_folder", "remove_file"])
def test_a_stop_after_the_renames_is_finished(host: Host, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_unused: t.Any) -> None:
        if "global" in names(host):
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(host.files, step, stop)
        with pytest.raises(Stopped):
            fill(host)
    assert classify(look_at_directory(host)) is DirectoryState.INCOMING
    fill(host)
    assert names(host) == sorted(CLUSTER)


def test_half_a_copy_is_cleared(host: Host) -> None:
    with filling(host) as incoming:
        incoming.begin("test")
        os.mkdir(incoming.path)
        Path(incoming.path, "half").write_text("")
    assert names(host) == [INCOMING, INCOMING_MARKER]
    fill(host)
    assert names(host) == sorted(CLUSTER)


@pytest.mark.parametrize("text", ["", '{"phase": "filling"}'])
def test_a_marker_that_says_nothing_is_not_whole(host: Host, text: str) -> None:
    with filling(host) as incoming:
        incoming.begin("test")
        Path(host.instance.data_directory, INCOMING_MARKER).write_text(text)
        assert not incoming.is_whole("test")


def test_what_is_whole_for_another_purpose_is_neither_used_nor_lost(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(source: str, target: str) -> None:
        real(source, target)
        raise Stopped

    real = os.rename
    with monkeypatch.context() as patched:
        patched.setattr("os.rename", stop)
        with pytest.raises(Stopped):
            fill(host)
    before = names(host)
    with pytest.raises(ReplicationError, match="'test'.* 'other'"), filling(host) as incoming:
        incoming.is_whole("other")
    assert names(host) == before
    fill(host)
    assert names(host) == sorted(CLUSTER)


def test_one_at_a_time(host: Host) -> None:
    os.mkdir(host.instance.data_directory)
    held = os.open(host.instance.data_directory, os.O_RDONLY)
    try:
        # The lock belongs to the open file, so this is as good as another process.
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ReplicationError, match="Another run is filling .* right now"), filling(host):
            raise AssertionError("two at a time")
        assert names(host) == []
    finally:
        os.close(held)
    fill(host)


@pytest.mark.parametrize("file", ["notes.txt", "PG_VERSION"])
def test_what_came_meanwhile_is_kept(host: Host, file: str) -> None:
    os.mkdir(host.instance.data_directory)
    path = Path(host.instance.data_directory, file)
    path.write_text("17\n")
    with pytest.raises(ReplicationError, match="Nothing was copied"), filling(host):
        raise AssertionError("not empty")
    assert path.read_text() == "17\n"


def test_two_runs_never_work_on_one_instance(host: Host) -> None:
    fill(host)
    refused = pytest.raises(ReplicationError, match="Another run has been at work on .* for 0 s")
    with alone(host, timeout=1), refused, alone(host, timeout=0):
        raise AssertionError("not alone")
    with alone(host, timeout=0):
        pass


def test_what_another_run_filled_meanwhile_is_not_touched(host: Host) -> None:
    fill(host)
    with pytest.raises(ReplicationError, match="so another run is at work on it"), filling(host):
        pass


# --- what somebody else noted ---


@pytest.fixture
def bystander(tmp_path: Path) -> Path:
    """Another server's tablespace and WAL."""
    folder = tmp_path / "bystander"
    for name in ("PG_17_1", "archive_status"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").touch()
    return folder


@pytest.mark.parametrize("phase", ["filling", "copied", "failed", "clearing"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_folder_that_is_only_noted_is_not_cleared(host: Host, bystander: Path, phase: str, existed: bool) -> None:
    with filling(host) as incoming:
        incoming.begin("test")
        forged = {"phase": phase, "elsewhere": [{"path": str(bystander), "existed": existed}]}
        Path(incoming.marker_path).write_text(json.dumps(forged))
        incoming.clear()
        if phase == "clearing":
            incoming.clear_everything()
    assert sorted(path.name for path in bystander.rglob("*")) == ["PG_17_1", "archive_status", "file", "file"]


@pytest.mark.parametrize("existed", [True, False])
def test_a_folder_that_the_copy_itself_links_to_is_cleared(host: Host, bystander: Path, existed: bool) -> None:
    (bystander / "notes").touch() if existed else None
    with filling(host) as incoming:
        incoming.begin("test", elsewhere=[Elsewhere(str(bystander), existed)])
        os.makedirs(f"{incoming.path}/pg_tblspc")
        os.symlink(bystander, f"{incoming.path}/pg_tblspc/16384")
        incoming.clear()
    assert bystander.exists() is existed
    assert not existed or os.listdir(bystander) == ["notes"]


@pytest.mark.parametrize(
    "marker", ["{", "[]", '{"phase": "over"}', '{"unit": "ssh.service"}', '{"elsewhere": [{"path": "/a/../b"}]}']
)
def test_a_marker_that_is_not_ours_stops_the_run(host: Host, marker: str) -> None:
    with filling(host) as incoming:
        incoming.begin("test")
        Path(incoming.marker_path).write_text(marker)
    before = names(host)
    with pytest.raises(ReplicationError, match=INCOMING_MARKER), filling(host) as incoming:
        incoming.is_whole("test")
    assert names(host) == before
