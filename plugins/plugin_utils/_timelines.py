# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Whether one server's history leads into another's: pure decisions over timelines and positions.

A standby may follow a primary whose timeline it is on, or one that forked off its own at or behind the position that
it has reached. A standby beyond the fork holds WAL that the primary never had: it has diverged, though its system
identifier is the same (manual, Continuous Archiving, Timelines).
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._lsn import latest_lsn, parse_lsn

Status = t.Mapping[str, t.Any]

#: What a control file says of a primary that had no time to note how far its WAL goes.
_KILLED = ("in production", "in crash recovery", "shutting down")


def _forks(status: Status) -> dict[int, str] | None:
    """Where each earlier timeline was left; None where the history is not known."""
    history = status["timeline_history"]
    return None if history is None else {entry["timeline"]: entry["lsn"] for entry in history}


def reached(status: Status) -> str | None:
    """How far a server's WAL goes for sure: of a running one its own answer, of a stopped one its control file."""
    positions, control = status["positions"], status["control"] or {}
    answer = latest_lsn(*(positions.get(name) for name in ("current", "receive", "replay")))
    return answer or latest_lsn(control.get("checkpoint_lsn"), control.get("minimum_recovery_lsn"))


def divergence(primary: Status, standby: Status) -> str | None:
    """Why a standby cannot follow a primary of its system, as a clause with the evidence; None where it can."""
    ours, theirs = standby["timeline"], primary["timeline"]
    if ours is None or theirs is None:
        return None
    our_forks, their_forks = _forks(standby), _forks(primary)
    if ours == theirs:
        for timeline in sorted(set(our_forks or {}) & set(their_forks or {})):
            one, other = (our_forks or {})[timeline], (their_forks or {})[timeline]
            if parse_lsn(one) != parse_lsn(other):
                return f"both are on timeline {ours}, but they left timeline {timeline} at {one} and at {other}"
        return _ahead(primary, standby)
    if ours > theirs:
        return f"it is on timeline {ours}, and the primary only on timeline {theirs}"
    if their_forks is None:
        return None
    if ours not in their_forks:
        way = ", ".join(str(number) for number in sorted(their_forks)) or "none"
        return f"it is on timeline {ours}, which the primary's timeline {theirs} did not come from (it came from {way})"
    fork, position = their_forks[ours], reached(standby)
    if position is not None and parse_lsn(position) > parse_lsn(fork):
        return (
            f"it is at {position} of timeline {ours}, beyond {fork}, where the primary's timeline {theirs} forked off"
        )
    control = standby["control"] or {}
    if not standby["running"] and control.get("state") in _KILLED:
        return (
            f"its server was killed while it wrote timeline {ours} as a primary, so it may hold WAL beyond {fork}, "
            f"where the primary's timeline {theirs} forked off"
        )
    return None


def _ahead(primary: Status, standby: Status) -> str | None:
    """On one timeline only a standby that is not streaming can be told to be ahead: both are not read at once."""
    receiver = standby["wal_receiver"]
    if (receiver and receiver["status"] == "streaming") or primary["positions"]["current"] is None:
        return None
    ours, theirs = reached(standby), primary["positions"]["current"]
    if ours is not None and parse_lsn(ours) > parse_lsn(theirs):
        return f"it is at {ours} of timeline {standby['timeline']}, and the primary only at {theirs}"
    return None
