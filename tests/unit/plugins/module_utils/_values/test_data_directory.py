# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every state of a data directory, from the evidence that leads to it."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.control_data import ControlData
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    INCOMING,
    INCOMING_MARKER,
    DirectoryEvidence,
    classify,
    describe,
)

CONTROL = ControlData(
    system_identifier="7711040613759311498",
    state="shut down in recovery",
    timeline=1,
    checkpoint_lsn="0/2000060",
    minimum_recovery_lsn="0/3000000",
    data_checksums=False,
    wal_log_hints=False,
    wal_level="replica",
    floors={},
)
SAID = "system 7711040613759311498"
RESTS = "control file says 'shut down in recovery'"
CLUSTER = ("PG_VERSION", "base", "global", "pg_wal")


def seen(*entries: str, **more: object) -> DirectoryEvidence:
    return DirectoryEvidence("/data", exists=True, entries=entries, **more)  # type: ignore[arg-type]


STATES = [
    pytest.param(DirectoryEvidence("/data"), "absent", "/data does not exist", id="absent"),
    pytest.param(seen(), "empty", "/data is empty", id="empty"),
    pytest.param(seen("lost+found"), "empty", "/data is empty", id="a fresh mount point"),
    pytest.param(
        DirectoryEvidence("/data", exists=True, is_directory=False), "foreign", "/data is not a directory", id="a file"
    ),
    pytest.param(
        seen(INCOMING, INCOMING_MARKER, has_marker=True), "incoming",
        "/data holds an unfinished base backup of this collection", id="our half backup",
    ),
    pytest.param(
        seen(INCOMING), "foreign", "/data holds files that are not PostgreSQL's (pgtandem-incoming)",
        id="the folder without the marker proves nothing",
    ),
    pytest.param(
        seen(*CLUSTER, "standby.signal", pg_version="15", control=CONTROL, signal_files=("standby.signal",)), "standby",
        f"/data holds a standby of {SAID} (PostgreSQL 15, {RESTS}, not running)", id="standby",
    ),
    pytest.param(
        seen(*CLUSTER, "recovery.conf", pg_version="10", control=CONTROL, signal_files=("recovery.conf",)), "standby",
        f"/data holds a standby of {SAID} (PostgreSQL 10, {RESTS}, not running)", id="standby before 12",
    ),
    pytest.param(
        seen(*CLUSTER, pg_version="15", control=CONTROL, running_pid=7), "primary",
        f"/data holds a primary of {SAID} (PostgreSQL 15, {RESTS}, running as process 7)",
        id="without a signal file it starts as a primary",
    ),
    pytest.param(
        seen("PG_VERSION", "backup_label", "pg_wal", pg_version="15"), "partial",
        "/data holds files of a PostgreSQL 15 cluster without global/pg_control: half a copy that something else made",
        id="a killed pg_basebackup of somebody else's",
    ),
    pytest.param(
        seen("backup_label"), "partial",
        "/data holds files of a PostgreSQL  cluster without global/pg_control: half a copy that something else made",
        id="not even PG_VERSION",
    ),
    pytest.param(
        seen("notes.txt", "a", "b", "c"), "foreign", "/data holds files that are not PostgreSQL's (a, b, c, ...)",
        id="somebody's files",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "state", "clause"), STATES)
def test_state(evidence: DirectoryEvidence, state: str, clause: str) -> None:
    assert (classify(evidence).value, describe(evidence)) == (state, clause)
