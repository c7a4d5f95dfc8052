# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the playbook `site` that can be watched, frozen and killed, and what fate does to the hosts of them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import subprocess
import time
import typing as t

from outside import Node, eventually
from runs import Outcome, Run, lab

#: Programs that work for a run on a host.
WORKERS = ["python3*", "initdb", "pg_basebackup", "pg_createcl*", "setpriv", "systemctl", "pg_ctl*"]
#: while it is there, a host watches
WATCH = "/run/lab-watch"
#: each of them by number, in the shell
EACH = (
    "for f in /proc/[0-9]*/comm; do { read -r c <$f; } 2>/dev/null; "
    f"case $c in {'|'.join(WORKERS)}) p=${{f#/proc/}}; p=${{p%%/*}}"
)
#: Stops every program that works for a run in the moment when a file appears, or appears anew. Its arguments are that
#: file and the one that is there while it watches. It takes another name, so that it is none of them.
WATCHER = f"""
import fnmatch, os, signal, sys, time
path, watch = sys.argv[1:]
with open("/proc/self/comm", "w") as name:
    name.write("lab-watch")
open(watch, "w").close()
since = os.stat(watch).st_mtime_ns
print("watching", flush=True)

def stop():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/" + pid + "/comm") as name:
                worker = name.read().strip()
            if any(fnmatch.fnmatch(worker, pattern) for pattern in {WORKERS!r}):
                os.kill(int(pid), signal.SIGSTOP)
        except OSError:
            pass

while os.path.exists(watch):
    try:
        met = os.stat(path).st_mtime_ns > since
    except OSError:
        met = False
    if met:
        stop()
        time.sleep(0.1)
        stop()
        os.unlink(watch)
        print("frozen")
        break
    time.sleep(0.002)
"""
#: where PostgreSQL's files are
PLACES = ("/var/lib/postgresql", "/etc/postgresql", "/srv/small")
ROWS = "create table kept as select g as n, md5(g::text) as line from generate_series(1, 20000) g"
DIGEST = "select count(*) || ' ' || md5(string_agg(line, '' order by n)) from kept"
PATIENCE = 60


def every(name: str) -> str:
    """Return what sends a signal to every program that works for a run, in the shell."""
    return f"{EACH}; kill -{name} $p 2>/dev/null; esac; done; true"


