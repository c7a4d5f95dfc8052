# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which parameters an instance gets."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import (
    DERIVED,
    Needs,
    check_names,
    compose,
    normalise,
    recovery_settings,
)

VERSIONS = {"9.6": 90600, **{str(major): major * 10000 for major in range(10, 20)}}


def composed(version: int = 170000, needs: Needs | None = None, **files: t.Any) -> dict[str, str]:
    return compose(
        version=version,
        user=files.get("user", {}),
        elsewhere=files.get("elsewhere", {}),
        needs=needs or Needs(senders=3),
    )


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_only_what_a_version_knows_is_written(version: int) -> None:
    values = composed(version, Needs(senders=3, primary_conninfo="host=pg1", primary_slot_name="pg2"))
    assert [problem for problem in check_names(set(values) - set(DERIVED), version) if problem] == []
    newer = version >= 120000
    assert {name in values for name in ("primary_conninfo", "primary_slot_name", "recovery_target_timeline")} == {newer}
    assert ("wal_keep_size" in values, "wal_keep_segments" in values) == (version >= 130000, version < 130000)
    assert values["wal_level"] == "replica" and values["hot_standby"] == "on"


ELSEWHERE = [
    pytest.param({}, {"wal_level": "replica", "max_wal_senders": "10", "wal_sender_timeout": "60s"}, id="nothing"),
    pytest.param({"wal_level": "logical"}, {"wal_level": None}, id="logical is kept"),
    pytest.param({"wal_level": "replica"}, {"wal_level": None}, id="replica is kept"),
    pytest.param({"wal_level": "hot_standby"}, {"wal_level": None}, id="the old name is known"),
    pytest.param({"wal_level": "minimal"}, {"wal_level": "replica"}, id="minimal is not"),
    pytest.param({"max_wal_senders": "5"}, {"max_wal_senders": None}, id="enough senders"),
    pytest.param({"max_wal_senders": "2"}, {"max_wal_senders": "10"}, id="too few senders"),
    pytest.param({"max_replication_slots": "0"}, {"max_replication_slots": "10"}, id="no slots"),
    pytest.param({"wal_sender_timeout": "5s"}, {"wal_sender_timeout": None}, id="a tunable is kept"),
    pytest.param({"hot_standby": "off"}, {"hot_standby": "on"}, id="hot_standby is needed"),
    pytest.param({"hot_standby": "ON"}, {"hot_standby": None}, id="hot_standby is on"),
    pytest.param({"listen_addresses": "localhost"}, {"listen_addresses": "*"}, id="only loopback"),
    pytest.param({"listen_addresses": "10.0.0.1"}, {"listen_addresses": None}, id="an address of the user's"),
]


@pytest.mark.parametrize(("elsewhere", "expected"), ELSEWHERE)
def test_what_other_files_say_is_kept_where_it_works(
    elsewhere: dict[str, str], expected: dict[str, str | None]
) -> None:
    values = composed(elsewhere=elsewhere, needs=Needs(senders=3, listen_addresses="*"))
    assert {name: values.get(name) for name in expected} == expected


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_what_slots_keep_has_an_end_where_the_version_can(version: int) -> None:
    name = "max_slot_wal_keep_size"
    assert composed(version).get(name) == ("10GB" if version >= 130000 else None)
    if version >= 130000:
        assert composed(version, user={name: "-1"})[name] == "-1"
        assert name not in composed(version, elsewhere={name: "1GB"})


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_settings_of_recovery_are_parameters_from_12_on(version: int) -> None:
    asked = recovery_settings(apply_delay="1h", restore_command="cp /a/%f %p")
    values = composed(version, Needs(senders=3, recovery=asked))
    assert (set(asked) <= set(values)) is (version >= 120000)


@pytest.mark.parametrize(("senders", "expected"), [(3, "10"), (10, "10"), (21, "21")])
def test_a_large_cluster_has_more_senders(senders: int, expected: str) -> None:
    assert composed(needs=Needs(senders=senders))["max_wal_senders"] == expected


FLOORS = [
    pytest.param({}, {}, 100, None, id="the default is enough"),
    pytest.param({}, {}, 101, "101", id="above the default"),
    pytest.param({"max_connections": "50"}, {}, 100, "100", id="the user's is too low"),
    pytest.param({"max_connections": "500"}, {}, 100, "500", id="the user's is higher"),
    pytest.param({}, {"max_connections": "200"}, 150, None, id="another file's is enough"),
    pytest.param({}, {"max_connections": "20"}, 60, "60", id="another file's is too low"),
]


@pytest.mark.parametrize(("user", "elsewhere", "floor", "expected"), FLOORS)
def test_a_standby_is_never_lower_than_its_upstream(
    user: dict[str, str], elsewhere: dict[str, str], floor: int, expected: str | None
) -> None:
    needs = Needs(senders=3, floors={"max_connections": floor})
    assert composed(user=user, elsewhere=elsewhere, needs=needs).get("max_connections") == expected


def test_senders_are_a_floor_from_12_on() -> None:
    needs = Needs(senders=3, floors={"max_wal_senders": 20})
    assert [composed(version, needs)["max_wal_senders"] for version in (110000, 120000)] == ["10", "20"]


NAMES = [
    ("wal_keep_segments", 130000, "PostgreSQL 13 has no wal_keep_segments: use wal_keep_size"),
    ("wal_keep_segments", 120000, None),
    ("wal_keep_size", 120000, "PostgreSQL 12 has no wal_keep_size: use wal_keep_segments"),
    ("recovery_min_apply_delay", 110000, "before 12 it belongs to recovery.conf"),
    ("port", 170000, "port is not set here: it follows from pgtandem_port"),
    ("work mem", 170000, "'work mem' is not a parameter's name"),
    ("a = 1\nb", 170000, "is not a parameter's name"),
    ("auto_explain.log_min_duration", 170000, None),
    ("work_mem", 170000, None),
]


@pytest.mark.parametrize(("name", "version", "message"), NAMES, ids=[f"{name} {v}" for name, v, _unused in NAMES])
def test_names(name: str, version: int, message: str | None) -> None:
    problems = check_names([name], version)
    assert (message in problems[0]) if message else problems == []


LEVELS = [
    ("hot_standby", 170000, "replica"),
    ("Archive", 170000, "replica"),
    ("Logical", 170000, "logical"),
    ("replica", 90400, "hot_standby"),
    ("replica", 90600, "replica"),
]


@pytest.mark.parametrize(("said", "version", "expected"), LEVELS)
def test_wal_level(said: str, version: int, expected: str) -> None:
    assert normalise({"wal_level": said}, version) == {"wal_level": expected}


@pytest.mark.parametrize(("said", "words"), [("minimal", "rules out replication"), ("none", "does not exist")])
def test_wrong_wal_level(said: str, words: str) -> None:
    with pytest.raises(ReplicationError, match=words):
        normalise({"wal_level": said}, 170000)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ReplicationError) as raised:
        normalise({"Port": 1, "wal_keep_segments": 1, "wal_level": "minimal"}, 170000)
    assert len(raised.value.details["problems"]) == 3


@pytest.mark.parametrize(("value", "text"), [(True, "on"), (False, "off"), (0.5, "0.5"), ("64MB", "64MB"), (0, "0")])
def test_values(value: object, text: str) -> None:
    assert normalise({"Work_Mem": value}, 170000) == {"work_mem": text}
