# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three hosts that change roles, runs of the playbooks that can be killed, and a client that counts."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import typing as t

from outside import Node, eventually
from runs import CHECKOUT, Outcome, Run, lab
from writer import acknowledged, longest_gap

NAMES = ("pg1", "pg2", "pg3")
#: Short, so that a standby that waits in vain gives up soon.
SHORT = ("-e", "pgtandem_switchover_patience=10")
#: The file that makes a standby of a server at its next start.
MARKER = "standby.signal" if int(os.environ.get("PGTANDEM_VERSION") or 15) >= 12 else "recovery.conf"
#: Programs that work for a run on a host.
WORKERS = "python3*|setpriv|systemctl|pg_ctl*"
EACH = (
    "for f in /proc/[0-9]*/comm; do { read -r c <$f; } 2>/dev/null; "
    f"case $c in {WORKERS}) p=${{f#/proc/}}; p=${{p%%/*}}"
)
#: Stops every program of a run on a host when a file appears there, or holds a word; the host itself watches.
WATCHER = """
import glob, os, signal, sys, time
path, word, began = sys.argv[1], sys.argv[2].encode(), time.time()
def workers():
    for name in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(name) as stream: comm = stream.read().strip()
            pid = int(name.split("/")[2])
            if comm.startswith(("python3", "setpriv", "systemctl", "pg_ctl")) and pid != os.getpid():
                yield pid
        except OSError:
            pass
while time.time() < began + 600:
    try:
        if os.stat(path).st_mtime >= began - 1 and (not word or word in open(path, "rb").read()):
            for pid in workers():
                try: os.kill(pid, signal.SIGSTOP)
                except OSError: pass
            print("frozen")
            break
    except OSError:
        pass
    time.sleep(0.001)
"""


