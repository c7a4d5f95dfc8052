# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Whether a standby can follow its primary, from what was read of both: pure decisions.

A standby may follow a primary whose timeline it is on, or one that forked off its own at or behind the position that
it has reached. A standby beyond the fork holds WAL that the primary never had: it has diverged, though its system
identifier is the same (manual, Continuous Archiving, Timelines).
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values import timelines
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import latest_lsn, parse_lsn

Status = t.Mapping[str, t.Any]


def _answer(status: Status) -> str | None:
    """How far a running server says that its WAL goes."""
    return latest_lsn(*(status["positions"].get(name) for name in ("current", "receive", "replay")))


def reached(status: Status) -> str | None:
    """How far a server's WAL goes for sure: of a running one its own answer, of a stopped one its control file."""
    control = status["control"] or {}
    return _answer(status) or latest_lsn(control.get("checkpoint_lsn"), control.get("minimum_recovery_lsn"))


def history_of(status: Status) -> timelines.History:
    """What was read of a server's history."""
    control = status["control"] or {}
    answer = _answer(status)
    return timelines.History(
        status["timeline"],
        timelines.forks_of(status["timeline_history"]),
        begun=control.get("checkpoint_lsn"),
        ended=answer or control.get("minimum_recovery_lsn"),
        killed=not status["running"] and control.get("state") in timelines.KILLED,
    )


def divergence(primary: Status, standby: Status) -> str | None:
    """Why a standby cannot follow a primary of its system, as a clause with the evidence; None where it can."""
    why = timelines.divergence(history_of(standby), history_of(primary), "the primary")
    if why is None and standby["timeline"] is not None and standby["timeline"] == primary["timeline"]:
        return _ahead(primary, standby)
    return why


def _ahead(primary: Status, standby: Status) -> str | None:
    """On one timeline only a standby that is not streaming can be told to be ahead: both are not read at once."""
    receiver = standby["wal_receiver"]
    if (receiver and receiver["status"] == "streaming") or primary["positions"]["current"] is None:
        return None
    ours, theirs = reached(standby), primary["positions"]["current"]
    if ours is not None and parse_lsn(ours) > parse_lsn(theirs):
        return f"it is at {ours} of timeline {standby['timeline']}, and the primary only at {theirs}"
    return None
