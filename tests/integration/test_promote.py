# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_promote on real servers."""

from __future__ import annotations

import pytest
from conftest import SERVERS, MakeCluster, MakeFolder, Task, run_tasks


@pytest.mark.parametrize("server", SERVERS)
def test_a_standby_is_promoted_once(make_cluster: MakeCluster, make_folder: MakeFolder, server: str) -> None:
    primary = make_cluster(server, hot_standby="on")
    primary.psql("CREATE TABLE kept AS SELECT 1 AS n")
    standby = primary.standby(make_folder())
    make_cluster.adopt(standby)  # type: ignore[attr-defined]
    standby.start()
    standby.psql("SELECT pg_wal_replay_pause()")
    primary.psql("CREATE TABLE late AS SELECT 2 AS n; SELECT pg_switch_wal()")
    system = primary.psql("SELECT system_identifier FROM pg_control_system()")
    options = dict(standby.options, slots=["pg1"], checkpoint=True)
    far = {"minimum_lsn": "F/0"}
    check, refused, other, done, again = run_tasks(
        [
            Task("pg_promote", options, check=True, diff=True),
            Task("pg_promote", {**options, **far}),
            Task("pg_promote", {**options, "system_identifier": "1"}),
            Task("pg_promote", {**options, "system_identifier": system}, diff=True),
            Task("pg_promote", options),
        ]
    )
    assert check["changed"] and "timeline" not in check
    assert check["diff"]["before"] == "standby\n" and check["diff"]["after"] == "primary\n"
    assert refused["failed"] and "would be lost" in refused["msg"]
    assert other["failed"] and "is meant" in other["msg"]
    assert done["changed"] and done["actions"] == check["actions"]
    assert "Resume the replay" in done["actions"]
    assert (done["timeline"], done["previous_timeline"]) == (2, 1) and done["switch_lsn"]
    assert not again["changed"] and again["timeline"] == 2 and again["switch_lsn"] == done["switch_lsn"]
    assert standby.psql("INSERT INTO late SELECT n FROM kept RETURNING n") == "1"
    assert standby.psql("SELECT restart_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'pg1'") == "t"
    assert standby.psql("SELECT timeline_id FROM pg_control_checkpoint()") == "2"


def test_a_server_that_does_not_run_is_not_promoted(make_cluster: MakeCluster) -> None:
    (result,) = run_tasks([Task("pg_promote", make_cluster(start=False).options)])
    assert result["failed"] and "No server runs on" in result["msg"]
