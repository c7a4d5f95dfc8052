# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the collection's playbooks against a scenario's hosts, which go on beside a test and can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import typing as t

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
LAB = CHECKOUT / "molecule/shared/lab.py"


def lab(*arguments: str) -> None:
    """Do something to hosts from outside."""
    done = subprocess.run(
        [sys.executable, str(LAB), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Outcome(t.NamedTuple):
    """How a run ended."""

    rc: int
    text: str
    seconds: float

    @property
    def said(self) -> str:
        """What it printed, on one line, without quoting."""
        return " ".join(self.text.replace('\\"', '"').replace("\\n", "\n").split())

    @property
    def errors(self) -> str:
        """The messages of the tasks that failed."""
        found = []
        for line in self.text.splitlines():
            match = re.match(r"(?:fatal|failed): \[(\S+?)\].*?(?:FAILED|UNREACHABLE)! => (\{.*)", line)
            if match:
                with contextlib.suppress(ValueError):
                    found.append(f"{match[1]}: {json.loads(match[2]).get('msg', '')}")
        return "\n".join(found)

    def counted(self, word: str) -> int:
        """The sum of a column of the recap."""
        return sum(int(number) for number in re.findall(rf"\b{word}=(\d+)", self.text))


class Run:
    """A run of a playbook that goes on beside the test."""

    def __init__(
        self, log: pathlib.Path, playbook: str, arguments: t.Sequence[str], *, inventories: t.Iterable[str] = ()
    ) -> None:
        """Start it, with the scenario's inventory and any others."""
        self.log = log
        argv = ["ansible-playbook", f"pgtandem.replication.{playbook}"]
        for source in (*os.environ["PGTANDEM_LAB_INVENTORY"].split(":"), *inventories):
            argv += ["--inventory", source]
        environment = dict(
            os.environ,
            ANSIBLE_CALLBACK_RESULT_FORMAT="json",
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_FORCE_COLOR="0",
            PYTHONUNBUFFERED="1",
            # not through molecule's verifier, which has settings of its own for ansible
            ANSIBLE_CONFIG=str(CHECKOUT / "molecule/shared/ansible.cfg"),
        )
        self.started = time.monotonic()
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*argv, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """What it has printed so far, without colours, which a caller may have asked Ansible for."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())

    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.poll() is not None

    def wait(self, seconds: float = 600) -> Outcome:
        """Return how it ended."""
        rc = self.process.wait(timeout=seconds)
        outcome = Outcome(rc, self.text, time.monotonic() - self.started)
        assert "Traceback" not in outcome.text, outcome.text
        return outcome

    def kill_at(self, task: str, seconds: float = 300) -> bool:
        """Kill it when a task begins; false where it ended before."""
        deadline = time.monotonic() + seconds
        while f" {task}] " not in self.text:
            if self.ended():
                return False
            assert time.monotonic() < deadline, self.text
            time.sleep(0.01)
        self.kill()
        return True

    def kill(self) -> None:
        """End it with all that it started here, as a lost laptop does: no handler runs."""
        parents: dict[int, list[int]] = {}
        listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
        for line in listed.stdout.splitlines():
            pid, parent = map(int, line.split())
            parents.setdefault(parent, []).append(pid)
        doomed = [self.process.pid]
        for pid in doomed:
            doomed += parents.get(pid, [])
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
