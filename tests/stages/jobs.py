# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands side by side: each one's output goes to a file and is printed in one piece when it is over."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def plain(text: str) -> str:
    """Text without the colours of a terminal.

    >>> plain("\\x1b[31mfatal\\x1b[0m")
    'fatal'
    """
    return ESCAPES.sub("", text)


@dataclasses.dataclass
class Job:
    """A command, and what became of it."""

    name: str
    argv: list[str]
    log: Path
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Where it is to be interrupted by itself and not together with this process.
    own_group: bool = False
    status: int | None = None
    seconds: float = 0.0
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0

    def start(self) -> None:
        """Start the command."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        with self.log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.environment},
                    start_new_session=self.own_group,
                )
            except OSError as error:
                output.write(f"{self.argv[0]}: {error.strerror}\n".encode())
                self.status = 127

    def is_over(self) -> bool:
        """Whether it has ended; takes its exit code and time then."""
        if self.status is None and self._process is not None:
            self.status = self._process.poll()
            self.seconds = time.monotonic() - self._started
        return self.status is not None

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group."""
        if self._process is not None and self.status is None:
            os.killpg(self._process.pid, number)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def last_line(self) -> str:
        """The last line of that, without colours."""
        lines = plain(self.text[-2000:]).split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def show(text: str = "") -> None:
    """Print to a terminal or a log that may be gone."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


class Progress:
    """One line that says what runs: kept up to date on a terminal, said now and then in a log."""

    def __init__(self, every: float = 60.0) -> None:
        """Say it to a log each `every` seconds."""
        self.terminal = sys.stdout.isatty()
        self.every = 1.0 if self.terminal else every
        self.said = time.monotonic()
        self.width = 0

    def tell(self, running: t.Sequence[Job]) -> None:
        """Say how far the running jobs are, where it is time to."""
        if time.monotonic() - self.said < self.every:
            return
        self.said = time.monotonic()
        parts = [f"{job.name} {job.seconds:.0f} s" for job in running]
        line = "... " + ", ".join(parts)
        if running:
            line += f"; {running[0].last_line}"
        line = line[:110]
        if self.terminal:
            print(f"\r{line.ljust(self.width)}", end="", flush=True)
            self.width = len(line)
        else:
            show(line)

    def clear(self) -> None:
        """Make room for other output."""
        if self.terminal and self.width:
            print("\r" + " " * self.width + "\r", end="", flush=True)
            self.width = 0


def run_all(
    jobs: t.Sequence[Job],
    *,
    at_once: int,
    before: t.Callable[[Job], None],
    after: t.Callable[[Job], None],
    stopped: t.Callable[[], bool] = lambda: False,
) -> list[Job]:
    """Run jobs in their order, some at once; returns those that still run when it is stopped."""
    waiting, running = list(jobs), t.cast("list[Job]", [])
    progress = Progress()
    while (waiting or running) and not stopped():
        while waiting and len(running) < at_once:
            running.append(waiting.pop(0))
            progress.clear()
            before(running[-1])
            running[-1].start()
        over = [job for job in running if job.is_over()]
        running = [job for job in running if job not in over]
        if over:
            progress.clear()
        for job in over:
            after(job)
        if not over:
            progress.tell(running)
            time.sleep(0.1)
    progress.clear()
    return running
