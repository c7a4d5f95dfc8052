# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The program that looks after one base backup on the database host, whatever becomes of the Ansible run.

It is copied to the host and run there by itself, as the account of PostgreSQL, so it imports nothing but Python's own
library. It runs pg_basebackup and pg_verifybackup, writes how far they are to a file, and at the end writes to the
marker of the data directory that the copy is whole, or why it is not. The lock of the data directory is an open file
that it and its programs inherit: the lock ends with the last of them.

The same file holds the reading of what pg_basebackup prints, which the tests use directly.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import typing as t

#: Files of the job's folder.
REQUEST = "request.json"
PROGRESS = "progress.json"
PASSFILE = "pass"
LOG = "log"
PROGRAM = "job.py"

#: What the marker of the data directory says of the copy.
FILLING = "filling"
COPIED = "copied"
FAILED = "failed"

#: Seconds between two looks at the programs, and between two writes of the progress file.
TICK = 0.2
WRITE_EVERY = 0.5
#: Seconds over which the rate is an average.
RATE_WINDOW = 15.0

#: Seconds to wait for a slot that somebody has; longer than wal_sender_timeout is by default.
SLOT_PATIENCE = 75.0
SLOT_PAUSE = 2.0

_PROGRESS_LINE = re.compile(r"^\s*(\d+)(?:/(\d+))?\s+kB(?:\s+\(\s*\d+%\))?,\s+\d+(?:/\d+)?\s+tablespaces?\b")
#: What pg_basebackup says with --verbose, and the phase that begins with it. The words are those of 10 to 19; what
#: follows the word of a phase may differ.
_PHASES = (
    ("waiting for checkpoint", "checkpoint"),
    ("checkpoint completed", "streaming"),
    ("waiting for background process", "waiting for WAL"),
    ("syncing data to disk", "syncing"),
)


class Counted(t.NamedTuple):
    """How much pg_basebackup has received, and of how much, in bytes."""

    done: int
    total: int | None


def read_progress_line(line: str) -> Counted | None:
    """A progress line of pg_basebackup, None for any other line.

    >>> read_progress_line("30730/76289 kB (40%), 0/2 tablespaces (.../ts1copy/PG_15_202209061/5/16385)")
    Counted(done=31467520, total=78119936)
    >>> read_progress_line("  1024 kB, 0/1 tablespace"), read_progress_line("pg_basebackup: checkpoint completed")
    (Counted(done=1048576, total=None), None)
    """
    match = _PROGRESS_LINE.match(line)
    if not match:
        return None
    return Counted(int(match.group(1)) * 1024, int(match.group(2)) * 1024 if match.group(2) else None)


def read_phase(line: str) -> str | None:
    """The phase that a line of pg_basebackup begins, None where it begins none.

    >>> read_phase("pg_basebackup: initiating base backup, waiting for checkpoint to complete")
    'checkpoint'
    >>> read_phase("pg_basebackup: checkpoint completed"), read_phase("pg_basebackup: base backup completed")
    ('streaming', None)
    """
    return next((phase for words, phase in _PHASES if words in line), None)


def is_slot_in_use(message: str, argv: t.Sequence[str]) -> bool:
    """Whether somebody has the slot of a copy. The server says it in its own language: of what it says of a slot only
    this has a number, which is that of a process.

    >>> told = 'pg_basebackup: error: could not send replication command "START_REPLICATION": FEHLER:  '
    >>> is_slot_in_use(told + "Replikations-Slot »pg2« ist aktiv für PID 4711", ["--slot=pg2"])
    True
    >>> is_slot_in_use(told + "Replikations-Slot »pg2« existiert nicht", ["--slot=pg2"])
    False
    """
    names = [re.escape(word[len("--slot=") :]) for word in argv if word.startswith("--slot=")]
    for name in names:
        for line in message.split("; "):
            told = re.split(rf"(?<![a-z0-9_]){name}(?![a-z0-9_])", line.rpartition("START_REPLICATION")[2])
            if len(told) > 1 and any(re.search(r"(?<![0-9/.])[0-9]+(?![0-9/.])", part) for part in told):
                return True
    return False


