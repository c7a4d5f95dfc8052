# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts (molecule/bench) as benchmarks use them: Ansible run on them, commands on them, what both cost."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import typing as t
from pathlib import Path

from figures import ROOT, Figures

BIN = ROOT / ".venv-bench/bin"
LAB = ROOT / ".lab/bench"
#: As a user who wants speed sets it: one shared connection a host, no copying of modules, a fork for every host.
SETTINGS = {
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_HOST_KEY_CHECKING": "1",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORKS": "20",
    "ANSIBLE_TIMEOUT": "120",
    "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections"),
    "ANSIBLE_SSH_ARGS": f"-F {LAB / 'ssh_config'}",
    "ANSIBLE_SSH_CONTROL_PATH": "none",
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
    "LC_ALL": "C.UTF-8",
}


#: Seconds after which a run counts as one that does not come to its end.
LIMIT = 300.0


class Cost(t.NamedTuple):
    """What a run took."""

    seconds: float
    #: Of processors, on the controller and on all hosts together.
    controller: float
    hosts: float
    #: Megabytes of the largest process on the controller.
    memory: float
    output: str

    def keep(self, figures: Figures, *key: t.Any) -> None:
        """Add it to the figures."""
        figures.add(*key, "seconds", value=self.seconds)
        figures.add(*key, "controller", value=self.controller)
        figures.add(*key, "processor", value=self.controller + self.hosts)
        figures.add(*key, "memory", value=self.memory)


@functools.lru_cache(maxsize=None)
def addresses() -> dict[str, str]:
    """Host to address, as the lab wrote it down; the hosts have to be up (make bench brings them up)."""
    text = (LAB / "ssh_config").read_text(encoding="utf-8")
    return dict(re.findall(r"^Host (pg\d+) \S+\n  HostName (\S+)$", text, re.MULTILINE))


@functools.lru_cache(maxsize=None)
def _containers() -> dict[str, str]:
    prefix = os.environ.get("PGTANDEM_LAB_NAME") or "pgtandem"
    return {name: f"{prefix}-bench-{name}" for name in addresses()}


@functools.lru_cache(maxsize=None)
def _usage_file(name: str) -> tuple[Path, float]:
    """Where the kernel counts a host's processor time, and how much of it is a second."""
    argv = ["podman", "inspect", "--format", "{{.State.Pid}}", _containers()[name]]
    pid = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    groups = dict(
        line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    )
    if "cpuacct" in groups:
        return Path("/sys/fs/cgroup/cpuacct" + groups["cpuacct"], "cpuacct.usage"), 1e9
    return Path("/sys/fs/cgroup" + groups[""].replace("/init.scope", ""), "cpu.stat"), 1e6


def processor_seconds(names: t.Iterable[str]) -> float:
    """Processor time that hosts have used so far."""
    total = 0.0
    for name in names:
        path, unit = _usage_file(name)
        match = re.search(r"\d+", path.read_text(encoding="ascii"))
        assert match is not None, path
        total += int(match[0]) / unit
    return total


def on_host(name: str, script: str, *, check: bool = True) -> str:
    """Run a shell script on a host as root, past SSH; for preparations that are not measured."""
    argv = ["podman", "exec", "--interactive", _containers()[name], "sh", "-eu"]
    done = subprocess.run(argv, check=False, text=True, input=script, capture_output=True)
    if check and done.returncode:
        raise SystemExit(f"{name}: {done.stdout}{done.stderr}")
    return done.stdout


def on_hosts(names: t.Iterable[str], script: str) -> None:
    """The same on several hosts at once."""
    running = []
    for name in names:
        argv = ["podman", "exec", "--interactive", _containers()[name], "sh", "-eu"]
        one = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert one.stdin is not None
        one.stdin.write(script)
        one.stdin.close()
        running.append(one)
    for one in running:
        one.wait()


def measured(argv: t.Sequence[str | Path], names: t.Collection[str], **environment: str) -> Cost:
    """Run a program to its end; whatever it starts here counts for the controller. It has to succeed, within LIMIT."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        before, start = processor_seconds(names), time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
                **environment,
            },
        )
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        _pid, status, usage = os.wait4(process.pid, 0)
        limit.cancel()
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
        if process.returncode:
            raise SystemExit(f"{' '.join(map(str, argv))} ended with {process.returncode}:\n{text[-6000:]}")
        hosts = processor_seconds(names) - before
        return Cost(seconds, usage.ru_utime + usage.ru_stime, hosts, usage.ru_maxrss / 1024, text)


def cluster(folder: Path, names: t.Sequence[str], **variables: t.Any) -> Path:
    """An inventory of a primary and its standbys, the first of the names being the primary."""
    hosts = {name: {"ansible_host": addresses()[name]} for name in names}
    inventory = {
        "all": {
            "vars": {"ansible_user": "ansible", "ansible_python_interpreter": "/usr/bin/python3", **variables},
            "children": {
                "primary": {"hosts": {names[0]: hosts[names[0]]}},
                "standby": {"hosts": {name: hosts[name] for name in names[1:]}},
            },
        }
    }
    path = folder / f"{len(names)}-{variables.get('pgtandem_instance') or variables.get('instance', 'main')}.json"
    path.write_text(json.dumps(inventory, indent=1), encoding="utf-8")
    return path


def play(playbook: str | Path, inventory: Path, names: t.Collection[str], *words: str, **environment: str) -> Cost:
    """ansible-playbook as a user runs it."""
    argv = [BIN / "ansible-playbook", "-i", inventory, playbook, *words]
    return measured(argv, names, **{**SETTINGS, **environment})


def mitogen() -> dict[str, str]:
    """What turns Mitogen on."""
    code = "import ansible_mitogen, os; print(os.path.dirname(ansible_mitogen.__file__))"
    done = subprocess.run([str(BIN / "python"), "-c", code], check=True, capture_output=True, text=True)
    return {"ANSIBLE_STRATEGY_PLUGINS": f"{done.stdout.strip()}/plugins/strategy", "ANSIBLE_STRATEGY": "mitogen_linear"}


def changed(cost: Cost) -> int:
    """Changed tasks of all hosts."""
    return sum(int(number) for number in re.findall(r"^\S+\s+: ok=\d+\s+changed=(\d+)", cost.output, re.MULTILINE))


def round_trips(cost: Cost) -> dict[str, int]:
    """How often each host was called over SSH, from a run with -vvv."""
    by_address = {address: name for name, address in addresses().items()}
    counts: dict[str, int] = {}
    for address in re.findall(r"^<(\S+)> SSH: EXEC", cost.output, re.MULTILINE):
        name = by_address[address]
        counts[name] = counts.get(name, 0) + 1
    return counts
