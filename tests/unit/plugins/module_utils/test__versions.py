# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each major version is said to do."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    FEATURES,
    PARAMETER_SPANS,
    default_auth_method,
    floor_parameters,
    major_text,
    parse_major,
    parse_program_version,
    password_method,
    same_major,
    supports,
    wal_level_value,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [("9.4", 90400), ("9.6", 90600), ("10", 100000), (" 15 ", 150000), ("19", 190000)],
)
def test_majors(text: str, number: int) -> None:
    assert parse_major(text) == number
    assert major_text(number) == text.strip()


@pytest.mark.parametrize("text", ["", "8", "9", "9.3", "20", "15.3", "fifteen", "15\n16"])
def test_no_majors(text: str) -> None:
    with pytest.raises(ReplicationError):
        parse_major(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("postgres (PostgreSQL) 9.6.24", 90624),
        ("postgres (PostgreSQL) 10.23", 100023),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 150018),
        ("postgres (PostgreSQL) 19rc1", 190000),
        ("postgres (PostgreSQL) 18beta2", 180000),
        ("postgres (PostgreSQL) 17devel", 170000),
    ],
)
def test_program_versions(text: str, number: int) -> None:
    assert parse_program_version(text) == number


def test_an_unreadable_program_version() -> None:
    with pytest.raises(ReplicationError, match="segmentation"):
        parse_program_version("segmentation fault")


@pytest.mark.parametrize(
    ("feature", "last_without", "first_with"),
    [
        ("bypass_row_security", 90424, 90500),
        ("slot_active_pid", 90424, 90500),
        ("slot_reserve_at_once", 90525, 90600),
        ("scram", 90624, 100000),
        ("standby_signal", 110022, 120000),
        ("conninfo_by_reload", 120022, 130000),
        ("slot_wal_status", 120022, 130000),
        ("scram_by_default", 130023, 140000),
        ("slot_invalidation_reason", 160015, 170000),
    ],
)
def test_features_begin_where_they_should(feature: str, last_without: int, first_with: int) -> None:
    assert not supports(last_without, feature)
    assert supports(first_with, feature)


def test_every_span_is_in_order() -> None:
    spans = list(FEATURES.values()) + [entry.span for entry in PARAMETER_SPANS.values()]
    assert all(span.since is None or span.until is None or span.since < span.until for span in spans)


@pytest.mark.parametrize(
    ("setting", "method"),
    [("on", "md5"), ("off", "md5"), ("true", "md5"), ("md5", "md5"), ("scram-sha-256", "scram-sha-256")],
)
def test_password_method(setting: str, method: str) -> None:
    assert password_method(setting) == method


@pytest.mark.parametrize(
    ("version", "setting", "method"),
    [
        (90600, None, "md5"),
        (90600, "on", "md5"),
        (100000, None, "md5"),
        (100000, "scram-sha-256", "scram-sha-256"),
        (140000, None, "scram-sha-256"),
        (180000, "md5", "md5"),
    ],
)
def test_auth_method(version: int, setting: str | None, method: str) -> None:
    assert default_auth_method(version, setting) == method


@pytest.mark.parametrize(
    ("version", "said", "value"),
    [
        (90500, "replica", "hot_standby"),
        (90500, "hot_standby", "hot_standby"),
        (90600, "hot_standby", "replica"),
        (180000, "Archive", "replica"),
        (180000, "logical", "logical"),
    ],
)
def test_wal_level(version: int, said: str, value: str) -> None:
    assert wal_level_value(version, said) == value


def test_floors_and_majors() -> None:
    assert "max_wal_senders" not in floor_parameters(110000)
    assert "max_wal_senders" in floor_parameters(120000)
    assert same_major(180000, 180006) and not same_major(180000, 170000) and not same_major(90500, 90600)
