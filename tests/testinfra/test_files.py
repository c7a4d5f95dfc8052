# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on the disk: owners, modes, and the password where nobody can read it."""

from __future__ import annotations

import re
import shlex
import typing as t

import pytest

if t.TYPE_CHECKING:
    from outside import Node


def test_the_data_directory_is_private(node: Node) -> None:
    directory = node.host.file(node.data_directory)
    assert directory.is_directory
    assert (directory.user, oct(directory.mode)) == (node.os_user, oct(0o700))


def test_nothing_in_the_data_directory_is_someone_elses(node: Node) -> None:
    """A base backup that ran as root leaves files which the server cannot write."""
    strange = node.out(f"find {shlex.quote(node.data_directory)} ! -user {node.os_user} | head")
    assert not strange, strange


def test_a_standby_says_so_on_the_disk(standby: Node) -> None:
    name = "standby.signal" if standby.major >= 12 else "recovery.conf"
    assert standby.host.file(f"{standby.data_directory}/{name}").exists


@pytest.mark.parametrize("name", ["standby.signal", "recovery.signal", "recovery.conf", "backup_label"])
def test_a_primary_has_no_file_of_a_standby(primary: Node, name: str) -> None:
    assert not primary.host.file(f"{primary.data_directory}/{name}").exists


def test_the_passfile_is_private(standby: Node) -> None:
    """The password comes from a file, as the connection itself tells."""
    match = re.search(r"passfile\s*=\s*(?:\\?'{1,2})?([^'\s\\]+)", standby.conninfo)
    assert match, f"no passfile in {standby.conninfo}"
    passfile = standby.host.file(match.group(1))
    assert passfile.is_file
    assert (passfile.user, oct(passfile.mode)) == (standby.os_user, oct(0o600))


def test_the_connection_holds_no_password(standby: Node) -> None:
    assert "password" not in standby.conninfo


def test_no_readable_file_holds_the_password(node: Node) -> None:
    secret = node.secret_file()
    places = "/etc /var /srv /home /root /opt /usr/local /tmp /run"
    found = node.out(
        f"find {places} -xdev -type f -perm /o=r -size -8M ! -path /root/lab-secret -print0 2>/dev/null"
        f" | xargs -0 --no-run-if-empty grep --files-with-matches --fixed-strings --file={secret} || true"
    )
    # A file that others may read is out of reach all the same below a directory that they may not enter.
    exposed = [path for path in found.splitlines() if reachable(node, path)]
    assert not exposed


def reachable(node: Node, path: str) -> bool:
    """Return whether any account may open a file."""
    return t.cast(bool, node.host.run("sudo -u nobody test -r %s", path).rc == 0)


def test_no_log_holds_the_password(node: Node) -> None:
    secret = node.secret_file()
    logs = f"/var/log {shlex.quote(node.data_directory)}/log {shlex.quote(node.data_directory)}/pg_log"
    found = node.out(
        f"grep --recursive --files-with-matches --text --fixed-strings --file={secret} {logs} 2>/dev/null || true"
    )
    assert not found, found


def test_the_journal_does_not_hold_the_password(node: Node) -> None:
    secret = node.secret_file()
    assert (
        node.out(f"journalctl --no-pager --all | grep --count --text --fixed-strings --file={secret} || true").strip()
        == "0"
    )


def test_no_process_shows_the_password(node: Node) -> None:
    """Neither an argument nor a variable of any process."""
    secret = node.secret_file()
    found = node.out(
        f"grep --files-with-matches --text --fixed-strings --file={secret} /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
        " 2>/dev/null || true"
    )
    assert not found, found


def test_the_driver_that_was_there_stays_the_only_one(node: Node) -> None:
    if node.vars.get("lab_driver") != "psycopg":
        pytest.skip("the roles chose the driver")
    assert node.host.run("python3 -c 'import psycopg'").rc == 0
    assert node.host.run("python3 -c 'import psycopg2'").rc != 0
