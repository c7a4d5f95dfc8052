# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup of more than 2 GB on real hosts, cut short in every way, and carried on to the end by the next run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DATA = "/var/lib/postgresql/15/main"
#: Seconds for one run of the playbook; it takes a tenth of that on a machine that does nothing else.
PATIENCE = 900
LIST_FOREIGN = "find /srv/foreign -printf '%p %i %s %T@ %U %m\\n' | sort"


def lab(*words: str) -> None:
    subprocess.run(["python", "molecule/shared/lab.py", *words], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


def on(host: str, script: str, *, check: bool = True) -> str:
    """What a script of root's prints on a host."""
    done = subprocess.run(
        ["python", "molecule/shared/lab.py", "ssh", host, "--", "sudo", "bash", "-s"],
        input=script, cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


class Run:
    """The playbook site, on the way."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._log = folder / f"site-{time.monotonic_ns()}.log"
        inventories = [f"--inventory={path}" for path in os.environ["PGTANDEM_LAB_INVENTORY"].split(":")]
        with open(self._log, "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                ["ansible-playbook", *inventories, "pgtandem.replication.site", *words],
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


@pytest.fixture
def site(tmp_path: Path) -> t.Iterator[Site]:
    runs: list[Run] = []

    def begin(*words: str) -> Run:
        runs.append(Run(tmp_path, *words))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()


@pytest.fixture(autouse=True)
def fresh_standby() -> t.Iterator[None]:
    """pg2 without data, beside a folder that is somebody else's and stays as it is."""
    on(
        "pg2",
        "systemctl stop postgresql@15-main pgtandem-basebackup-* 2>/dev/null\n"
        f"rm -rf {DATA} /srv/wal /srv/other /srv/small/*\n"
        "mkdir -p /srv/foreign/base/1 && touch /srv/foreign/PG_VERSION /srv/foreign/base/1/1259",
    )
    before = on("pg2", LIST_FOREIGN)
    yield
    assert on("pg2", LIST_FOREIGN) == before


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


def test_the_controller_is_killed(site: Site) -> None:
    status, output = site("--check").end()
    assert status == 0 and re.search(r"(?m)^pg2: would copy 2\.\d GB from 10\.12\.16\.10:5432 into ", output), output
    run = site()
    run.wait_for("pg2", 30)
    run.kill()
    units = on("pg2", "systemctl list-units --no-legend 'pgtandem-basebackup-5432-*'")
    assert ".scope loaded active running" in units
    # What the standby's host shows of the job has no secret in it.
    shown = on("pg2", "systemctl show 'pgtandem-basebackup-*'; journalctl --no-pager; ps axeww; ls -lR " + DATA)
    assert "hunter2Tandem" not in shown and "/pass" in shown
    run = site()
    output = prove(site, run)
    told = run.percents("pg2")
    assert not told or told[0] >= 30, output


def test_the_backup_is_killed_and_then_the_host_restarted(site: Site) -> None:
    run = site()
    run.wait_for("pg2", 10)
    on("pg2", "kill -9 $(pgrep -o -x pg_basebackup)")
    status, output = run.end()
    assert status == 2 and "pg_basebackup was killed by signal 9" in output, output
    assert on("pg2", f"ls {DATA}; pgrep pg_basebackup", check=False) == "pgtandem-incoming.json"
    run = site()
    run.wait_for("pg2", 20)
    lab("restart", "pg2")
    # The play waited until it could reach the host again, and found the job gone.
    status, output = run.end()
    said = "(the job was stopped by signal 15|its job ended without a word; it was killed, or the host was restarted)"
    assert status != 0 and re.search(f"base backup from .* failed: {said}", " ".join(output.split())), output
    prove(site, site())


def test_two_runs_at_once(site: Site) -> None:
    runs = [site(), site()]
    runs[0].wait_for("pg2", 20)
    script = "systemctl list-units --no-legend 'pgtandem-basebackup-*' | wc -l; pgrep -cx pg_basebackup"
    assert on("pg2", script) == "1\n2"
    outputs = [prove(site, run) for run in runs]
    assert [bool(re.search(r"(?m)^pg2: streaming", output)) for output in outputs] == [True, True]


def test_the_upstream_is_restarted(site: Site) -> None:
    run = site()
    run.wait_for("pg2", 10)
    on("pg1", "systemctl restart postgresql@15-main")
    status, output = run.end()
    assert status == 2 and "The base backup from 10.12.16.10:5432 failed: pg_basebackup: error:" in output, output
    assert on("pg2", f"ls {DATA}; ls -d /srv/wal/main /srv/other /srv/small/slow 2>/dev/null", check=False) == (
        "pgtandem-incoming.json"
    )
    prove(site, site())


def test_the_disk_of_a_tablespace_fills(site: Site) -> None:
    """There was room when the copy began. What others have on that disk stays."""
    on("pg2", "echo theirs > /srv/small/theirs")
    run = site()
    run.wait_for("pg2", 5)
    lab("fill", "pg2", "/srv/small")
    status, output = run.end()
    assert status == 2 and "No space left on device" in output and "the unfinished copy was cleared" in output, output
    left = on(
        "pg2", f"ls {DATA}; ls -d /srv/wal/main /srv/other /srv/small/slow 2>/dev/null; ls /srv/small", check=False
    )
    assert left.split() == ["pgtandem-incoming.json", "lab-ballast", "theirs"]
    lab("empty", "pg2", "/srv/small")
    prove(site, site())
    assert on("pg2", "cat /srv/small/theirs") == "theirs"


def test_a_wrong_password_copies_nothing() -> None:
    """site.yml gives all hosts one password, so the module is asked alone."""
    address = on("pg1", "hostname -I").split()[0]
    arguments = json.dumps({"upstream_host": address, "upstream_password": "mistaken1Word"})
    done = subprocess.run(
        ["ansible", "pg2", "--become", "--module-name=pgtandem.replication.pg_basebackup",
         f"--args={arguments}", *(f"--inventory={path}" for path in os.environ["PGTANDEM_LAB_INVENTORY"].split(":"))],
        cwd=ROOT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2 and "password authentication failed for user" in said, said
    assert "Nothing was copied" in said and "mistaken1Word" not in said
    assert on("pg2", f"ls -d {DATA} /srv/wal 2>/dev/null", check=False) == ""