class Stage:
    """The hosts, the client, and what can happen to them."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Take the folder for logs."""
        self.folder = folder
        self.nodes = {name: Node(name) for name in NAMES}
        self.count = 0
        self.runs: list[Run] = []
        self.undo: list[t.Callable[[], None]] = []
        self.notes = folder / "acknowledged"
        self.client: subprocess.Popen[bytes] | None = None

    # --- runs ---

    def begin(self, playbook: str, *arguments: str) -> Run:
        """Start a run."""
        self.count += 1
        self.runs.append(Run(self.folder / f"{self.count}.log", playbook, arguments))
        return self.runs[-1]

    def switch(self, target: str, *arguments: str) -> Outcome:
        """Switch over, to the end."""
        return self.begin("switchover", "-e", f"pgtandem_target={target}", *arguments).wait()

    def switched(self, target: str, *arguments: str) -> Outcome:
        """A switchover that has to end well: roles, streams and slots as they should be, and site.yml has no work."""
        outcome = self.switch(target, *arguments)
        assert outcome.rc == 0, outcome.text
        self.sound(target)
        return outcome

    def quiet(self) -> None:
        """A run of site.yml changes nothing."""
        outcome = self.begin("site").wait()
        assert outcome.rc == 0 and outcome.counted("changed") == 0, outcome.text

    def inventory(self, host_vars: t.Mapping[str, t.Mapping[str, t.Any]]) -> str:
        """A file with variables that some hosts have besides."""
        path = self.folder / f"{self.count}.json"
        path.write_text(json.dumps({"all": {"hosts": host_vars}}))
        return str(path)

    # --- what is there ---

    def primary(self) -> str:
        """The one host that can write."""
        found = [name for name in NAMES if self.ask(name, "select pg_is_in_recovery()") == "f"]
        assert len(found) < 2, f"two primaries: {found}"
        return found[0] if found else ""

    def ask(self, name: str, sql: str) -> str:
        """What a host answers, nothing where it does not; in one command, since the tests ask a lot."""
        node = self.nodes[name]
        pid_file = shlex.quote(f"{node.data_directory}/postmaster.pid")
        psql = f"{node.bin_directory}/psql -XAtq -v ON_ERROR_STOP=1 -p {node.port} -d postgres -c {shlex.quote(sql)}"
        done = node.host.run(
            "sh -c %s",
            f"test -e {pid_file} && cd / && dir=$(sed -n 5p {pid_file}) && "
            f"sudo -u {node.os_user} {psql} -h ${{dir:-/run/postgresql}}",
        )
        return str(done.stdout.strip()) if done.rc == 0 else ""

    def sound(self, primary: str, *, seconds: float = 60) -> None:
        """Who is the primary, everybody else streams from it through a slot of its own, and there is no other slot."""
        assert self.primary() == primary
        others = " ".join(sorted(set(NAMES) - {primary}))
        assert eventually(lambda: self.followers(primary) == others, seconds=seconds), self.ask(
            primary, "select application_name, state from pg_stat_replication"
        )
        assert {name: self.slots(name) for name in NAMES} == {name: others if name == primary else "" for name in NAMES}

    def followers(self, name: str) -> str:
        """Who streams from a host through a slot."""
        return self.ask(
            name,
            "select string_agg(application_name, ' ' order by application_name) from pg_stat_replication "
            "join pg_replication_slots on active_pid = pid where state = 'streaming'",
        )

    def slots(self, name: str) -> str:
        """The slots on a host."""
        return self.ask(name, "select string_agg(slot_name, ' ' order by slot_name) from pg_replication_slots")

    def ensure(self) -> None:
        """Bring back what the test before broke."""
        with contextlib.suppress(AssertionError):
            primary = self.primary()
            if primary:
                self.sound(primary, seconds=10)
                return
        target = self.primary() or "pg1"
        outcome = self.switch(target)
        assert outcome.rc == 0, outcome.text
        self.sound(target)

    # --- the client ---

    def begin_writing(self) -> None:
        """Start the client."""
        primary = self.primary()
        self.nodes[primary].psql(
            "create table if not exists written (n bigint primary key);"
            "do $$ begin create role app login; exception when duplicate_object then null; end $$;"
            "grant all on written to app; truncate written"
        )
        places = [self.nodes[name] for name in NAMES]
        conninfo = (
            f"host={','.join(node.address for node in places)} port={','.join(str(node.port) for node in places)} "
            "user=app dbname=postgres target_session_attrs=read-write connect_timeout=2 sslmode=disable "
            # Where packets vanish silently it notices within two seconds.
            "tcp_user_timeout=2000 keepalives_idle=1 keepalives_interval=1 keepalives_count=2"
        )
        self.client = subprocess.Popen(
            [sys.executable, str(CHECKOUT / "benchmarks/switchover/writer.py"), str(self.notes), conninfo],
            stdin=subprocess.DEVNULL,
        )
        assert eventually(lambda: self.notes.exists() and acknowledged(self.notes))

    def end_writing(self) -> None:
        """End the client."""
        if self.client:
            self.client.terminate()
            self.client.wait()

    def nothing_lost(self) -> int:
        """Every row that was acknowledged by now is there; return how many."""
        known = {row.number for row in acknowledged(self.notes)}
        there = set(map(int, self.nodes[self.primary()].psql("select n from written").split()))
        assert not known - there, (
            f"{len(known - there)} rows that were acknowledged are gone: {sorted(known - there)[:5]}"
        )
        return len(known)

    def writes(self) -> None:
        """The client gets on."""
        before = len(acknowledged(self.notes))
        assert eventually(lambda: len(acknowledged(self.notes)) > before + 5, seconds=60), "nobody can write"

    def gap_since(self, since: float) -> float:
        """The longest time without an answer since a moment of the monotonic clock, in seconds."""
        return longest_gap(acknowledged(self.notes), since)

    # --- faults ---

    def cut(self, one: str, other: str) -> None:
        """Break the network between two hosts."""
        self.undo.append(lambda: lab("heal", one, other))
        lab("cut", one, other)

    def freeze_at(self, name: str, path: str, word: str = "") -> subprocess.Popen[str]:
        """Have a host stop every program of a run there at the moment when a file appears or holds a word."""
        config = os.path.join(os.environ["PGTANDEM_LAB_DIRECTORY"], "ssh_config")
        command = shlex.join(["sudo", "nice", "-n", "-20", "python3", "-c", WATCHER, path, word])
        self.undo.append(lambda: self.thaw(name))
        return subprocess.Popen(
            ["ssh", "-F", config, name, command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )

    def frozen(self, watcher: subprocess.Popen[str]) -> None:
        """Wait for that moment."""
        assert watcher.stdout is not None
        assert "frozen" in watcher.stdout.read(), "the moment never came"
        watcher.wait()

    def thaw(self, name: str) -> None:
        """Let go on what was stopped."""
        self.nodes[name].out(f"{EACH}; kill -CONT $p 2>/dev/null; esac; done; true")

    def thaw_later(self, name: str, *, seconds: int) -> None:
        """The same by the host itself, which need not be within reach by then."""
        script = f"sleep {seconds}; {EACH}; kill -CONT $p 2>/dev/null; esac; done"
        self.nodes[name].out(f"setsid sh -c {shlex.quote(script)} </dev/null >/dev/null 2>&1 &")

    def kill_workers(self, name: str) -> None:
        """Kill every program that works for a run on a host."""
        self.nodes[name].out(f"{EACH}; kill -KILL $p 2>/dev/null; esac; done; true")

    def data(self, name: str, file: str) -> str:
        """A path in a host's data directory."""
        return f"{self.nodes[name].data_directory}/{file}"

    def calm(self) -> None:
        """End what a test left going."""
        for run in self.runs:
            if not run.ended():
                run.kill()
        self.runs.clear()
        while self.undo:
            self.undo.pop()()
        busy = f"{EACH}; echo $p; esac; done; true"
        for name in NAMES:
            # A standby that waits gives up by itself, and a module that works ends.
            assert eventually(lambda of=name: not self.nodes[of].out(busy).strip(), seconds=90), self.nodes[name].out(
                "ps -ef"
            )
