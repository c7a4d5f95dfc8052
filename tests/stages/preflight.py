# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this machine can run of the tests, found out in seconds by trying it."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
#: What the largest scenarios take, two of them at once; and their images.
MOLECULE_MEMORY = 2 * GIB
MOLECULE_DISK = 5 * GIB
#: Servers in the folder of temporary files.
SERVERS_DISK = 2 * GIB
OLDEST_PYTHON = (3, 11)
#: Where a file system of containers may be: the nearest folder that is there counts.
CONTAINERS = Path("/var/lib/containers/storage")


@dataclasses.dataclass
class Findings:
    """What a machine can run."""

    #: Lines to print.
    lines: list[str] = dataclasses.field(default_factory=list)
    #: Stage -> why it cannot run here.
    skips: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Why nothing can run here.
    stops: list[str] = dataclasses.field(default_factory=list)


class Machine(t.NamedTuple):
    """What was found out about a machine; an empty reason means that it can."""

    python: tuple[int, int]
    has_venv: bool
    checkout: str
    root: str
    apt: bool
    memory: int
    disk: int
    containers_disk: int
    missing: t.Mapping[str, t.Sequence[str]]
    #: Whether namespaces and overlays can be made, as a container needs them.
    namespaces: str


def judge(machine: Machine, stages: t.Collection[str]) -> Findings:
    """Say what a machine can run, as far as that is known without a container."""
    found = Findings()
    if machine.python < OLDEST_PYTHON:
        have, want = (".".join(map(str, version)) for version in (machine.python, OLDEST_PYTHON))
        found.stops.append(f"The tests need Python {want} or newer, and this is {have}: PYTHON=python3.x make test")
    if not machine.has_venv:
        found.stops.append("This Python cannot make virtual environments. On Debian: apt-get install python3-venv")
    if machine.checkout:
        found.stops.append(machine.checkout)
    who = f"without root ({machine.root})" if machine.root else "with root's rights"
    found.lines.append(
        f"{who}; {machine.memory / GIB:.1f} GiB of memory and {machine.disk / GIB:.0f} GiB of disk are free"
    )
    servers = {"integration", "controllers"} & set(stages)
    if machine.disk < SERVERS_DISK:
        reason = f"/tmp has {machine.disk / GIB:.1f} GiB free, and test servers take {SERVERS_DISK / GIB:.0f}"
        found.skips.update({stage: reason for stage in servers})
    if "molecule" in stages:
        reason = reason_against_hosts(machine)
        if reason:
            found.skips["molecule"] = reason
    for stage in sorted({"molecule", "integration"} & set(stages) - set(found.skips)):
        kind = {"integration": "browser"}.get(stage, stage)
        missing = machine.missing.get(kind, ())
        if missing and not machine.root and machine.apt:
            found.lines.append(f"will be installed for {stage}: {' '.join(missing)}")
        elif missing:
            found.lines.append(f"{stage} runs without {' '.join(missing)}: what needs that is skipped")
    return found


def reason_against_hosts(machine: Machine) -> str:
    """Why hosts in containers cannot run, as far as that is known before one is tried."""
    missing = machine.missing.get("molecule", ())
    if machine.root:
        return f"hosts in containers need root or sudo without a password: {machine.root}"
    if machine.namespaces:
        return f"this machine lets no container start: {machine.namespaces}"
    if missing and not machine.apt:
        return f"there is no apt-get to install what is missing: {' '.join(missing)}"
    if machine.memory < MOLECULE_MEMORY:
        return f"{machine.memory / GIB:.1f} GiB of memory are free, and hosts take {MOLECULE_MEMORY / GIB:.0f}"
    if machine.containers_disk < MOLECULE_DISK:
        return f"{machine.containers_disk / GIB:.1f} GiB of disk are free, and hosts take {MOLECULE_DISK / GIB:.0f}"
    return ""


def required(text: str) -> set[str]:
    """The stages that may not be missing, from REQUIRE.

    >>> sorted(required("molecule, integration"))
    ['integration', 'molecule']
    """
    return set(filter(None, re.split(r"[,\s]+", text)))


