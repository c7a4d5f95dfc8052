# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cheapest way for a server to follow another one, as a table."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.rewind_decision import (
    Source,
    Target,
    Way,
    decide,
    explained,
    own_entries,
)


def source(**changes: t.Any) -> Source:
    """A primary that was promoted at 0/5000000 of timeline 1 and has written a checkpoint since."""
    values: dict[str, t.Any] = {
        "shown": "pg2:5432", "system_identifier": "7", "version": 150018, "timeline": 2, "checkpoint_timeline": 2,
        "forks": {1: "0/5000000"},
    }  # fmt: skip
    return Source(**{**values, **changes})


def target(**changes: t.Any) -> Target:
    """An old primary of timeline 1 that was shut down before that."""
    values: dict[str, t.Any] = {
        "system_identifier": "7", "version": 150018, "timeline": 1, "state": "shut down",
        "checkpoint_lsn": "0/4FFFF88", "forks": {}, "data_checksums": True, "full_page_writes": True,
    }  # fmt: skip
    return Target(**{**values, **changes})


BEYOND: dict[str, t.Any] = {"checkpoint_lsn": "0/6000028"}
STANDBY: dict[str, t.Any] = {"is_standby": True, "state": "shut down in recovery"}


@pytest.mark.parametrize(
    ("ours", "theirs", "way", "words"),
    [
        pytest.param({}, {}, Way.START, "holds nothing that pg2:5432 does not have", id="stopped before the fork"),
        pytest.param({"checkpoint_lsn": "0/5000000"}, {}, Way.REWIND, "not before", id="the record begins at the fork"),
        pytest.param(BEYOND, {}, Way.REWIND, "not before 0/5000000, where timeline 2 forked off", id="wrote on"),
        pytest.param({"state": "in production"}, {}, Way.REWIND, "it was killed while it wrote", id="killed"),
        pytest.param({**STANDBY, "minimum_recovery_lsn": "0/5000000"}, {}, Way.START, "holds nothing", id="standby"),
        pytest.param(
            {**STANDBY, "minimum_recovery_lsn": "0/5000010"}, {}, Way.REWIND, "beyond 0/5000000", id="standby beyond"
        ),
        pytest.param(
            {**STANDBY, "state": "in archive recovery"}, {}, Way.START, "holds nothing", id="a killed standby"
        ),
        pytest.param({**STANDBY, "timeline": 2, "forks": {1: "0/5000000"}}, {}, Way.START, "", id="on its timeline"),
        pytest.param(
            {**STANDBY, "timeline": 2, "forks": {1: "0/4000000"}}, {}, Way.REWIND, "at 0/4000000 and at 0/5000000",
            id="another timeline of the same number",
        ),
        pytest.param({"timeline": 3, "forks": {1: "0/4"}}, {}, Way.REWIND, "only on timeline 2", id="promoted by hand"),
        pytest.param(
            {}, {"timeline": 1, "checkpoint_timeline": 1, "forks": {}}, Way.COPY, "both were primaries of timeline 1",
            id="two primaries of one timeline",
        ),
        pytest.param({"timeline": None}, {}, Way.REWIND, "not known", id="timeline unknown"),
        pytest.param({}, {"system_identifier": "8"}, Way.COPY, "system 7, and pg2:5432 is system 8", id="foreign"),
    ],
)  # fmt: skip
def test_the_way(ours: dict[str, t.Any], theirs: dict[str, t.Any], way: Way, words: str) -> None:
    decision = decide(target(**ours), source(**theirs))
    assert (decision.way, words in decision.why) == (way, True), decision


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        pytest.param({"data_checksums": False}, {}, "wal_log_hints = on", id="neither checksums nor hints"),
        pytest.param({"data_checksums": False, "wal_log_hints": True}, {}, None, id="hints"),
        pytest.param({"full_page_writes": False}, {}, "full_page_writes = on", id="no full pages"),
        pytest.param({"has_program": False}, {}, "There is no pg_rewind", id="no program"),
        pytest.param({}, {"missing": ("pg_stat_file",)}, "may not run pg_stat_file", id="no grants"),
        pytest.param({}, {"needs_superuser": True}, "Before 11 pg_rewind logs in as a superuser", id="no superuser"),
        pytest.param({}, {"checkpoint_timeline": 1}, "run CHECKPOINT there", id="no checkpoint yet"),
        pytest.param({}, {"checkpoint_timeline": 1, "version": 160000}, None, id="no checkpoint yet, 16"),
        pytest.param({}, {"in_recovery": True, "version": 130000}, "from 14 on", id="a standby as source"),
        pytest.param({}, {"in_recovery": True}, None, id="a standby as source, 15"),
    ],
)
def test_what_speaks_against_pg_rewind(ours: dict[str, t.Any], theirs: dict[str, t.Any], words: str | None) -> None:
    decision = decide(target(**{**BEYOND, **ours}), source(**theirs))
    assert decision.way is (Way.COPY if words else Way.REWIND)
    assert words is None or words in " ".join(decision.against)


def test_what_is_wrong_does_not_matter_where_nothing_is_to_be_rewound() -> None:
    assert decide(target(data_checksums=False, has_program=False), source(missing=("x",))).way is Way.START


def test_own_entries_are_none_of_the_servers() -> None:
    servers = ["PG_VERSION", "base", "global", "pg_tblspc", "postmaster.pid", "backup_label.old", "recovery.conf"]
    assert own_entries([*servers, "conf.d", "pg_hba.conf", "pg_log"]) == ["conf.d", "pg_hba.conf", "pg_log"]


def test_an_unknown_error_is_told_as_it_is() -> None:
    assert explained("source and target do not match") == "pg_rewind refuses: source and target do not match."


UNMARKED: dict[str, t.Any] = {"is_unmarked": True, "state": "shut down in recovery", "checkpoint_lsn": "0/4000028"}


@pytest.mark.parametrize(
    ("minimum", "way"), [("0/4FFFF88", Way.START), ("0/6000000", Way.COPY)], ids=["behind", "ahead"]
)
def test_a_standby_without_its_mark_follows_on_its_primarys_own_timeline(minimum: str, way: Way) -> None:
    found = decide(
        target(**UNMARKED, minimum_recovery_lsn=minimum),
        source(timeline=1, checkpoint_timeline=1, forks={}, lsn="0/5000000"),
    )
    assert found.way is way, found
