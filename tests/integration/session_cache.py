# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a session of tests makes once, for all of its processes: new database directories, whole sites, bytecode."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

_VARIABLE = "PGTANDEM_TEST_CACHE"
#: A folder that a socket's path fits in; a run of tests has one of its own, which it removes at the end.
SHORT = f"/tmp/pgt-{os.environ['PGTANDEM_RUN']}" if "PGTANDEM_RUN" in os.environ else "/tmp"
#: They end with this process.
_SERVERS: list[subprocess.Popen[bytes]] = []


def begin() -> bool:
    """Make the session's folder where there is none; xdist's workers find that of the process that started them."""
    if _VARIABLE in os.environ:
        return False
    folder = Path(tempfile.mkdtemp(prefix="pgt-once-", dir=SHORT))
    # The servers' account reads it.
    folder.chmod(0o755)
    (folder / "bytecode").mkdir()
    os.environ[_VARIABLE] = str(folder)
    return True


def end() -> None:
    shutil.rmtree(os.environ.pop(_VARIABLE), ignore_errors=True)


def environment(*callbacks: str) -> dict[str, str]:
    """Variables for ansible-playbook, so that runs share work; C(callbacks) are more of these tests' own ones."""
    return {
        _VARIABLE: os.environ[_VARIABLE],
        "PYTHONPATH": str(Path(__file__).with_name("python_start")),
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback_plugins")),
        "ANSIBLE_CALLBACKS_ENABLED": ",".join(["share_work", *callbacks]),
    }


def plain_environment() -> dict[str, str]:
    """This process's variables without those that configure Ansible."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}


def _fork_server(kind: str, variables: t.Mapping[str, str]) -> str:
    """Start python_start/fork_server.py; returns the program that has it fork."""
    folder = Path(tempfile.mkdtemp(prefix="python-", dir=os.environ[_VARIABLE]))
    program = Path(__file__).with_name("python_start") / "fork_server.py"
    server = subprocess.Popen(
        [sys.executable, program, kind, folder / "socket", folder / "python"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd="/",
        env={
            **plain_environment(),
            **variables,
            "LC_ALL": "C.UTF-8",
        },
    )
    _SERVERS.append(server)
    while not (folder / "python").exists():
        assert server.poll() is None, "fork_server.py ended"
        time.sleep(0.05)
    return str(folder / "python")


@functools.lru_cache(maxsize=None)
def forking_python() -> str:
    """An interpreter for modules that has Ansible's part of them loaded already.

    What a test kills, interrupts or watches has to run with the real one, and so has Mitogen.
    """
    return os.environ.get("PGTANDEM_TEST_PYTHON") or _fork_server("module", environment())


@functools.lru_cache(maxsize=None)
def _forking_controller(variables: frozenset[tuple[str, str]]) -> str:
    return _fork_server("controller", dict(variables))


def forking_controller(variables: t.Mapping[str, str]) -> str:
    """An interpreter for ansible-playbook that has Ansible loaded already, configured by these variables."""
    return _forking_controller(
        frozenset(item for item in variables.items() if item[0].startswith(("ANSIBLE_", "PYTHON", _VARIABLE)))
    )


def once(name: str, make: t.Callable[[Path], None]) -> Path:
    """The folder that C(make) made, in whichever process came first."""
    path = Path(os.environ[_VARIABLE], name)
    with open(path.with_name(f"{name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made = Path(tempfile.mkdtemp(dir=path.parent))
            made.chmod(0o755)
            with contextlib.ExitStack() as failed:
                failed.callback(shutil.rmtree, made)
                make(made)
                failed.pop_all()
            made.rename(path)
    return path


def copy(source: Path, target: Path) -> None:
    """Copy a folder with its owners, by reference where the file system can."""
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)