# --- looking at the machine ---


def tried(argv: t.Sequence[str], seconds: float = 30) -> tuple[bool, str]:
    """Whether a command ends well, and what it says last where it does not."""
    try:
        done = subprocess.run(
            list(argv), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=seconds, cwd=ROOT
        )
    except OSError as error:
        return False, f"{argv[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return False, f"{argv[0]} took longer than {seconds:.0f} s"
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return done.returncode == 0, lines[-1] if lines else f"{argv[0]} ended with {done.returncode}"


def why_not_root() -> str:
    """Why this account cannot work as root; empty where it can."""
    if os.geteuid() == 0:
        return ""
    if not shutil.which("sudo"):
        return "there is no sudo here"
    fine, _said = tried(["sudo", "-n", "true"])
    return "" if fine else "sudo asks for a password"


def why_no_checkout() -> str:
    """Why git does not know the files of this folder."""
    if not shutil.which("git"):
        return "The tests need git: on Debian, apt-get install git"
    fine, said = tried(["git", "ls-files", "--error-unmatch", "galaxy.yml"])
    return "" if fine else f"The tests run in a git clone, and git does not take this folder for one: {said}"


OVERLAY = """set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/lower" "$1/upper" "$1/work" "$1/all"
mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/all"
"""


def why_no_namespaces(root: str) -> str:
    """What keeps a container's namespaces and file system from being made."""
    if root:
        return ""  # not the first reason, and not to be tried
    if not shutil.which("unshare"):
        return ""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    kinds = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork"]
    fine, said = tried([*sudo, "unshare", *kinds, "sh", "-c", OVERLAY, "sh", "/mnt"])
    return "" if fine else said


def missing_packages(kind: str) -> list[str]:
    """The packages of a kind that are not installed."""
    script = str(ROOT / "tests/install-system-packages")
    done = subprocess.run([script, "--missing", kind], capture_output=True, text=True, check=False)
    return done.stdout.split()


def free_memory() -> int:
    """Bytes that programs can take."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else 16 * GIB


def free_disk(path: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    # os.path: what this account may not look at is not there for it.
    while not os.path.exists(path):
        path = path.parent
    return shutil.disk_usage(path).free


def look() -> Machine:
    """Find out what there is."""
    root = why_not_root()
    return Machine(
        python=(sys.version_info[0], sys.version_info[1]),
        has_venv=bool(importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")),
        checkout=why_no_checkout(),
        root=root,
        apt=bool(shutil.which("apt-get")),
        memory=free_memory(),
        disk=free_disk(Path("/tmp")),
        containers_disk=free_disk(CONTAINERS),
        missing={kind: missing_packages(kind) for kind in ("molecule", "browser")},
        namespaces=why_no_namespaces(root),
    )


def why_no_host() -> str:
    """Why a host with systemd does not start on a network of its own."""
    fine, said = tried([sys.executable, str(ROOT / "molecule/shared/lab.py"), "try"], 90)
    return "" if fine else said.partition("lab: ")[2] or said


def preflight(stages: t.Collection[str], say: t.Callable[[str], None]) -> Findings:
    """Find out what can run here, install what that needs, and try a host."""
    say("==> preflight")
    machine = look()
    found = judge(machine, stages)
    for line in found.lines:
        say(f"  {line}")
    if "molecule" in stages and not found.skips.get("molecule") and not found.stops:
        if machine.missing.get("molecule"):
            fine, said = tried([str(ROOT / "tests/install-system-packages"), "molecule"], 300)
            if not fine:
                found.skips["molecule"] = f"installing podman failed: {said}"
        reason = found.skips.get("molecule") or why_no_host()
        if reason:
            found.skips["molecule"] = reason
        else:
            say("  a host with systemd has started on a network of its own")
    for stage, reason in sorted(found.skips.items()):
        say(f"  skipped: {stage}: {reason}")
    for line in found.stops:
        say(f"  {line}")
    runs = [stage for stage in stages if stage not in found.skips]
    if not found.stops:
        say(f"  runs: {', '.join(runs)}")
    return found
