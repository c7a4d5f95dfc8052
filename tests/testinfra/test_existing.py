# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario `existing`: what others wrote and stored is still there, to the byte."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

if t.TYPE_CHECKING:
    from outside import Node

pytestmark = pytest.mark.skipif(os.environ.get("PGTANDEM_LAB_SCENARIO") != "existing", reason="another scenario")
FILES = pathlib.Path(__file__).resolve().parents[2] / "molecule/existing/files"
CONFIG = "/etc/postgresql/15/main"


def test_every_rule_and_comment_of_theirs_is_kept_in_its_order(primary: Node) -> None:
    there = iter(primary.host.file(f"{CONFIG}/pg_hba.conf").content_string.splitlines())
    missing = [line for line in (FILES / "pg_hba.conf").read_text().splitlines() if line not in there]
    assert not missing


@pytest.mark.parametrize("name", ["10-site.conf", "20-team.conf"])
def test_their_settings_files_are_untouched(primary: Node, name: str) -> None:
    assert primary.host.file(f"{CONFIG}/conf.d/{name}").content_string == (FILES / name).read_text()


@pytest.mark.parametrize(
    ("name", "value"), [("work_mem", "8MB"), ("track_io_timing", "on"), ("maintenance_work_mem", "96MB")]
)
def test_their_settings_hold(primary: Node, name: str, value: str) -> None:
    assert primary.psql(f"show {name}") == value


def test_it_is_the_same_system(primary: Node) -> None:
    kept = primary.host.file("/var/lib/postgresql/lab-identifier").content_string.strip()
    assert primary.psql("select system_identifier from pg_control_system()") == kept


def test_their_data_is_on_both(node: Node) -> None:
    rows = node.psql(
        "select count(*) || ' ' || md5(string_agg(line, '' order by n)) from ledger", database="accounting"
    )
    assert rows == "20000 " + digest()


def digest() -> str:
    """Return the digest of the rows that prepare.yml wrote."""
    import hashlib

    lines = "".join(hashlib.md5(str(n).encode()).hexdigest() for n in range(1, 20001))
    return hashlib.md5(lines.encode()).hexdigest()