class Fate:
    """Two hosts and what can happen to them."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Take the folder for the logs of the runs."""
        self.folder = folder
        self.primary = Node("pg1")
        self.standby = Node("pg2")
        self.count = 0
        self.runs: list[Run] = []
        self.digest = ""
        self.undo: list[t.Callable[[], None]] = []

    # --- runs ---

    def begin(self, *arguments: str, host_vars: t.Mapping[str, t.Mapping[str, t.Any]] | None = None) -> Run:
        """Start a run."""
        self.count += 1
        sources = []
        if host_vars:
            extra = self.folder / f"{self.count}.json"
            extra.write_text(json.dumps({"all": {"hosts": host_vars}}))
            sources.append(str(extra))
        run = Run(self.folder / f"{self.count}.log", "site", arguments, inventories=sources)
        self.runs.append(run)
        return run

    def site(self, *arguments: str, **more: t.Any) -> Outcome:
        """Run the playbook to its end."""
        return self.begin(*arguments, **more).wait()

    def converges(self, *arguments: str, **more: t.Any) -> Outcome:
        """The next correct run ends with a proof, nothing is lost, and a run after one that changed things does not."""
        first = last = self.site(*arguments, **more)
        assert first.rc == 0, first.text
        assert "streaming" in first.said.partition("Show the topology")[2], first.text
        if first.counted("changed"):
            last = self.site(*arguments, **more)
            assert last.rc == 0, last.text
        assert last.counted("changed") == 0, last.text
        self.replicates()
        return first

    def refuses(self, *words: str, arguments: t.Sequence[str] = (), **more: t.Any) -> Outcome:
        """The run fails, and its messages have these words."""
        outcome = self.site(*arguments, **more)
        assert outcome.rc != 0, outcome.text
        for word in words:
            assert word in outcome.errors, f"{word!r} is not in: {outcome.errors or outcome.text}"
        return outcome

    # --- what is there ---

    def replicates(self) -> None:
        """A row of now arrives, and the rows from before are on both."""
        mark = f"{time.time():.6f}"
        self.primary.psql(f"create table if not exists mark (word text); insert into mark values ('{mark}')")
        arrived = eventually(
            lambda: self.standby.try_psql(f"select 1 from mark where word = '{mark}'").stdout.strip() == "1",
            seconds=PATIENCE,
        )
        assert arrived, "the standby does not follow"
        if not self.digest:
            self.store_rows()
        for node in (self.primary, self.standby):
            assert eventually(lambda of=node: of.try_psql(DIGEST).stdout.strip() == self.digest), f"{node} lost rows"

    def store_rows(self) -> None:
        """Give the primary what must never be lost."""
        self.primary.psql(ROWS)
        self.digest = self.primary.psql(DIGEST)

    def alive(self, node: Node) -> bool:
        """Whether a server answers."""
        return bool(node.host.run("test -e %s", f"{node.data_directory}/postmaster.pid").rc == 0) and (
            node.try_psql("select 1").rc == 0
        )

    def ensure_primary(self) -> None:
        """A primary with rows in it."""
        if self.digest and self.alive(self.primary) and self.primary.try_psql(DIGEST).stdout.strip() == self.digest:
            return
        self.ensure_pair()

    def ensure_pair(self) -> None:
        """A primary with rows in it and a standby that streams."""
        states = "select state from pg_stat_replication"
        if (
            self.digest
            and self.alive(self.primary)
            and self.alive(self.standby)
            and self.primary.try_psql("select pg_is_in_recovery()").stdout.strip() == "f"
            and self.standby.try_psql("select pg_is_in_recovery()").stdout.strip() == "t"
            and self.primary.try_psql(states).stdout.strip() == "streaming"
        ):
            return
        self.wipe(self.primary)
        self.wipe(self.standby)
        outcome = self.site()
        assert outcome.rc == 0, outcome.text
        self.replicates()

    def ensure_bare(self, node: Node) -> None:
        """A host as it was delivered."""
        if node.out(f"find {shlex.join(PLACES)} -mindepth 1 ! -name 15 | head -n 1").strip():
            self.wipe(node)

    def wipe(self, node: Node) -> None:
        """Take away what PostgreSQL there is, so that the host is as it was delivered."""
        if node is self.primary:
            self.digest = ""
        node.out(
            f"systemctl stop 'postgresql@*' || true; {every('KILL')}; "
            "rm -rf /var/lib/postgresql/* /etc/postgresql/* /srv/small/* /tmp/pgtandem-*; systemctl reset-failed"
        )

    @contextlib.contextmanager
    def untouched(self, node: Node) -> t.Iterator[None]:
        """Whatever goes on meanwhile, it adds, removes and changes no file of a host that has no server."""
        before = self.sums(node, *PLACES)
        yield
        assert self.sums(node, *PLACES) == before

    def sums(self, node: Node, *places: str) -> str:
        """A checksum of every file below some places, with owner and mode, whatever a server changes while it runs."""
        found = f"find {shlex.join(places)} ! -name postmaster.pid ! -name postmaster.opts ! -name lab-ballast"
        return node.out(f"{found} -printf '%u %m %y %p\\n' | sort; {found} -type f -exec sha256sum {{}} + | sort")

    # --- fate ---

    def cut(self) -> None:
        """Break the network between the two."""
        self.undo.append(self.heal)
        lab("cut", "pg1", "pg2")

    def heal(self) -> None:
        """Mend it."""
        lab("heal", "pg1", "pg2")

    def power_off(self, node: Node) -> None:
        """Kill a host."""
        self.undo.append(lambda: lab("start", node.name))
        lab("kill", node.name)

    def power_on(self, node: Node) -> None:
        """Switch it on."""
        lab("start", node.name)

    def fill(self, node: Node, path: str, leave: int) -> None:
        """Fill a disk."""
        self.undo.append(lambda: lab("empty", node.name, path))
        lab("fill", node.name, path, "--leave", str(leave))

    def calm(self) -> None:
        """End what a test left going."""
        for run in self.runs:
            if not run.ended():
                run.kill()
        self.runs.clear()
        while self.undo:
            self.undo.pop()()
        for node in (self.primary, self.standby):
            node.out(f"rm -f {WATCH}; {every('KILL')}")
            self.thaw(node)
            self.idle(node)

    def idle(self, node: Node, seconds: float = PATIENCE, *, besides: str = "") -> None:
        """Wait until nothing works for a run on a host any more, besides one program."""
        busy = (
            f"{EACH}; [ $c = '{besides}' ] || ps -o pid=,ppid=,stat=,wchan:20=,args= $p; esac; done; "
            "systemctl list-jobs --no-legend --no-pager; true"
        )
        assert eventually(lambda: not node.out(busy).strip(), seconds=seconds), node.out(busy)

    @contextlib.contextmanager
    def watching(self, node: Node, path: str, seconds: float = 300) -> t.Iterator[subprocess.Popen[str]]:
        """Have a host watch for a file that appears there, or appears anew, and stop every program of a run then.

        The host itself watches, a few hundred times a second, so that the moment is met and not guessed.
        """
        config = os.path.join(os.environ["PGTANDEM_LAB_DIRECTORY"], "ssh_config")
        command = shlex.join(["sudo", "timeout", str(seconds), "python3", "-c", WATCHER, path, WATCH])
        with subprocess.Popen(
            ["ssh", "-F", config, node.name, command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        ) as watcher:
            assert watcher.stdout is not None and watcher.stdout.readline() == "watching\n"
            yield watcher

    def frozen(self, run: Run, node: Node, watcher: subprocess.Popen[str]) -> bool:
        """Wait until a run was stopped; false where it ended before."""
        while watcher.poll() is None:
            if run.ended():
                # what it left behind may still get there
                time.sleep(1)
                node.out(f"rm -f {WATCH}")
                break
            time.sleep(0.1)
        return watcher.stdout is not None and "frozen" in watcher.stdout.read()

    def frozen_at(self, run: Run, node: Node, path: str) -> bool:
        """Stop a run that is under way in the moment when a file appears on a host."""
        with self.watching(node, path) as watcher:
            return self.frozen(run, node, watcher)

    def thaw(self, node: Node) -> None:
        """Let go on what was stopped: everything, since a worker's child may have become another program meanwhile, and
        one that waited for its disk stops only now, unless this takes the signal back."""
        node.out("kill -s CONT -- -1")