def split_lines(text: str) -> tuple[list[str], str]:
    """Whole lines, and the rest that has no end yet. On a terminal, and before 12 anywhere, progress ends with CR.

    >>> split_lines("a\\nb\\rc")
    (['a', 'b'], 'c')
    """
    *whole, rest = re.split(r"[\r\n]", text)
    return [line for line in whole if line.strip()], rest


def reason_of(lines: t.Sequence[str], status: int, program: str) -> str:
    """Why a program failed, in its own words.

    >>> reason_of(["pg_basebackup: starting", "pg_basebackup: error: no space"], 1, "pg_basebackup")
    'pg_basebackup: error: no space'
    >>> reason_of(["pg_basebackup: starting"], -9, "pg_basebackup")
    'pg_basebackup was killed by signal 9'
    """
    if status < 0:
        return f"{program} was killed by signal {-status}"
    telling = [line for line in lines if re.search(r"\b(error|fatal|could not|invalid|FATAL|ERROR)\b", line)]
    shown = telling[-4:] or list(lines[-2:])
    return "; ".join(shown) or f"{program} ended with status {status}"


class Rate:
    """Bytes a second over the last while."""

    def __init__(self) -> None:
        self._samples: collections.deque[tuple[float, int]] = collections.deque()

    def add(self, when: float, done: int) -> None:
        """Note how far it is now."""
        self._samples.append((when, done))
        while len(self._samples) > 2 and self._samples[1][0] < when - RATE_WINDOW:
            self._samples.popleft()

    def value(self) -> float | None:
        """None until there is something to say.

        >>> rate = Rate()
        >>> rate.add(0.0, 0); rate.value()
        >>> rate.add(2.0, 100); rate.value()
        50.0
        """
        (first, before), (last, after) = (self._samples[0], self._samples[-1]) if self._samples else ((0.0, 0),) * 2
        return (after - before) / (last - first) if last > first else None


