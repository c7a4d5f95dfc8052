# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who looks after a copy, and when a copy is nobody's: the process table of this very machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup import copy_process
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory import copy_program
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import Process
from stand_ins import host_on


@contextlib.contextmanager
def copying(folder: Path, name: str = "copy") -> t.Iterator[subprocess.Popen[bytes]]:
    """A program that works for a copy, as far as the process table shows: it has the lock and names our folder."""
    (folder / "data").mkdir(exist_ok=True)
    lock = os.open(folder / "data", os.O_RDONLY)
    argv = [sys.executable, "-c", "print(flush=True); input()", name, f"{folder}/data/pgtandem-incoming"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[lock]) as process:
        os.close(lock)
        try:
            assert process.stdout is not None and process.stdout.readline()
            yield process
        finally:
            process.kill()


def looks(monkeypatch: pytest.MonkeyPatch, *seen: copy_process.Alive) -> None:
    """What one look after the other finds."""
    answers = iter(seen)
    monkeypatch.setattr(copy_process, "processes_of", lambda _host: next(answers))
    monkeypatch.setattr(copy_process, "_SECOND_LOOK", 0.01)


KEEPER = Process(1, "python job.py")


def test_a_copy_without_a_keeper_is_ended(tmp_path: Path) -> None:
    with copying(tmp_path) as copy:
        assert copy_process.kill_orphans(host_on(tmp_path))
        assert copy.wait(timeout=10) == -9
    assert not copy_process.kill_orphans(host_on(tmp_path))


def test_a_keeper_that_is_seen_late_keeps_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with copying(tmp_path) as copy:
        program = Process(copy.pid, "pg_basebackup")
        looks(monkeypatch, copy_process.Alive([], [program]), copy_process.Alive([KEEPER], [program]))
        assert not copy_process.kill_orphans(host_on(tmp_path))
        assert copy.poll() is None


def test_a_copy_that_began_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with copying(tmp_path) as copy:
        gone = Process(2**22 + 1, "pg_basebackup")
        looks(monkeypatch, copy_process.Alive([], [gone]), copy_process.Alive([], [Process(copy.pid, "pg_basebackup")]))
        assert not copy_process.kill_orphans(host_on(tmp_path))
        assert copy.poll() is None


def test_a_job_that_runs_is_no_orphan(tmp_path: Path) -> None:
    """The real program, seen by runs that look for orphans while it opens and closes files all the time."""
    host = host_on(tmp_path)
    data = tmp_path / "data"
    (data / "pgtandem-job").mkdir(parents=True)
    (data / "pgtandem-incoming").mkdir()
    marker = data / "pgtandem-incoming.json"
    marker.write_text(json.dumps({"phase": "filling"}), encoding="utf-8")
    # Each line begins a phase, so that the keeper writes its progress anew.
    script = (
        "while test ! -e $0/../../stop; do echo waiting for checkpoint >&2; echo checkpoint completed >&2; "
        "sleep 0.001; done"
    )
    request = {
        "marker": str(marker),
        "incoming": str(data / "pgtandem-incoming"),
        "total": None,
        "environment": {"PATH": os.environ["PATH"]},
        "steps": [{"argv": ["/bin/sh", "-c", script, str(data / "pgtandem-incoming")], "phase": ""}],
    }
    (data / "pgtandem-job/request.json").write_text(json.dumps(request), encoding="utf-8")
    (data / "pgtandem-job/pass").write_text("secret", encoding="utf-8")
    program = data / "pgtandem-job" / copy_program.PROGRAM
    program.write_text(Path(copy_program.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    lock = os.open(data, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    subprocess.run([sys.executable, "-I", program, program.parent, str(lock)], pass_fds=[lock], check=True)
    os.close(lock)
    try:
        deadline = time.monotonic() + 20
        while not copy_process.processes_of(host).programs:
            assert time.monotonic() < deadline
        for _number in range(10):
            assert len(copy_process.processes_of(host).keepers) == 1
            assert not copy_process.kill_orphans(host)
    finally:
        (tmp_path / "stop").touch()
    deadline = time.monotonic() + 20
    while json.loads(marker.read_text(encoding="utf-8"))["phase"] == "filling":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert json.loads(marker.read_text(encoding="utf-8"))["phase"] == "copied"


@pytest.mark.parametrize(
    ("unit", "stopped"),
    [
        ("pgtandem-basebackup-5432-1795366034.scope", True),
        ("pgtandem-basebackup-5433-1795366034.scope", False),
        ("ssh.service", False),
        (None, False),
    ],
)
def test_only_this_instances_own_job_is_taken_away(tmp_path: Path, unit: str | None, stopped: bool) -> None:
    host = host_on(tmp_path)
    copy_process.forget_unit(host, unit)
    assert t.cast(t.Any, host.runner).ran == ([["systemctl", "stop", unit]] if stopped else [])
