# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run that starts servers or hosts, and that leaves nothing behind, whatever ends it.

Its temporary files are in one folder, its processes below this one, its hosts and networks labelled with its name.
A run that was killed could not clear them: the next one of this checkout does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from . import processes

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / ".cache" / "runs"
#: The run that a process belongs to; the lab labels its hosts with it.
VARIABLE = "PGTANDEM_RUN"


def say(text: str) -> None:
    """Say something of the run itself; a terminal that went away is no reason to stop clearing."""
    with contextlib.suppress(OSError):
        print(f"[tests] {text}", file=sys.stderr, flush=True)


class Run(t.NamedTuple):
    """A run by its name."""

    name: str

    @property
    def folder(self) -> Path:
        """Its temporary files. Sockets lie in there, whose paths may only have some 100 bytes."""
        return Path("/tmp", f"pgt-{self.name}")

    @property
    def note(self) -> Path:
        """The file that is locked as long as the run lives."""
        return RUNS / self.name

    @property
    def mark(self) -> str:
        """How its processes' environment names it."""
        return f"{VARIABLE}={self.name}"

    def processes(self) -> list[processes.Process]:
        """Those of the run that are not below this process."""
        own = os.getpid()
        rows = [row for row in processes.all_processes() if row.pid != own and row.state != "Z"]
        return [row for row in rows if processes.belongs_to(row.pid, self.mark, str(self.folder))]


def mounts_below(folder: str, mountinfo: str) -> list[str]:
    """Mount points in a folder, the innermost first.

    >>> mounts_below("/tmp/x", "1 0 0:1 / /tmp/x/a rw\\n2 0 0:1 / /tmp/x/a/b rw\\n3 0 0:1 / /tmp/xy rw\\n")
    ['/tmp/x/a/b', '/tmp/x/a']
    """
    points = [line.split()[4] for line in mountinfo.splitlines() if len(line.split()) > 4]
    return sorted((point for point in points if point.startswith(folder + "/")), key=len, reverse=True)


def remove_folder(folder: Path) -> None:
    """Remove a run's files, but nothing that is mounted among them."""
    if not folder.exists():
        return
    with contextlib.suppress(OSError):
        for point in mounts_below(str(folder), Path("/proc/self/mountinfo").read_text()):
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    for sudo in ([], ["sudo", "-n"]):
        argv = [*sudo, "rm", "-rf", "--one-file-system", str(folder)]
        with contextlib.suppress(OSError):
            subprocess.run(argv, capture_output=True, check=False)
        if not folder.exists():
            return
    say(f"could not remove all of {folder}")


def clear_hosts(name: str) -> None:
    """Remove the hosts and networks of a run, where it made any: the lab leaves a note then."""
    if not (ROOT / ".lab" / "runs" / name).exists() or not shutil.which("podman"):
        return
    lab = [sys.executable, str(ROOT / "molecule/shared/lab.py"), "clear", name]
    done = subprocess.run(lab, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    for line in done.stderr.splitlines():
        say(line)


def clear(run: Run) -> None:
    """Remove whatever a run left."""
    processes.end(lambda: processes.without_hosts(run.processes()))
    clear_hosts(run.name)
    processes.end(run.processes)
    remove_folder(run.folder)
    with contextlib.suppress(OSError):
        run.note.unlink()


def clear_earlier() -> None:
    """Clear the runs of this checkout that were killed."""
    for note in sorted(RUNS.glob("*")):
        with contextlib.suppress(OSError), note.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            say(f"clearing what the run {note.name} left, which was killed")
            clear(Run(note.name))


@contextlib.contextmanager
def locked(run: Run) -> t.Iterator[None]:
    """Hold the run's note, by which others see that it lives."""
    RUNS.mkdir(parents=True, exist_ok=True)
    # It gets its name with the lock on it, or another run might take it for one that was killed.
    unnamed = RUNS.parent / f"run-{run.name}"
    with unnamed.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        unnamed.rename(run.note)
        yield


class Stop:
    """The first signal that asked this process to end."""

    def __init__(self) -> None:
        """Listen from now on."""
        self.number = 0
        for number in processes.STOPS:
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: object) -> None:
        self.number = self.number or number

    @property
    def name(self) -> str:
        """The signal's name."""
        return signal.Signals(self.number).name if self.number else ""


def wait(child: subprocess.Popen[t.Any], stop: Stop, grace: float) -> int:
    """Wait for a command; on a signal interrupt its group, and give it some seconds to end."""
    while child.poll() is None and not stop.number:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.2)
    if child.returncode is not None:
        return child.returncode if child.returncode >= 0 else 128 - child.returncode
    say(f"{stop.name}: ending, and clearing up")
    with contextlib.suppress(ProcessLookupError):
        # As Ctrl-C does: test runners and scripts then take down what they set up.
        os.killpg(child.pid, signal.SIGINT)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.05)
    return 128 + stop.number


def own_children() -> list[processes.Process]:
    """All processes below this one."""
    return processes.below(os.getpid(), processes.all_processes())


def keep_clean(argv: t.Sequence[str], *, grace: float) -> int:
    """Run a command as a run of its own, and clear up after it; returns its exit code."""
    if os.environ.get(VARIABLE):
        os.execvp(argv[0], list(argv))
    stop = Stop()
    processes.adopt_orphans()
    clear_earlier()
    run = Run(secrets.token_hex(4))
    with locked(run):
        run.folder.mkdir()
        # Other accounts run servers in there, as they do in /tmp.
        run.folder.chmod(0o1777)
        environment = {**os.environ, VARIABLE: run.name, "TMPDIR": str(run.folder)}
        try:
            child = subprocess.Popen(list(argv), env=environment, start_new_session=True)
            status = wait(child, stop, grace)
        except OSError as error:
            say(f"{argv[0]}: {error.strerror}")
            status = 127
        finally:
            left = processes.end(lambda: processes.without_hosts(own_children()))
            if left and not stop.number:
                say("ended what was left running: " + ", ".join(f"{row.command} ({row.pid})" for row in left[:8]))
            clear(run)
            processes.end(own_children)
    return status