def replace_file(path: str, text: str, *, durable: bool) -> None:
    """Replace a file in one step."""
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
        stream.flush()
        if durable:
            os.fsync(stream.fileno())
    os.replace(temporary, path)
    if durable:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read_all(descriptor: int) -> str:
    """What a pipe holds at the moment."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while True:
            part = os.read(descriptor, 65536)
            if not part:
                break
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


class Stopped(Exception):
    """Somebody asked the job to end."""


class Job:
    """One base backup."""

    def __init__(self, folder: str, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        with open(f"{folder}/{REQUEST}", encoding="utf-8") as stream:
            self._request = json.load(stream)
        with open(f"{folder}/{PASSFILE}", encoding="utf-8", errors="surrogateescape") as stream:
            self._passfile = stream.read()
        self._child: subprocess.Popen[bytes] | None = None
        self._rate = Rate()
        self._written = 0.0
        self._copied = 0
        now = time.time()
        self._progress: dict[str, t.Any] = {
            "phase": "starting",
            "done": 0,
            "total": self._request["total"],
            "rate": None,
            "started": now,
            "since": now,
            "updated": now,
            "pid": os.getpid(),
        }

    def run(self) -> None:
        """Everything, to the marker's last word."""
        self._write_progress()
        try:
            for step in self._request["steps"]:
                self._run_step_patiently(step)
        except (Stopped, OSError, RuntimeError) as error:
            self._end_child()
            self._mark(FAILED, str(error))
        else:
            self._mark(COPIED, None)
        finally:
            self._remove_passfile()

    def _remove_passfile(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._folder}/{PASSFILE}")

    def _mark(self, phase: str, message: str | None) -> None:
        path = self._request["marker"]
        with open(path, encoding="utf-8") as stream:
            marker = json.load(stream)
        marker.update(phase=phase, message=message, ended=time.time(), copied=self._copied)
        text = json.dumps(marker, sort_keys=True) + "\n"
        try:
            replace_file(path, text, durable=True)
        except OSError:
            # The disk may be full of what was copied so far, which is of no use to anybody. The links stay: they tell
            # the next run which folders elsewhere are this copy's.
            for entry in os.scandir(self._request["incoming"]):
                if entry.name != "pg_tblspc" and not entry.is_symlink():
                    if entry.is_dir():
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        os.unlink(entry.path)
            replace_file(path, text, durable=True)

    def _write_progress(self) -> None:
        self._written = self._progress["updated"] = time.time()
        # Progress is worth nothing to a disk that is full.
        with contextlib.suppress(OSError):
            replace_file(f"{self._folder}/{PROGRESS}", json.dumps(self._progress) + "\n", durable=False)

    def _enter(self, phase: str) -> None:
        self._progress.update(phase=phase, since=time.time(), rate=None)
        self._rate = Rate()
        if phase == "streaming":
            self._rate.add(time.time(), 0)
        self._write_progress()

    def _run_step_patiently(self, step: t.Mapping[str, t.Any]) -> None:
        """Where an earlier copy lost its host or its network, the upstream takes a while to let go of the slot.

        It counts from the first refusal: before 15 pg_basebackup notices that only at the end of the copy.
        """
        refused = None
        while True:
            try:
                return self._run_step(step)
            except RuntimeError as error:
                refused = refused or time.time()
                if not is_slot_in_use(str(error), step["argv"]) or time.time() - refused >= SLOT_PATIENCE:
                    raise
            self._enter("waiting for the slot")
            time.sleep(SLOT_PAUSE)
            # It was there until pg_basebackup had logged in.
            replace_file(f"{self._folder}/{PASSFILE}", self._passfile, durable=False)

    def _run_step(self, step: t.Mapping[str, t.Any]) -> None:
        argv = step["argv"]
        name = os.path.basename(argv[0])
        if step["phase"]:
            self._progress["done"] = 0
            self._enter(step["phase"])
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=self._request["environment"],
            pass_fds=[self._lock],
            # A process group of its own: pg_basebackup has a child that would outlive it.
            start_new_session=True,
        )
        lines = self._watch(self._child, counts_reads=bool(step["phase"]))
        status = self._child.wait()
        self._end_child()
        if status != 0:
            raise RuntimeError(reason_of(lines, status, name))

    def _watch(self, child: subprocess.Popen[bytes], *, counts_reads: bool) -> list[str]:
        """Read what a program says until it ends; the last lines that are not progress."""
        said: collections.deque[str] = collections.deque(maxlen=50)
        stream = t.cast("t.IO[bytes]", child.stderr)
        os.set_blocking(stream.fileno(), False)
        rest = ""
        ended = False
        with open(f"{self._folder}/{LOG}", "a", encoding="utf-8") as log:
            while not ended:
                # Not the end of the pipe: an orphan of a killed pg_basebackup would hold it open.
                ended = child.poll() is not None
                if not ended:
                    select.select([stream], [], [], TICK)
                text = _read_all(stream.fileno())
                if not text and not ended:
                    time.sleep(TICK / 4)
                lines, rest = split_lines(rest + text + ("\n" if ended else ""))
                for line in lines:
                    if not self._take_progress(line):
                        said.append(line.strip())
                        with contextlib.suppress(OSError):
                            log.write(line + "\n")
                            log.flush()
                if counts_reads:
                    self._take_reads(child.pid)
                if time.time() - self._written >= WRITE_EVERY:
                    self._write_progress()
        return list(said)

    def _take_progress(self, line: str) -> bool:
        """Whether a line is about how far pg_basebackup is, which is then noted."""
        counted = read_progress_line(line)
        if counted is not None:
            if self._progress["phase"] != "streaming" and counted.done:
                self._enter("streaming")
            # Both connections stand by now, and pg_basebackup opens no other.
            self._remove_passfile()
            self._progress["done"] = self._copied = counted.done
            self._progress["total"] = counted.total or self._progress["total"]
            self._note_rate()
            return True
        phase = read_phase(line)
        if phase is not None and phase != self._progress["phase"]:
            self._enter(phase)
        return False

    def _take_reads(self, pid: int) -> None:
        """How much a program has read: pg_verifybackup says it only from 16 on."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{pid}/io", encoding="ascii") as stream:
                self._progress["done"] = int(stream.readline().split()[1])
            self._note_rate()

    def _note_rate(self) -> None:
        self._rate.add(time.time(), self._progress["done"])
        self._progress["rate"] = self._rate.value()

    def _end_child(self) -> None:
        """End a program and everything that it started."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


def _stop(number: int, _frame: object) -> None:
    raise Stopped(f"the job was stopped by signal {number}")


def main(folder: str, lock: int) -> None:
    """Become a process of its own, then run the job."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    log = os.open(f"{folder}/{LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number != lock:
            with contextlib.suppress(OSError):
                os.close(number)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    Job(folder, lock).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
