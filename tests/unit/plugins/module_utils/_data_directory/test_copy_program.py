# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pg_basebackup prints, as its versions print it, and the program that reads it."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory import copy_program as job

# Captured from 15.18 and 18.6 with --progress --verbose on a pipe.
SAID_15 = """\
pg_basebackup: initiating base backup, waiting for checkpoint to complete
pg_basebackup: checkpoint completed
pg_basebackup: write-ahead log start point: 0/5000028 on timeline 1
pg_basebackup: starting background WAL receiver
pg_basebackup: created temporary replication slot "pg_basebackup_14039"
30730/76289 kB (40%), 0/2 tablespaces (.../ts1copy/PG_15_202209061/5/16385)
53347/76289 kB (69%), 0/2 tablespaces (.../ts1copy/PG_15_202209061/5/16385)
53347/76289 kB (69%), 1/2 tablespaces (.../ts1copy/PG_15_202209061/5/16385)
76301/76301 kB (100%), 1/2 tablespaces (c/global/pg_control                )
76301/76301 kB (100%), 2/2 tablespaces                                         
pg_basebackup: write-ahead log end point: 0/5000100
pg_basebackup: waiting for background process to finish streaming ...
pg_basebackup: syncing data to disk ...
pg_basebackup: renaming backup_manifest.tmp to backup_manifest
pg_basebackup: base backup completed
"""  # noqa: W291
# As the source of 10 and 11 prints it: carriage returns wherever it goes, and numbers in columns.
SAID_10 = (
    "pg_basebackup: initiating base backup, waiting for checkpoint to complete\n"
    "pg_basebackup: checkpoint completed\n"
    "pg_basebackup: write-ahead log start point: 0/2000028 on timeline 1\n"
    "pg_basebackup: starting background WAL receiver\n"
    "    0/22814 kB (0%), 0/1 tablespace (data/backup_label                    )\r"
    "12345/22814 kB (54%), 0/1 tablespace (...ase/1/2618                    )\r"
    "22822/22822 kB (100%), 1/1 tablespace                                         \n"
    "pg_basebackup: write-ahead log end point: 0/20000F8\n"
    "pg_basebackup: waiting for background process to finish streaming ...\n"
    "pg_basebackup: base backup completed\n"
)


@pytest.mark.parametrize(
    ("said", "counted", "phases"),
    [
        pytest.param(SAID_15, [(30730, 76289), (53347, 76289), (53347, 76289), (76301, 76301), (76301, 76301)],
                     ["checkpoint", "streaming", "waiting for WAL", "syncing"], id="15 and 18"),
        pytest.param(SAID_10, [(0, 22814), (12345, 22814), (22822, 22822)],
                     ["checkpoint", "streaming", "waiting for WAL"], id="10"),
    ],
)  # fmt: skip
def test_what_is_printed_is_read(said: str, counted: list[tuple[int, int]], phases: list[str]) -> None:
    lines, rest = job.split_lines(said)
    assert rest == ""
    found = [progress for progress in map(job.read_progress_line, lines) if progress]
    assert found == [(done * 1024, total * 1024) for done, total in counted]
    assert [phase for phase in map(job.read_phase, lines) if phase] == phases


def test_lines_may_come_in_pieces() -> None:
    rest, lines = "", []
    for position in range(0, len(SAID_10), 7):
        whole, rest = job.split_lines(rest + SAID_10[position : position + 7])
        lines += whole
    assert lines == job.split_lines(SAID_10)[0]


def test_the_rate_forgets() -> None:
    rate = job.Rate()
    for second in range(100):
        rate.add(float(second), 1000 if second < 50 else 1000 + (second - 50) * 10)
    assert rate.value() == pytest.approx(10.0)


# --- The program itself, with small programs in place of PostgreSQL's ---


