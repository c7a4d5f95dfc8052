# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share: the hosts, a run of the playbook site, and the proof that it ended well."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import ROOT, inventories, lab, on

__all__ = ["DATA", "LIST_FOREIGN", "ROOT", "Run", "Site", "inventories", "lab", "on", "prove"]

DATA = "/var/lib/postgresql/15/main"
#: Seconds for one run of the playbook; it takes a tenth of that on a machine that does nothing else.
PATIENCE = 900
LIST_FOREIGN = "find /srv/foreign -printf '%p %i %s %T@ %U %m\\n' | sort"


class Run:
    """The playbook site, on the way."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._log = folder / f"site-{time.monotonic_ns()}.log"
        with open(self._log, "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                ["ansible-playbook", *inventories(), "pgtandem.replication.site", *words],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            )  # fmt: skip

    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def percents(self, host: str) -> list[int]:
        return [int(number) for number in re.findall(rf"(?m)^{host}: streaming from \S+: (\d+) %", self.output())]

    def wait_for(self, host: str, percent: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while not [number for number in self.percents(host) if number >= percent]:
            assert self._process.poll() is None and time.monotonic() < deadline, self.output()
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL to everything of the controller's."""
        parents: dict[int, int] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        doomed = [self._process.pid]
        for pid in doomed:
            doomed += [child for child, parent in parents.items() if parent == pid]
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> tuple[int, str]:
        return self._process.wait(timeout=PATIENCE), self.output()


Site = t.Callable[..., Run]


def prove(site: Site, run: Run) -> str:
    """The run ended well, and pg2 follows; a run more changes nothing."""
    status, output = run.end()
    assert status == 0, output
    assert re.search(r"(?m)^.*pg2 .* standby .* streaming ", output), output
    assert on("pg2", "sudo -u postgres psql -XAtc 'select count(*) from a, pg_tablespace' || true").isdigit()
    assert on("pg2", f"ls -d {DATA}/pgtandem-* 2>/dev/null", check=False) == ""
    assert on("pg2", "systemctl list-units --all --no-legend 'pgtandem-basebackup-*'") == ""
    status, quiet = site().end()
    assert status == 0 and len(re.findall(r"changed=0 ", quiet)) == 3, quiet
    return output
