# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Whether one server's history leads into another's (manual, Continuous Archiving, Timelines).

The server's own rule (timeline.c, C(tliOfPointInHistory)): a timeline holds the WAL from where it began up to, and
without, the position where the next one forked off. So a record that B(begins) at the fork is of the next timeline, and
WAL that B(ends) there is of this one.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import parse_lsn

#: What a control file says of a server that had the time to say how far its WAL goes.
CLEAN = ("shut down", "shut down in recovery")
#: What it says of a primary that had none.
KILLED = ("in production", "in crash recovery", "shutting down")

#: Each earlier timeline, and where it was left.
Forks = t.Mapping[int, str]


@dataclass(frozen=True)
class History:
    """Where a server is, and how it came there."""

    timeline: int | None
    #: None where the history is not known.
    forks: Forks | None
    #: Where the last record begins that it has for sure: its last checkpoint.
    begun: str | None = None
    #: Where the WAL ends that it has for sure: received, replayed, or needed for a consistent recovery.
    ended: str | None = None
    #: A primary that had no time to note how far its WAL goes.
    killed: bool = False


def forks_of(history: t.Iterable[t.Mapping[str, t.Any]] | None) -> dict[int, str] | None:
    """The forks from the entries of a timeline history file.

    >>> forks_of([{"timeline": 1, "lsn": "0/3000148", "reason": ""}]), forks_of(None)
    ({1: '0/3000148'}, None)
    """
    return None if history is None else {entry["timeline"]: entry["lsn"] for entry in history}


def divergence(ours: History, theirs: History, name: str) -> str | None:
    """Why a server cannot follow another one as it is, as a clause with the evidence; None where nothing that is known
    speaks against it. C(name) is the other server's, for the clause.

    Two servers of one timeline are not held against each other by positions here: which of them is ahead says something
    only to those who know which of them is a primary.
    """
    if ours.timeline is None or theirs.timeline is None:
        return None
    if ours.timeline > theirs.timeline:
        return f"it is on timeline {ours.timeline}, and {name} only on timeline {theirs.timeline}"
    parted = _parted(ours, theirs, name)
    if parted is not None or ours.timeline == theirs.timeline or theirs.forks is None:
        return parted
    fork = theirs.forks[ours.timeline]
    where = f"{fork}, where timeline {theirs.timeline} forked off"
    if ours.ended and parse_lsn(ours.ended) > parse_lsn(fork):
        return f"it is at {ours.ended} of timeline {ours.timeline}, beyond {where}"
    if ours.begun and parse_lsn(ours.begun) >= parse_lsn(fork):
        return f"its last checkpoint is at {ours.begun} of timeline {ours.timeline}, not before {where}"
    if ours.killed:
        return f"it was killed while it wrote timeline {ours.timeline} as a primary, so it may hold WAL beyond {where}"
    return None


def _parted(ours: History, theirs: History, name: str) -> str | None:
    """The other server was never on our timeline, or on another one of the same number."""
    own, other, timeline = ours.forks, theirs.forks, t.cast(int, ours.timeline)
    if other is None:
        return None
    if timeline != theirs.timeline and timeline not in other:
        way = ", ".join(str(number) for number in sorted(other)) or "none"
        return (
            f"it is on timeline {timeline}, which timeline {theirs.timeline} of {name} did not come from (it came from "
            f"{way})"
        )
    if own is None:
        return None
    before = {number: lsn for number, lsn in other.items() if number < timeline}
    for number in sorted(own.keys() & before.keys()):
        if parse_lsn(own[number]) != parse_lsn(before[number]):
            return (
                f"both were on timeline {timeline}, but they left timeline {number} at {own[number]} and at "
                f"{before[number]}"
            )
    if own.keys() != before.keys():
        ways = [", ".join(str(number) for number in sorted(way)) or "none" for way in (own, before)]
        return f"both were on timeline {timeline}, but it came from {ways[0]} here and from {ways[1]} there"
    return None
