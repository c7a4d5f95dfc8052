# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the scenario `chaos`, what must always be true of them, and how an operator gets them right again."""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import re
import subprocess
import sys
import typing as t

import witnesses
from outside import eventually
from runs import Outcome, Run, lab
from scene import SPARE, STOP, Scene
from stage import EACH, NAMES

HERE = pathlib.Path(__file__).resolve().parent
#: Where the good state of each host is kept there.
TEMPLATE = "/var/lib/chaos"
#: Seconds after which a run hangs.
HANGS = 420


class World(Scene):
    """The hosts, the clients, and what was done to them."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Take the folder for logs and notes."""
        super().__init__(folder)
        #: The hosts of the cluster now.
        self.members = list(NAMES)
        #: What the inventory wants besides.
        self.parameters: dict[str, t.Any] = {}
        #: A host that lost its power so that another one took over, and came back by itself.
        self.returned: set[str] = set()
        #: Hosts that are to stay without power until the step is through.
        self.dead: set[str] = set()
        self.told: list[str] = []

    # --- runs ---

    def begin(self, playbook: str, *arguments: str, inventories: t.Sequence[str] = ()) -> Run:
        """Start a run with what the inventory has by now."""
        path = self.folder / f"inventory-{self.count}.json"
        standbys = {"standby": {"hosts": {SPARE: {}}}} if SPARE in self.members else {}
        variables = {"all": {"vars": {"pgtandem_parameters": self.parameters}}}
        path.write_text(json.dumps({**standbys, **variables}), encoding="utf-8")
        return super().begin(playbook, *arguments, inventories=[str(path), *inventories])

    def end(self, run: Run) -> Outcome:
        """Wait for a run; one that does not end is a failure."""
        try:
            return run.wait(HANGS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it hangs:\n{run.text[-3000:]}") from None

    def run(self, playbook: str, *arguments: str) -> Outcome:
        """A run, to its end."""
        outcome = self.end(self.begin(playbook, *arguments))
        self.tell(f"{playbook} {' '.join(word for word in arguments if len(word) < 60)}: {outcome.rc}")
        return outcome

    def must(self, playbook: str, *arguments: str) -> Outcome:
        """A run that has to end well."""
        outcome = self.run(playbook, *arguments)
        assert outcome.rc == 0, f"{playbook} {arguments}\n{outcome.text[-6000:]}"
        return outcome

    def tell(self, text: str) -> None:
        """Note what was done, for the report."""
        self.told.append(text)

    # --- what is there ---

    def ask(self, name: str, sql: str) -> str:
        """What a host answers; nothing where it does not, or cannot be reached."""
        with contextlib.suppress(RuntimeError):
            return super().ask(name, sql)
        return ""

    @property
    def living(self) -> list[str]:
        """The hosts that have power."""
        return [name for name in self.members if name not in self.down]

    def state(self, name: str) -> tuple[str, str]:
        """The role that a host has, and when its server was started by which process."""
        node = self.nodes[name]
        # Without sleep a server that is just starting would be one that is down.
        role = {"f": "primary", "t": "standby"}.get(self.ask(name, "select pg_is_in_recovery()"), "down")
        lines = node.out(f"sed -n '1p;3p' {node.data_directory}/postmaster.pid 2>/dev/null || true")
        return role, " ".join(lines.split()) if role != "down" else ""

    def states(self) -> dict[str, tuple[str, str]]:
        """Of every host that has power."""
        return {name: self.state(name) for name in self.living}

    def primaries(self) -> list[str]:
        """Every host that can write."""
        return [name for name in self.members if self.ask(name, "select pg_is_in_recovery()") == "f"]

    def standbys(self) -> list[str]:
        """The members that are to follow."""
        primary = self.newest()
        return [name for name in self.members if name != primary]

    def newest(self) -> str:
        """The primary; of two the one on the newer timeline."""
        return max(self.primaries(), key=self.timeline, default="")

    def follow(self, primary: str) -> bool:
        """Whether every other member streams from a host through a slot of its own."""
        return self.followers(primary) == " ".join(sorted(set(self.members) - {primary}))

    # --- what must always be true ---

    def judge(self) -> None:
        """No two servers acknowledge commits, and no second one can write by a run's doing."""
        twice = witnesses.two_at_once(witnesses.read(self.notes))
        assert not twice, twice
        primaries = self.primaries()
        beside = [name for name in primaries if name != self.newest() and name not in self.returned]
        assert not beside, f"two primaries: {primaries}"

    def judge_rows(self) -> int:
        """Every row that was acknowledged is there; returns how many."""
        known = {row.number for row in witnesses.read(self.notes)}
        primary = self.newest()
        lost = known - set(map(int, self.nodes[primary].psql("select n from written").split()))
        assert not lost, f"{len(lost)} rows that were acknowledged are not on {primary}: {sorted(lost)[:5]}"
        return len(known)

    def judge_running(self, before: t.Mapping[str, tuple[str, str]], but: t.Collection[str], said: str) -> None:
        """What ran before a run runs after it."""
        for name, (role, _started) in before.items():
            if role != "down" and name not in but and name in self.living:
                runs = eventually(lambda of=name: self.state(of)[0] != "down", seconds=20)
                assert runs, f"the server of {name} ran before, and is down now\n{said[-6000:]}"

    # --- to the good state again ---

    def calm(self) -> None:
        """End what a step left going; the dead stay dead."""
        for name in sorted(self.down - self.dead):
            self.power_on(name)
        for run in self.runs:
            if not run.ended():
                run.kill()
        self.runs.clear()
        while self.undo:
            self.undo.pop()()
        busy = f"{EACH}; echo $p; esac; done; true"
        for name in (*NAMES, SPARE):
            if name not in self.down:
                quiet = eventually(lambda of=name: not self.nodes[of].out(busy).strip(), seconds=120)
                assert quiet, "a program of a run does not end:\n" + self.nodes[name].out("ps -ef")

    def mend(self) -> None:
        """Do as the messages and pages say until the cluster is right, and see that it is."""
        if not self.primaries():
            # A server that was killed is started by the run; where the primary is gone for good another one takes over.
            self.run("site")
            if not self.primaries():
                self.must("failover")
        primary = self.newest()
        for name in self.primaries():
            if name != primary:
                self.bring_back(name)
        site = self.run("site")
        for name in self.standbys():
            if not eventually(lambda of=name: of in self.followers(primary).split(), seconds=5):
                self.bring_back(name)
        if site.rc or site.counted("changed"):
            site = self.must("site")
        if site.counted("changed"):
            site = self.must("site")
        assert site.counted("changed") == 0, f"site.yml does not come to rest\n{site.text[-6000:]}"
        self.returned.clear()
        self.judge()
        assert self.newest() == primary, f"{self.newest()} became the primary in place of {primary}"
        assert eventually(lambda: self.follow(primary), seconds=60), self.ask(
            primary, "select application_name, state, sync_state from pg_stat_replication"
        )
        status = self.run("status")
        assert status.rc == 0, f"status\n{status.text[-6000:]}"
        before = len(witnesses.read(self.notes))
        goes_on = eventually(lambda: len(witnesses.read(self.notes)) > before + 3, seconds=60)
        assert goes_on, "nobody can write"
        self.judge_rows()

    def bring_back(self, name: str) -> None:
        """Have a host follow again; a full copy is the last resort."""
        outcome = self.run("rejoin", "--limit", name, *STOP)
        if outcome.rc and "pgtandem_reseed" in outcome.said:
            self.tell(f"a full copy of {name}: {outcome.errors[:300]}")
            self.must("rejoin", "--limit", name, *STOP, "-e", f"pgtandem_reseed={name}")
        else:
            assert outcome.rc == 0, f"rejoin of {name}\n{outcome.text[-6000:]}"

    # --- the beginning ---

    def set_up(self) -> None:
        """Make the cluster, and keep it as it is then."""
        self.whole_again()
        for name in self.nodes:
            node = self.nodes[name]
            # A new disk is root's.
            node.out(f"for d in /var/lib/postgresql /var/lib/pgsql; do chown {node.os_user}: $d; done; true")
        if self.nodes["pg1"].out(f"ls {TEMPLATE}/done 2>/dev/null || true").strip():
            return
        self.must("site")
        for name in reversed(self.members):
            self.nodes[name].out(f"systemctl stop {self.nodes[name].service}")
        for name in NAMES:
            self.nodes[name].out(
                f"set -e; mkdir -p {TEMPLATE}; test ! -d /etc/postgresql || more=etc/postgresql; "
                f"tar -cf {TEMPLATE}/files.tar -C / {self.folder_of(name)[1:]} $more; touch {TEMPLATE}/done"
            )
        for name in NAMES:
            self.start(name)

    def whole_again(self) -> None:
        """Have power, network and disks everywhere, whatever an earlier run left."""
        for one, other in itertools.combinations([*self.nodes, "controller"], 2):
            # A host without power has no rules any more.
            with contextlib.suppress(AssertionError):
                lab("heal", one, other)
        for name in self.nodes:
            lab("start", name)
            lab("empty", name, self.folder_of(name))
        self.down.clear()

    def folder_of(self, name: str) -> str:
        """The folder that the data directories of a host are in."""
        return (
            "/var/lib/pgsql" if self.nodes[name].data_directory.startswith("/var/lib/pgsql/") else "/var/lib/postgresql"
        )

    def reset(self) -> None:
        """Put the kept state back, whatever is there, and start the clients."""
        self.end_writing()
        self.dead.clear()
        self.returned.clear()
        with_spare = [*NAMES, SPARE]
        self.calm()
        for name in with_spare:
            node = self.nodes[name]
            node.out(
                f"systemctl stop {node.service}; pkill -KILL -u {node.os_user}; sleep 0.3; "
                f"rm -rf {self.folder_of(name)}/* {self.folder_of(name)}/.[!.]* /etc/postgresql/*; "
                f"test ! -e {TEMPLATE}/files.tar || tar -xpf {TEMPLATE}/files.tar -C /; "
                f"systemctl daemon-reload; systemctl reset-failed; true"
            )
        for name in NAMES:
            self.start(name)
        self.members, self.parameters = list(NAMES), {}
        assert eventually(lambda: self.primaries() == ["pg1"] and self.follow("pg1"), seconds=90)
        self.begin_writing()

    def begin_writing(self) -> None:
        """Start a client for each host."""
        self.nodes["pg1"].psql(
            "set synchronous_commit = local; create table if not exists written (n bigint primary key);"
            "do $$ begin create role app login; exception when duplicate_object then null; end $$;"
            "grant all on written to app; truncate written"
        )
        self.count += 1
        self.notes = self.folder / f"answers-{self.count}"
        self.notes.touch()
        hosts = [
            f"{name}=host={node.address} port={node.port} user=app dbname=postgres sslmode=disable "
            "target_session_attrs=read-write connect_timeout=2 "
            "tcp_user_timeout=2000 keepalives_idle=1 keepalives_interval=1 keepalives_count=2"
            for name, node in self.nodes.items()
        ]
        self.client = subprocess.Popen(
            [sys.executable, str(HERE / "witnesses.py"), str(self.notes), *hosts], stdin=subprocess.DEVNULL
        )
        assert eventually(lambda: witnesses.read(self.notes), seconds=30), "nobody can write at the beginning"

    # --- what can be done to a host ---

    def kill_server(self, name: str) -> None:
        """SIGKILL to the postmaster; its children end by themselves."""
        node = self.nodes[name]
        node.out(f"kill -KILL $(head -1 {node.data_directory}/postmaster.pid) 2>/dev/null; true")

    def fill_disk(self, name: str, leave: int) -> None:
        """Fill the disk with the data up to some bytes."""
        path = self.folder_of(name)
        self.undo.append(lambda: lab("empty", name, path))
        lab("fill", name, path, "--leave", str(leave))


def hosts_in(text: str, names: t.Mapping[str, str]) -> str:
    """A text about pg1, pg2 and pg3 with the hosts that have these roles now.

    >>> hosts_in("pgtandem_target=pg2", {"pg1": "pg3", "pg2": "pg1"})
    'pgtandem_target=pg1'
    """
    return re.sub(r"\bpg[123]\b", lambda found: names.get(found[0], found[0]), text)
