# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs of standbys that did not stream: the line that counts, and what is said to do."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.log_causes import (
    cause_in,
    remedy_for,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.log_text import join_continued

CONNECT = "2026-11-22 17:05:44.298 UTC [27804] FATAL:  could not connect to the primary server: "
STREAM = "2026-11-22 17:05:44.298 UTC [27804] FATAL:  could not receive data from WAL stream: "

# The text behind the prefix is the servers' own; the words stand in the remedy.
LINES = [
    pytest.param(CONNECT + "FATAL:  must be superuser or replication role to start walsender", "REPLICATION", id="10"),
    pytest.param(
        CONNECT + 'connection to server at "127.0.0.1", port 5 failed: FATAL:  permission denied to start WAL sender',
        "REPLICATION", id="18",
    ),
    pytest.param(CONNECT + 'FATAL:  password authentication failed for user "repl"', "the password", id="password"),
    pytest.param(CONNECT + "fe_sendauth: no password supplied", "mode 0600", id="passfile"),
    pytest.param(
        CONNECT + 'FATAL:  no pg_hba.conf entry for replication connection from host "127.0.0.1", user "repl", SSL off',
        "pg_hba.conf has no rule", id="hba of 13",
    ),
    pytest.param(
        CONNECT + 'FATAL:  number of requested standby connections exceeds "max_wal_senders" (currently 1)',
        "max_wal_senders", id="WAL senders of 17",
    ),
    pytest.param(CONNECT + "could not connect to server: Connection refused", "nothing listens", id="refused"),
    pytest.param(CONNECT + 'could not translate host name "pg9" to address: x', "does not resolve", id="name"),
    pytest.param(
        CONNECT + 'invalid connection option "channel_binding"', "pg_basebackup -R", id="conninfo of a newer libpq"
    ),
    pytest.param(
        STREAM + "ERROR:  requested WAL segment 000000010000000000000003 has already been removed", "seed the standby",
        id="WAL removed",
    ),
    pytest.param(
        "2026-11-22 17:05:44.298 UTC [1] FATAL:  could not start WAL streaming: ERROR:  can no longer access "
        'replication slot "pg2"', "drop it and create it again", id="lost slot of 18",
    ),
    pytest.param(
        "2026-11-22 17:05:44.298 UTC [1] LOG:  new timeline 2 forked off current database system timeline 1 before "
        "current recovery point 0/3000148", "pg_rewind", id="diverged",
    ),
    pytest.param(
        "2026-11-22 17:05:44.298 UTC [1] FATAL:  hot standby is not possible because max_connections = 100 is a lower "
        "setting than on the master server (its value was 120)", "primary's value", id="floor of 12",
    ),
    pytest.param(
        "2026-11-22 17:05:44.298 UTC [1] FATAL:  recovery aborted because of insufficient parameter settings",
        "primary's value", id="floor of 14",
    ),
    pytest.param(
        '2026-11-22 17:05:44.298 UTC [1] FATAL:  streaming replication receiver "walreceiver" could not connect to '
        'the primary server: connection to server at "h", port 1 failed: Connection refused',
        "nothing listens", id="19",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words"), LINES)
def test_known_cause(line: str, words: str) -> None:
    cause = cause_in(["LOG:  entering standby mode", line, "LOG:  waiting for WAL to become available at 0/3000018"])
    assert cause is not None
    assert cause.line == line
    assert words in cause.sentence()


def test_the_last_cause_counts() -> None:
    removed = STREAM + "ERROR:  requested WAL segment 1 has already been removed"
    cause = cause_in([CONNECT + "Connection refused", removed])
    assert cause is not None and cause.line == removed


def test_a_client_that_failed_to_log_in_is_no_cause() -> None:
    refused = CONNECT + "Connection refused"
    cause = cause_in([refused, 'FATAL:  password authentication failed for user "app"', 'ERROR:  relation "x" is not'])
    assert cause is not None and cause.line == refused


def test_what_stopped_the_server_is_told_without_a_remedy() -> None:
    line = 'FATAL:  password authentication failed for user "app"'
    cause = cause_in(["LOG:  starting", line])
    assert cause is not None and (cause.line, cause.remedy) == (line, None)


def test_nothing_to_tell() -> None:
    assert cause_in(["LOG:  started streaming WAL from primary at 0/3000000 on timeline 1", ""]) is None


def test_further_lines_belong_to_their_message() -> None:
    assert join_continued(["FATAL:  could not connect", "\tIs the server running?", "LOG:  x"]) == [
        "FATAL:  could not connect Is the server running?",
        "LOG:  x",
    ]


def test_a_password_in_the_log_is_struck_out() -> None:
    cause = cause_in([CONNECT + "invalid connection option in host=a password=geheim"])
    assert cause is not None and "geheim" not in cause.line


def test_a_line_that_is_no_trouble_has_no_remedy() -> None:
    assert remedy_for("LOG:  database system is ready to accept read-only connections") is None


def test_a_statement_that_is_logged_is_no_cause() -> None:
    refused = CONNECT + "Connection refused"
    spoken = "2026-12-01 02:50:11 UTC [3] LOG:  statement: SELECT 'certificate' AS primary_conninfo, 'WAL streaming '"
    cause = cause_in([refused, *[spoken] * 400])
    assert cause is not None and cause.line == refused


def test_the_same_wrong_record_over_and_over_is_another_history() -> None:
    line = "LOG:  record with incorrect prev-link 67F/A2000 at 0/932668"
    waits = "LOG:  waiting for WAL to become available at 0/902000"
    # Once it is the end of what lies in pg_wal.
    assert cause_in([line, waits]) is None
    cause = cause_in([line, waits] * 3 + ["FATAL:  terminating walreceiver process due to administrator command"])
    assert cause is not None and "diverged" in str(cause.remedy) and "0/932668" in cause.line