def run_job(folder: Path, *steps: tuple[str, str], wait: bool = True) -> dict[str, object]:
    """Run the program as the collection does, on a data directory in a folder; what the marker says in the end."""
    data = folder / "data"
    (data / "pgtandem-job").mkdir(parents=True)
    (data / "pgtandem-incoming").mkdir()
    marker = data / "pgtandem-incoming.json"
    marker.write_text(json.dumps({"phase": "filling", "job": "x"}), encoding="utf-8")
    request = {
        "marker": str(marker),
        "incoming": str(data / "pgtandem-incoming"),
        "total": None,
        "environment": {"PATH": os.environ["PATH"]},
        "steps": [{"argv": ["/bin/sh", "-c", script, "sh", "--slot=pg2"], "phase": phase} for script, phase in steps],
    }
    (data / "pgtandem-job/request.json").write_text(json.dumps(request), encoding="utf-8")
    (data / "pgtandem-job/pass").write_text("secret", encoding="utf-8")
    lock = os.open(data, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    subprocess.run(
        [sys.executable, "-I", job.__file__, str(data / "pgtandem-job"), str(lock)], pass_fds=[lock], check=True
    )
    os.close(lock)
    again = os.open(data, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        deadline = time.monotonic() + 20
        while wait:
            try:
                fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < deadline, "the lock outlives the job"
                time.sleep(0.02)
    finally:
        os.close(again)
    return dict(json.loads(marker.read_text(encoding="utf-8")))


def test_a_job_ends_well(tmp_path: Path) -> None:
    line = "2048/4096 kB (50%), 0/1 tablespace (x)"
    marker = run_job(tmp_path, (f"sleep 0.3; echo '{line}' >&2; sleep 0.7", ""), ("sleep 0.3", "verifying"))
    assert marker["phase"] == "copied" and marker["copied"] == 2048 * 1024 and marker["job"] == "x"
    folder = tmp_path / "data/pgtandem-job"
    assert not (folder / "pass").exists()
    assert json.loads((folder / "progress.json").read_text(encoding="utf-8"))["phase"] == "verifying"
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("log", "progress.json")} == {0o600}


def test_a_program_fails(tmp_path: Path) -> None:
    script = "sleep 0.3; echo 'sh: error: no space left on device' >&2; echo noise >&2; exit 1"
    marker = run_job(tmp_path, (script, ""), ("exit 0", "verifying"))
    assert (marker["phase"], marker["message"]) == ("failed", "sh: error: no space left on device")
    assert "noise" in (tmp_path / "data/pgtandem-job/log").read_text(encoding="utf-8")
    assert not (tmp_path / "data/pgtandem-job/pass").exists()


def test_a_program_that_is_killed_takes_its_children_along(tmp_path: Path) -> None:
    marker = run_job(tmp_path, ("sleep 60 & sleep 0.3; kill -9 $$", ""))
    assert (marker["phase"], marker["message"]) == ("failed", "sh was killed by signal 9")


SLOT_IN_USE = (
    'echo \'pg_basebackup: error: could not send replication command "START_REPLICATION": FEHLER:  Replikations-Slot '
    "»pg2« ist aktiv für PID 7' >&2; echo 'pg_basebackup: error: background process terminated unexpectedly' >&2; "
)


def test_a_slot_in_use_is_waited_for(tmp_path: Path) -> None:
    """And the next try can log in, though the password file was gone when the copy seemed to begin."""
    password = tmp_path / "data/pgtandem-job/pass"
    first = (
        "echo '0/4096 kB (0%), 0/1 tablespace (x)' >&2; "
        f"until test ! -e {password}; do sleep 0.05; done; {SLOT_IN_USE} exit 1"
    )
    second = f"stat -c %a {password} > {tmp_path}/seen; cat {password} >> {tmp_path}/seen"
    marker = run_job(
        tmp_path, (f"if test -e {tmp_path}/once; then {second}; else touch {tmp_path}/once; {first}; fi", "")
    )
    assert marker["phase"] == "copied"
    assert (tmp_path / "seen").read_text(encoding="utf-8") == "600\nsecret"
    assert not password.exists()


def test_a_slot_that_somebody_keeps_fails_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = tmp_path / "impatient.py"
    source = Path(job.__file__).read_text(encoding="utf-8")
    assert "SLOT_PATIENCE = 75.0\nSLOT_PAUSE = 2.0\n" in source
    impatient.write_text(
        source.replace("SLOT_PATIENCE = 75.0\nSLOT_PAUSE = 2.0\n", "SLOT_PATIENCE = 0.5\nSLOT_PAUSE = 0.1\n"),
        encoding="utf-8",
    )
    monkeypatch.setattr(job, "__file__", str(impatient))
    # The whole copy is made before it is noticed, as before 15: a first refusal gives no reason to give up.
    marker = run_job(tmp_path, (f"echo try >> {tmp_path}/tries; sleep 0.8; {SLOT_IN_USE} exit 1", ""))
    assert marker["phase"] == "failed" and "»pg2« ist aktiv für PID 7" in str(marker["message"])
    assert (tmp_path / "tries").read_text(encoding="utf-8").count("try") == 2
    assert not (tmp_path / "data/pgtandem-job/pass").exists()


def test_another_error_is_not_tried_again(tmp_path: Path) -> None:
    marker = run_job(tmp_path, (f"echo try >> {tmp_path}/tries; echo 'error: slot \"a\" is lost' >&2; exit 1", ""))
    assert marker["phase"] == "failed"
    assert (tmp_path / "tries").read_text(encoding="utf-8") == "try\n"
