# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pg_controldata of several versions printed, captured from real clusters and shortened to what is read."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.control_data import (
    ControlData,
    parse_control_data,
)
from hypothesis import given
from hypothesis import strategies as st

FLOORS = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 8,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}

# A stopped standby of 18.6.
OF_18 = """\
pg_control version number:            1800
Catalog version number:               202506291
Database system identifier:           7711040623827816186
Database cluster state:               shut down in recovery
pg_control last modified:             Sun Nov 22 16:55:53 2026
Latest checkpoint location:           0/2000080
Latest checkpoint's REDO location:    0/2000028
Latest checkpoint's TimeLineID:       1
Latest checkpoint's PrevTimeLineID:   1
Minimum recovery ending location:     0/3000000
Min recovery ending loc's timeline:   1
wal_level setting:                    replica
wal_log_hints setting:                off
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              8
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
Data page checksum version:           1
Default char data signedness:         signed
"""

# A stopped standby of 10.23, read by pg_controldata of 14: what lies behind a field that 10 does not have is shifted.
OF_10_READ_BY_14 = """\
pg_control version number:            1002
Catalog version number:               201707211
Database system identifier:           7711040593634028985
Database cluster state:               shut down in recovery
Latest checkpoint location:           0/2000060
Latest checkpoint's REDO WAL file:    020000280000000000000002
Latest checkpoint's TimeLineID:       33554472
Minimum recovery ending location:     0/3000000
wal_level setting:                    replica
wal_log_hints setting:                off
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              0
max_prepared_xacts setting:           64
max_locks_per_xact setting:           0
Data page checksum version:           0
"""

# A stopped standby of 11.22, read by pg_controldata of 15.
OF_11_READ_BY_15 = """\
pg_control version number:            1100
Database system identifier:           7711251395022008420
Database cluster state:               shut down in recovery
Latest checkpoint location:           0/60030B0
Latest checkpoint's TimeLineID:       1
Latest checkpoint's full_page_writes: on
Fake LSN counter for unlogged rels:   0/77C1A68
Minimum recovery ending location:     0/1
Min recovery ending loc's timeline:   0
wal_level setting:                    unrecognized wal_level
wal_log_hints setting:                on
max_connections setting:              0
max_wal_senders setting:              0
Database block size:                  8192
Bytes per WAL segment:                32
Data page checksum version:           888062468
"""

CASES = [
    pytest.param(
        OF_18,
        ControlData(
            "7711040623827816186", "shut down in recovery", 1, "0/2000080", "0/3000000", True, False, "replica", FLOORS,
            minimum_recovery_timeline=1,
        ),
        id="18",
    ),
    pytest.param(
        OF_10_READ_BY_14,
        ControlData(
            "7711040593634028985", "shut down in recovery", None, "0/2000060", "0/3000000", False, False, "replica", {}
        ),
        id="10 read by 14",
    ),
    pytest.param(
        OF_11_READ_BY_15,
        ControlData(
            "7711251395022008420", "shut down in recovery", 1, "0/60030B0", None, True, True, "unrecognized wal_level",
            {}, full_page_writes=True, minimum_recovery_timeline=0, block_size=8192,
        ),
        id="11 read by 15",
    ),
    pytest.param(
        # Before 12 its own program has no such line, and the others are right.
        OF_10_READ_BY_14.replace("33554472", "3").replace("max_wal_senders setting:              0\n", ""),
        ControlData(
            "7711040593634028985", "shut down in recovery", 3, "0/2000060", "0/3000000", False, False, "replica",
            {"max_connections": 100, "max_worker_processes": 8, "max_prepared_transactions": 64,
             "max_locks_per_transaction": 0},
        ),
        id="10 read by its own",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_parse(text: str, expected: ControlData) -> None:
    assert parse_control_data(text) == expected


def test_output_without_a_system_identifier_is_refused() -> None:
    with pytest.raises(ReplicationError, match="no system identifier .it began 'Benutzung"):
        parse_control_data("Benutzung: pg_controldata [OPTION] [DATENVERZEICHNIS]")


#: What the program prints is PostgreSQL's account's to choose: it may have exchanged the program or the control file.
GARBAGE = [
    "",
    "x" * 1_000_000,
    "9" * 5000,
    "\u00b2",
    "-1",
    "0x10",
    "\x1b]0;title\x07",
    "{{ 7 * 7 }}",
    "\udcff",
    "1\u2028",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("line", range(len(OF_18.splitlines())))
def test_garbage_is_refused_with_one_message_or_is_nothing(line: int, garbage: str) -> None:
    lines = OF_18.splitlines()
    name = lines[line].partition(":")[0]
    lines[line] = f"{name}:   {garbage}"
    try:
        found = parse_control_data("\n".join(lines)).as_result()
    except ReplicationError as error:
        assert error.message.startswith("pg_controldata printed") and len(error.message) < 1000
        assert error.message.isprintable()
        return
    texts = [value for value in found.values() if isinstance(value, str)]
    assert all(len(text) <= 60 for text in texts)


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_any_output_is_refused(text: str) -> None:
    with pytest.raises(ReplicationError):
        parse_control_data(text)
