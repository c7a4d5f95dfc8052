# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Conditions over a status: which are met, and what is said of those that are not."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._status.expectations import Expectations, unmet

SENDER = {
    "pid": 31980,
    "application_name": "pg2",
    "client_port": 33786,
    "state": "streaming",
    "replay_lsn": "0/3000098",
    "replay_lag_seconds": None,
    "sync_state": "async",
    "slot_name": "pg2",
    "lag_bytes": 0,
    "process": "postgres: walsender replica 127.0.0.1(33786) streaming 0/3000098",
}
SLOT = {"slot_name": "pg2", "slot_type": "physical", "wal_status": "reserved"}
PRIMARY: dict[str, t.Any] = {
    "running": True,
    "role": "primary",
    "timeline": 1,
    "upstream": None,
    "wal_receiver": None,
    "wal_senders": [SENDER],
    "slots": [SLOT],
    "positions": {"replay": None},
    "replay": {"paused": None, "pause_state": None, "lag_bytes": None, "lag_seconds": None},
}
STANDBY: dict[str, t.Any] = {
    "running": True,
    "role": "standby",
    "timeline": 1,
    "upstream": {"host": "127.0.0.1", "port": 5432},
    "wal_receiver": {
        "pid": 31979,
        "status": "streaming",
        "sender_host": "127.0.0.1",
        "sender_port": 5432,
        "process": "postgres: walreceiver streaming 0/3000098",
    },
    "wal_senders": [],
    "slots": [],
    "positions": {"receive": "0/3000098", "replay": "0/3000098"},
    "replay": {"paused": False, "pause_state": "not paused", "lag_bytes": 0, "lag_seconds": 0},
}
STOPPED: dict[str, t.Any] = {**STANDBY, "running": False, "wal_receiver": None, "positions": {"replay": None}}


def but(status: dict[str, t.Any], **changes: t.Any) -> dict[str, t.Any]:
    """The status with values replaced; a double underscore leads into a dictionary or the first row of a list."""
    changed = copy.deepcopy(status)
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = changed
        for parent in parents:
            place = place[parent][0] if isinstance(place[parent], list) else place[parent]
        place[name] = value
    return changed


#: what a copy leaves on the primary where the network was cut: its two connections, by the name of the standby
LEFT = [
    {**SENDER, "pid": 1, "state": "backup", "replay_lsn": None, "slot_name": None, "lag_bytes": None},
    {**SENDER, "pid": 2, "replay_lsn": None, "slot_name": "pg_basebackup_1", "lag_bytes": None},
]

MET = [
    pytest.param(
        but(PRIMARY, wal_senders=[*LEFT, SENDER]),
        {"standbys": ["pg2"], "replayed_lsn": "0/3000098", "maximum_lag_bytes": 0},
        id="connections of a copy that the network cut",
    ),
    pytest.param(PRIMARY, {}, id="nothing"),
    pytest.param(PRIMARY, {"role": "primary", "state": ["running"]}, id="role and state"),
    pytest.param(STOPPED, {"state": ["running", "stopped"]}, id="one of two states"),
    pytest.param(PRIMARY, {"standbys": ["pg2"], "minimum_standbys": 1}, id="standbys"),
    pytest.param(but(PRIMARY, slots__wal_status="extended"), {"standbys": ["pg2"]}, id="slot beyond max_wal_size"),
    pytest.param(
        but(PRIMARY, wal_senders__slot_name=None, slots=[]), {"standbys": ["pg2"]}, id="standby without a slot"
    ),
    pytest.param(
        but(PRIMARY, wal_senders__process="postgres: 10/main: wal sender process replica 10.0.0.2(5) streaming 0/1"),
        {"standbys": ["pg2"]},
        id="title of version 10",
    ),
    pytest.param(
        but(PRIMARY, wal_senders=[{**SENDER, "state": "startup", "pid": 9}, SENDER]),
        {"standbys": ["pg2"]},
        id="an old session of the same name is still there",
    ),
    pytest.param(PRIMARY, {"receiver_port": 33786}, id="the receiver's port"),
    pytest.param(PRIMARY, {"sync_state": "async"}, id="sync_state of any"),
    pytest.param(PRIMARY, {"replayed_lsn": "0/03000098"}, id="position written as 19 does"),
    pytest.param(
        but(PRIMARY, written_lsn="0/3000098"), {"standbys": ["pg2"], "written_replayed": True},
        id="replayed what was written",
    ),
    pytest.param(but(STANDBY, written_lsn="0/3000098"), {"written_replayed": True}, id="a standby that replayed it"),
    pytest.param(PRIMARY, {"maximum_lag_bytes": 0, "maximum_lag_seconds": 0}, id="idle primary has no lag"),
    pytest.param(STANDBY, {"streaming": True, "timeline": 1}, id="streaming"),
    pytest.param(STOPPED, {"streaming": False}, id="nothing streaming"),
    pytest.param(STANDBY, {"upstream": {"host": "127.0.0.1", "port": 5432}}, id="upstream"),
    pytest.param(STANDBY, {"upstream": {"host": None, "port": 5432}}, id="upstream's port alone"),
    pytest.param(STANDBY, {"replayed_lsn": "0/3000060"}, id="replayed more"),
    pytest.param(STANDBY, {"received_lsn": "0/3000060"}, id="received more"),
    pytest.param(
        but(STANDBY, positions__receive="0/3000000"), {"received_lsn": "0/3000098"},
        id="received with the copy, and nothing since",
    ),
    pytest.param(but(STANDBY, positions__receive=None), {"received_lsn": "0/3000098"}, id="received from an archive"),
    pytest.param(STANDBY, {"maximum_lag_bytes": 0, "maximum_lag_seconds": 0}, id="idle standby has no lag"),
    pytest.param(
        but(PRIMARY, role="standby", wal_senders__lag_bytes=5), {"standbys": ["pg2"], "maximum_lag_bytes": 5},
        id="a cascading standby is asked about those it feeds",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "expect"), MET)
