# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster's roles change and change back by an account that may become postgres and nobody else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import Said, on, playbook

pytestmark = pytest.mark.skipif(
    os.environ.get("PGTANDEM_LAB_SCENARIO") != "unprivileged", reason="molecule/run unprivileged brings its hosts up"
)

PROGRAMS, DATA = "/usr/local/pgsql-18/bin", "/srv/postgresql/main"
WITHOUT_ROOT = ("-e", "lab_user=dba", "-e", "pgtandem_on_role_change=follow")


def play(name: str, *words: str) -> Said:
    said = playbook(name, *WITHOUT_ROOT, *words)
    assert said.returncode == 0, said.output
    return said


def psql(host: str, sql: str) -> str:
    return on(host, f"runuser -u postgres -- {PROGRAMS}/psql -XAtq -h /tmp -d postgres -c {sql!r}")


def streams_from(host: str) -> str:
    return psql(host, "SELECT string_agg(application_name, chr(32)) FROM pg_stat_replication")


def test_there_and_back() -> None:
    for target, other in (("pg2", "pg1"), ("pg1", "pg2")):
        play("switchover", "-e", f"pgtandem_target={target}")
        assert streams_from(target) == other


def test_a_failover_and_the_way_back() -> None:
    on("pg1", f"runuser -u postgres -- {PROGRAMS}/pg_ctl -D {DATA} -m immediate -s stop")
    play("failover", "-e", "pgtandem_target=pg2")
    psql("pg2", "CREATE TABLE after_it (n int)")
    # It comes back with a history of its own, which is rewound.
    on("pg1", f"runuser -u postgres -- {PROGRAMS}/pg_ctl -D {DATA} -l {DATA}.log -s start")
    psql("pg1", "CREATE TABLE lost (n int)")
    play("rejoin", "-e", "pgtandem_target=pg1", "-e", "pgtandem_stop_old_primary=true")
    assert streams_from("pg2") == "pg1"
    play("switchover", "-e", "pgtandem_target=pg1")
    assert psql("pg1", "SELECT to_regclass('after_it') IS NOT NULL, to_regclass('lost') IS NULL") == "t|t"


def test_nothing_is_left_to_do() -> None:
    said = play("site")
    assert "changed=0" in said.output and "changed=1" not in said.output, said.output
