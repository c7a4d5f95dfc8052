# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine: running commands as root, the programs that the lab needs, and how podman has to be called here."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
LAB_DIRECTORY = CHECKOUT / ".lab"
REPOSITORY = "localhost/pgtandem-lab"
OWNER_LABEL = "pgtandem.lab.checkout"
RUN_LABEL = "pgtandem.lab.run"
# command -> Debian package that has it
TOOLS = {
    "podman": "podman",
    "runc": "runc",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
}


class LabError(Exception):
    """Something that the person at the keyboard has to know."""


# --- commands -------------------------------------------------------------------------------------------------------


def as_root(argv: list[str]) -> list[str]:
    """Return the command as root runs it: addresses that the controller can reach need a rootful podman."""
    return argv if os.geteuid() == 0 else ["sudo", "-n", *argv]


def run(
    argv: list[str], *, stdin: str | None = None, check: bool = True, quiet: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command as root and return what it said."""
    done = subprocess.run(
        as_root(argv),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if check and done.returncode:
        said = "\n".join(((done.stderr or "") + (done.stdout or "")).strip().splitlines()[-15:])
        raise LabError(f"`{shlex.join(argv[:12])}` ended with {done.returncode}:\n{said}")
    return done


def podman(*arguments: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run podman with what this machine needs (see `engine`)."""
    return run(["podman", *engine().flags, *arguments], **options)


def say(text: str) -> None:
    """Tell what is going on, with the time that passed."""
    print(f"[lab {time.monotonic() - STARTED:6.1f}s] {text}", file=sys.stderr, flush=True)


STARTED = time.monotonic()


@contextlib.contextmanager
def machine_lock(name: str) -> t.Iterator[None]:
    """One at a time on this machine: an image is built once, a subnet is taken once.

    The lock is a socket's name in the kernel: it goes with the process that holds it, and no file stays.
    """
    address = f"\0pgtandem-lab-{os.getuid()}-{name}"
    with socket.socket(socket.AF_UNIX) as holder:
        said = False
        while True:
            try:
                holder.bind(address)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            if not said:
                say(f"waiting: another run is at work on {name}")
            said = True
            time.sleep(0.1)
        yield


def labels() -> list[str]:
    """Return by which podman's options a container or network is known as this checkout's, and as that of a test run.

    A run of tests clears up after itself (tests/keep-clean), and asks the lab to do so only where this leaves a note.
    """
    found = ["--label", f"{OWNER_LABEL}={CHECKOUT}"]
    name = os.environ.get("PGTANDEM_RUN")
    if name:
        note = LAB_DIRECTORY / "runs" / name
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        found += ["--label", f"{RUN_LABEL}={name}"]
    return found


# --- the machine ----------------------------------------------------------------------------------------------------


def ensure_tools() -> None:
    """Install what is missing, by Debian's package manager."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool, path=path)})
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise LabError(
            "the lab needs these programs, and this machine has no apt-get to install them: " + " ".join(missing)
        )
    say("installing " + " ".join(missing))
    with machine_lock("apt"):
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        run([*environment, "apt-get", "update", "-qq"])
        run([*environment, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])


class Engine(t.NamedTuple):
    """How podman has to be called on this machine."""

    flags: tuple[str, ...]
    run_flags: tuple[str, ...]


ULIMITS = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=32768:32768")
ENGINES = (
    Engine((), ()),
    Engine((), ULIMITS),
    Engine(("--runtime", "runc"), ()),
    Engine(("--runtime", "runc"), ULIMITS),
)


TRIAL = """[Unit]
Description=A service that ends its host at once
DefaultDependencies=no
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
ExecStart=/bin/true
"""
UNIT = "--unit=trial.service"
SYSTEMD = pathlib.Path("/usr/lib/systemd/systemd")


@contextlib.contextmanager
def trial_system() -> t.Iterator[list[str]]:
    """Give podman's arguments for a system that starts systemd, and ends as soon as it is up.

    It is made of this machine's own /usr, so that nothing has to be fetched or built; or it is an image of the lab.
    """
    with tempfile.TemporaryDirectory(prefix="pgt-trial-") as folder:
        place = pathlib.Path(folder)
        unit = place / "etc/systemd/system/trial.service"
        unit.parent.mkdir(parents=True)
        unit.write_text(TRIAL)
        images = run(["podman", "images", "--quiet", "--filter", f"reference={REPOSITORY}"]).stdout.split()
        if images:
            yield [f"--volume={unit}:/etc/systemd/system/trial.service:ro", images[0], "/sbin/init", UNIT]
            return
        for name in ("usr", "run", "tmp", "var", "proc", "sys", "dev"):
            (place / name).mkdir()
        volumes = ["--volume=/usr:/usr:ro"]
        for name in ("bin", "sbin", "lib", "lib64"):
            if pathlib.Path("/", name).is_symlink():
                (place / name).symlink_to(f"usr/{name}")
            elif pathlib.Path("/", name).is_dir():
                volumes.append(f"--volume=/{name}:/{name}:ro")
        (place / "etc/machine-id").touch()
        (place / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        try:
            command = [str(SYSTEMD), UNIT] if SYSTEMD.exists() else ["/bin/true"]
            yield [*volumes, "--security-opt=label=disable", "--rootfs", folder, *command]
        finally:
            # podman adds files of root's.
            run(["rm", "-rf", *(str(path) for path in place.iterdir())], check=False)


def start_trial(candidate: Engine, network: str) -> subprocess.CompletedProcess[str]:
    """Start a host with systemd in it, and see whether it comes up."""
    with trial_system() as system:
        argv = ["podman", *candidate.flags, "run", "--rm", *labels(), "--network", network, "--systemd=always"]
        return run(["timeout", "--kill-after=5", "30", *argv, *candidate.run_flags, *system], check=False)


@functools.lru_cache(maxsize=None)
def engine() -> Engine:
    """Return the first way of starting a systemd container that works here.

    An ordinary machine needs nothing special. One with a hybrid cgroup tree needs runc (crun refuses systemd there),
    and one without CAP_SYS_RESOURCE needs limits of its own (podman's cannot be set). The answer is kept until the
    machine starts anew.
    """
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kept = LAB_DIRECTORY / "engine.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(kept.read_text())
        if known["boot"] == boot:
            return Engine(tuple(known["flags"]), tuple(known["run_flags"]))
    refusals = []
    for candidate in ENGINES:
        done = start_trial(candidate, "none")
        if done.returncode == 0:
            LAB_DIRECTORY.mkdir(exist_ok=True)
            kept.write_text(json.dumps({"boot": boot, **candidate._asdict()}))
            return candidate
        refusals.append(f"podman {shlex.join(candidate.flags + candidate.run_flags)}: {done.stderr.strip()[-300:]}")
    raise LabError("no way of starting a container with systemd works on this machine:\n" + "\n".join(refusals))
