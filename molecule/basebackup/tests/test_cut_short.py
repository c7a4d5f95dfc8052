# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A base backup of more than 2 GB on real hosts, cut short in every way, and carried on to the end by the next run."""

from __future__ import annotations

import json
import re
import subprocess

from seeding import DATA, ROOT, Site, inventories, lab, on, prove


def test_the_controller_is_killed(site: Site) -> None:
    status, output = site("--check").end()
    assert status == 0 and re.search(r"(?m)^pg2: would copy 2\.\d GB from 10\.\d+\.16\.10:5432 into ", output), output
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
    failed = r"The base backup from 10\.\d+\.16\.10:5432 failed: pg_basebackup: error:"
    assert status == 2 and re.search(failed, " ".join(output.split())), output
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
         f"--args={arguments}", *inventories()],
        cwd=ROOT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2 and "password authentication failed for user" in said, said
    assert "Nothing was copied" in said and "mistaken1Word" not in said
    assert on("pg2", f"ls -d {DATA} /srv/wal 2>/dev/null", check=False) == ""
