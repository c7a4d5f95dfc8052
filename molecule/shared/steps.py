# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of scenarios that run playbooks themselves share: a playbook, a command on a host, something that
befalls a host."""

from __future__ import annotations

import os
import subprocess
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def inventories() -> list[str]:
    """The options that name the scenario's inventory."""
    return [f"--inventory={path}" for path in os.environ["PGTANDEM_LAB_INVENTORY"].split(":")]


def lab(*words: str) -> None:
    """Do something to hosts from outside: cut, heal, kill, start, restart, fill."""
    subprocess.run(["python", "molecule/shared/lab.py", *words], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


def on(host: str, script: str, *, check: bool = True) -> str:
    """What a script of root's prints on a host."""
    done = subprocess.run(
        ["python", "molecule/shared/lab.py", "ssh", host, "--", "sudo", "bash", "-s"],
        input=script, cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def psql(host: str, sql: str, *, port: int = 5432, socket: str = "/var/run/postgresql", check: bool = True) -> str:
    """The rows of statements as the superuser, one a line, columns apart by a bar."""
    return on(
        host,
        f"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -h {socket} -p {port} -d postgres <<'END'\n{sql}\nEND",
        check=check,
    )


class Said(t.NamedTuple):
    """How a playbook ended, and what it said."""

    returncode: int
    output: str

    @property
    def text(self) -> str:
        """Without the breaks that YAML makes in long lines."""
        return " ".join(self.output.split())


def playbook_command(name: str, *words: str, sources: t.Iterable[Path] = ()) -> dict[str, t.Any]:
    """What subprocess needs for a playbook of the collection, or one with a path, against the scenario's hosts, or
    those of other inventories."""
    where = [f"--inventory={path}" for path in sources] or inventories()
    return {
        "args": ["ansible-playbook", *where, name if "/" in name else f"pgtandem.replication.{name}", *words],
        "cwd": ROOT,
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
        "env": {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
    }


def playbook(name: str, *words: str, sources: t.Iterable[Path] = (), seconds: float | None = None) -> Said:
    """Run a playbook to its end, whatever that is; C(seconds) is how long it may take."""
    done = subprocess.run(**playbook_command(name, *words, sources=sources), check=False, timeout=seconds)
    assert "Traceback" not in done.stdout, done.stdout
    return Said(done.returncode, done.stdout)


def wait_until(condition: t.Callable[[], object], seconds: float = 60, *, what: t.Callable[[], str] = str) -> None:
    """Look again until it is so; C(what) says what was there in the end instead."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.3)