def test_met(status: dict[str, t.Any], expect: dict[str, t.Any]) -> None:
    assert unmet(status, Expectations.from_parameters(expect)) == []


UNMET = [
    pytest.param(
        but(PRIMARY, wal_senders=[SENDER, {**SENDER, "pid": 2, "replay_lsn": "0/3000087", "lag_bytes": 17}]),
        {"standbys": ["pg2"], "maximum_lag_bytes": 16},
        "the standby 'pg2' is 17 bytes behind, expected at most 16",
        id="one of two standbys of a name",
    ),
    pytest.param(
        but(PRIMARY, wal_senders=LEFT[:1]),
        {"standbys": ["pg2"]},
        "the WAL sender of the standby 'pg2' is in state 'backup', expected 'streaming'",
        id="a copy alone",
    ),
    pytest.param(STANDBY, {"role": "primary"}, "the role is 'standby', expected 'primary'", id="role"),
    pytest.param(
        but(STANDBY, role=None), {"role": "primary"}, "there is no cluster that has a role, expected 'primary'",
        id="no cluster",
    ),
    pytest.param(STOPPED, {"state": ["running"]}, "the server is stopped, expected running", id="state"),
    pytest.param(
        STANDBY, {"upstream": {"host": "pg1", "port": None}},
        "the WAL receiver receives from 127.0.0.1:5432, expected pg1:(any port)", id="upstream's host",
    ),
    pytest.param(
        STANDBY, {"upstream": {"host": "127.0.0.1", "port": 5433}},
        "the WAL receiver receives from 127.0.0.1:5432, expected 127.0.0.1:5433", id="upstream's port",
    ),
    pytest.param(
        STOPPED, {"upstream": {"host": "pg1", "port": 5432}},
        "there is no WAL receiver (primary_conninfo names 127.0.0.1:5432), expected one from pg1:5432",
        id="upstream without receiver",
    ),
    pytest.param(
        STOPPED, {"streaming": True}, "there is no WAL receiver, expected one that is streaming", id="no receiver"
    ),
    pytest.param(
        but(STANDBY, wal_receiver__status="waiting"), {"streaming": True},
        "the WAL receiver's status is 'waiting', expected 'streaming'", id="a diverged standby's receiver",
    ),
    pytest.param(
        but(STANDBY, wal_receiver__process=None), {"streaming": True},
        "no process walreceiver with pid 31979 is among the server's, expected one", id="row without process",
    ),
    pytest.param(
        but(STANDBY, replay__paused=True, replay__pause_state="paused"), {"streaming": True},
        "replay is paused (paused), expected that it goes on", id="paused",
    ),
    pytest.param(
        STANDBY, {"streaming": False}, "the WAL receiver is streaming, expected that it is not", id="streaming anyway"
    ),
    pytest.param(STANDBY, {"timeline": 2}, "the timeline is 1, expected 2", id="timeline"),
    pytest.param(
        PRIMARY, {"standbys": ["pg3"]}, "the standby 'pg3' has no WAL sender here (there are: pg2)", id="no sender"
    ),
    pytest.param(
        but(PRIMARY, wal_senders__state="startup"), {"standbys": ["pg2"]},
        "the WAL sender of the standby 'pg2' is in state 'startup', expected 'streaming'", id="sender's state",
    ),
    pytest.param(
        but(PRIMARY, wal_senders__process=None), {"standbys": ["pg2"]},
        "the WAL sender of the standby 'pg2' has no process walsender with pid 31980 among the server's",
        id="sender's process",
    ),
    pytest.param(
        but(PRIMARY, slots__wal_status="lost"), {"standbys": ["pg2"]},
        "the WAL sender of the standby 'pg2' uses the slot 'pg2', which is 'lost' and keeps no WAL for it",
        id="lost slot that streams, as 16 and 17 let it",
    ),
    pytest.param(
        PRIMARY, {"minimum_standbys": 2}, "1 standbys are streaming from here, expected at least 2", id="too few"
    ),
    pytest.param(
        but(PRIMARY, slots__slot_type="logical"), {"minimum_standbys": 1},
        "0 standbys are streaming from here, expected at least 1", id="a subscriber is no standby",
    ),
    pytest.param(
        PRIMARY, {"receiver_port": 5}, "no WAL sender here serves a receiver on port 5 (there are: 33786)",
        id="receiver's port",
    ),
    pytest.param(
        PRIMARY, {"sync_state": "sync"}, "no standby has sync_state 'sync' (there are: pg2: async)", id="sync_state",
    ),
    pytest.param(
        PRIMARY, {"sync_state": "sync", "standbys": ["pg2"]},
        "the sync_state of the standby 'pg2' is 'async', expected 'sync'", id="sync_state of one",
    ),
    pytest.param(
        STANDBY, {"received_lsn": "0/30000A0"},
        "this standby has received up to 0/3000098, expected at least 0/30000A0", id="not received",
    ),
    pytest.param(
        STANDBY, {"replayed_lsn": "0/30000A0"},
        "this standby has replayed up to 0/3000098, expected at least 0/30000A0", id="not replayed",
    ),
    pytest.param(
        STANDBY, {"replayed_lsn": "1/0"}, "this standby has replayed up to 0/3000098, expected at least 1/0",
        id="positions are numbers, not texts",
    ),
    pytest.param(
        PRIMARY, {"replayed_lsn": "0/30000A0"},
        "the standby 'pg2' has replayed up to 0/3000098, expected at least 0/30000A0", id="not reported as replayed",
    ),
    pytest.param(
        but(PRIMARY, written_lsn="0/30000A0"), {"standbys": ["pg2"], "written_replayed": True},
        "the standby 'pg2' has replayed up to 0/3000098, expected at least 0/30000A0", id="written and not replayed",
    ),
    pytest.param(
        but(STANDBY, written_lsn=None), {"written_replayed": True},
        "no position was written here that a standby could have replayed", id="a standby writes no position",
    ),
    pytest.param(
        but(STANDBY, replay__lag_bytes=11), {"maximum_lag_bytes": 10},
        "this standby is 11 bytes behind, expected at most 10", id="lag in bytes",
    ),
    pytest.param(
        but(STANDBY, wal_receiver=None), {"maximum_lag_bytes": 10},
        "how far this standby is behind is not known, expected at most 10 bytes", id="lag of what receives nothing",
    ),
    pytest.param(
        but(STANDBY, replay__lag_bytes=9, replay__lag_seconds=61.23), {"maximum_lag_seconds": 60},
        "this standby is 61.2 seconds behind, expected at most 60", id="lag in seconds",
    ),
    pytest.param(
        but(PRIMARY, wal_senders__lag_bytes=9), {"maximum_lag_seconds": 60},
        "how many seconds the standby 'pg2' is behind is not known, expected at most 60", id="lag not measured yet",
    ),
    pytest.param(
        but(PRIMARY, wal_senders=[]), {"maximum_lag_bytes": 10},
        "there is no standby here to measure the lag of, expected at most 10 bytes", id="nobody to measure",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "expect", "sentence"), UNMET)
def test_unmet(status: dict[str, t.Any], expect: dict[str, t.Any], sentence: str) -> None:
    assert unmet(status, Expectations.from_parameters(expect)) == [sentence]


def test_every_unmet_condition_has_its_sentence() -> None:
    expect = {"role": "primary", "state": ["running"], "streaming": True, "minimum_standbys": 1}
    assert len(unmet(STOPPED, Expectations.from_parameters(expect))) == 4


def test_a_position_that_is_none_is_refused_before_anything_is_looked_at() -> None:
    with pytest.raises(ReplicationError, match="'latest' is not a WAL position"):
        Expectations.from_parameters({"replayed_lsn": "latest"})
