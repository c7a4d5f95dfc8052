# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A primary that loses its power, what takes over, and what comes back."""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import typing as t

from outside import Node
from runs import Outcome, Run, lab
from stage import NAMES, Stage
from writer import acknowledged

SPARE = "pg4"
#: A primary that is to come back may have to be stopped for it.
STOP = ("-e", "pgtandem_stop_old_primary=true")
#: Kills every program of a run on a host, pg_rewind among them, when a file is written there after another one; the
#: host itself watches.
KILLER = """
import glob, os, signal, sys, time
path, mark, began = sys.argv[1], sys.argv[2], time.time()
def written(name):
    try:
        return os.stat(name).st_mtime
    except OSError:
        return 0
def kill():
    for name in glob.glob("/proc/[0-9]*/comm"):
        try:
            pid = int(name.split("/")[2])
            with open(name) as stream:
                if stream.read().startswith(("python3", "setpriv", "pg_rewind")) and pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
while time.time() < began + 300:
    if written(mark) >= began - 1 and written(path) >= written(mark):
        kill()
        print("killed")
        break
    time.sleep(0.001)
"""


class Scene(Stage):
    """The hosts, the client, and what can happen to them."""

    def __init__(self, folder: t.Any) -> None:
        """Take the folder for logs."""
        super().__init__(folder)
        self.nodes[SPARE] = Node(SPARE)
        self.down: set[str] = set()
        #: Rows that were lost by the user's word.
        self.forgiven: set[int] = set()

    # --- runs ---

    def begin(self, playbook: str, *arguments: str, inventories: t.Sequence[str] = ()) -> Run:
        """Start a run."""
        self.count += 1
        self.runs.append(Run(self.folder / f"{self.count}.log", playbook, arguments, inventories=inventories))
        return self.runs[-1]

    def played(self, playbook: str, *arguments: str, **more: t.Any) -> Outcome:
        """A run that has to end well."""
        outcome = self.begin(playbook, *arguments, **more).wait()
        assert outcome.rc == 0, outcome.text
        return outcome

    def refused(self, playbook: str, *words: str, arguments: t.Sequence[str] = ()) -> Outcome:
        """A run that changes nothing, fails, and says these words."""
        outcome = self.begin(playbook, *arguments).wait()
        assert outcome.rc != 0 and outcome.counted("changed") == 0, outcome.text
        for word in words:
            assert word in outcome.said, f"{word!r} is not in: {outcome.text}"
        return outcome

    def rejoined(self, name: str, *arguments: str) -> Outcome:
        """A host comes back."""
        return self.played("rejoin", "--limit", name, *STOP, *self.copied(name), *arguments)

    def copied(self, name: str) -> tuple[str, ...]:
        """What lets a host come back as a new copy where its PostgreSQL has no pg_rewind."""
        return () if self.rewinds else ("-e", f"pgtandem_reseed={name}")

    def quiet_as_they_are(self) -> None:
        """A run of site.yml changes nothing with an inventory that has the roles as they are now."""
        primary = self.primary()
        path = self.folder / "roles.json"
        others: dict[str, dict[str, str]] = {name: {} for name in NAMES if name != primary}
        groups = {"now_primary": {"hosts": {primary: {}}}, "now_standby": {"hosts": others}}
        path.write_text(json.dumps(groups), encoding="utf-8")
        named = ("pgtandem_primary_group=now_primary", "pgtandem_standby_group=now_standby")
        updated = [word for name in (*named, "pgtandem_on_role_change=fail") for word in ("-e", name)]
        outcome = self.played("site", *updated, inventories=[str(path)])
        assert outcome.counted("changed") == 0, outcome.text

    # --- what is there ---

    @functools.cached_property
    def rewinds(self) -> bool:
        """Whether these hosts have a pg_rewind."""
        node = self.nodes[NAMES[1]]
        return bool(node.host.run("test -x %s", f"{node.bin_directory}/pg_rewind").rc == 0)

    def ask(self, name: str, sql: str) -> str:
        """What a host answers, nothing where it does not."""
        return "" if name in self.down else super().ask(name, sql)

    def primaries(self) -> list[str]:
        """Every host that can write."""
        return [name for name in self.nodes if self.ask(name, "select pg_is_in_recovery()") == "f"]

    def primary_of(self, names: t.Collection[str]) -> str:
        """The one host of some that can write."""
        found = [name for name in self.primaries() if name in names]
        assert len(found) == 1, found
        return found[0]

    def others(self) -> tuple[str, list[str]]:
        """The primary, and its standbys."""
        primary = self.primary()
        return primary, [name for name in NAMES if name != primary]

    def nothing_lost(self) -> int:
        """Every row that was acknowledged by now is there; return how many."""
        lost = self.lost() - self.forgiven
        assert not lost, f"{len(lost)} rows that were acknowledged are gone: {sorted(lost)[:5]}"
        return len(acknowledged(self.notes))

    def lost(self) -> set[int]:
        """The acknowledged rows that are not there."""
        known = {row.number for row in acknowledged(self.notes)}
        primary = max(self.primaries(), key=self.timeline)
        return known - set(map(int, self.nodes[primary].psql("select n from written").split()))

    def timeline(self, name: str) -> int:
        """Which timeline a primary is on."""
        return int(self.ask(name, "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"))

    def ensure(self) -> None:
        """Bring back what the test before broke."""
        for name in sorted(self.down):
            self.power_on(name)
        for name in NAMES:
            self.start(name)
        living = self.primaries()
        if not living:
            self.played("failover")
            living = self.primaries()
        primary = max(living, key=self.timeline)
        # Another primary first: as long as there are two, nobody knows whom the others are to follow.
        for name in sorted(set(NAMES) - {primary}, key=lambda one: one not in living):
            if name in living or name not in self.followers(primary).split():
                self.rejoined(name)
        self.sound(primary)

    # --- faults ---

    def start(self, name: str) -> None:
        """Have a host's service manager start the server, if it will."""
        self.nodes[name].out(f"systemctl start {self.nodes[name].service} || true")

    def calm(self) -> None:
        """End what a test left going."""
        for name in sorted(self.down):
            self.power_on(name)
        super().calm()

    def power_off(self, name: str) -> None:
        """Take a host's power away."""
        self.down.add(name)
        lab("kill", name)

    def power_on(self, name: str) -> None:
        """Give it back; its server starts with it."""
        lab("start", name)
        self.down.discard(name)

    def kill_at(self, name: str, path: str, mark: str) -> subprocess.Popen[str]:
        """Have a host kill every program of a run there at the moment when a file is written after a mark."""
        config = os.path.join(os.environ["PGTANDEM_LAB_DIRECTORY"], "ssh_config")
        command = shlex.join(["sudo", "nice", "-n", "-20", "python3", "-c", KILLER, path, mark])
        return subprocess.Popen(
            ["ssh", "-F", config, name, command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )

    def killed(self, watcher: subprocess.Popen[str]) -> None:
        """Wait for that moment."""
        assert watcher.stdout is not None
        assert "killed" in watcher.stdout.read(), "the moment never came"
        watcher.wait()
