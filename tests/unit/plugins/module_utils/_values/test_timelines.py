# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether histories have parted: a table, and the server's own rule over random trees of timelines."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import format_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.timelines import History, divergence
from hypothesis import given
from hypothesis import strategies as st

#: Promoted at 0/5000000 of timeline 1, and at 0/7000000 of timeline 2.
THEIRS = History(3, {1: "0/5000000", 2: "0/7000000"})
FIRST = {1: "0/5000000"}


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        pytest.param(History(1, {}, ended="0/5000000"), None, id="its WAL ends at the fork"),
        pytest.param(History(1, {}, ended="0/5000001"), "beyond 0/5000000", id="one byte more"),
        pytest.param(History(1, {}, begun="0/4FFFF88"), None, id="its last record begins before the fork"),
        pytest.param(History(1, {}, begun="0/5000000"), "not before 0/5000000", id="its last record begins there"),
        pytest.param(History(1, {}, begun="0/4000000", killed=True), "killed", id="nobody knows how far it went"),
        pytest.param(History(2, FIRST, begun="0/4FFFF88", ended="0/7000000"), None, id="at the second fork"),
        pytest.param(History(2, FIRST, ended="0/7000008"), "beyond 0/7000000", id="beyond the second fork"),
        pytest.param(History(2, {1: "0/4800000"}, ended="0/4900000"), "left timeline 1", id="another timeline 2"),
        pytest.param(History(2, {}, ended="0/4900000"), "came from none here", id="a timeline 2 from nowhere"),
        pytest.param(History(3, {1: "0/5000000"}), "came from 1 here and from 1, 2 there", id="another timeline 3"),
        pytest.param(History(3, THEIRS.forks, ended="0/9000000"), None, id="the same timeline"),
        pytest.param(History(4, {}), "only on timeline 3", id="a later timeline"),
        pytest.param(History(2, None, ended="0/6000000"), None, id="its own history is not known"),
        pytest.param(History(None, None, ended="0/9000000"), None, id="its timeline is not known"),
    ],
)
def test_divergence(ours: History, word: str | None) -> None:
    found = divergence(ours, THEIRS, "pg2")
    assert (found is None) if word is None else (found is not None and word in found), found


def test_a_timeline_that_the_other_server_never_had() -> None:
    found = divergence(History(2, FIRST, ended="0/5000100"), History(3, FIRST), "pg2")
    assert found is not None and "timeline 3 of pg2 did not come from (it came from 1)" in found


class Tree(t.NamedTuple):
    """Timelines, each with the one that it forked off and where; each record has a length of one."""

    parents: dict[int, tuple[int, int]]

    def path(self, timeline: int) -> dict[int, str]:
        forks = {}
        while timeline != 1:
            parent, at = self.parents[timeline]
            forks[parent] = format_lsn(at)
            timeline = parent
        return forks

    def records(self, timeline: int, end: int) -> set[tuple[int, int]]:
        """Which WAL a server has that wrote or received a timeline up to a position: whose record is where."""
        held: set[tuple[int, int]] = set()
        while True:
            parent, begin = self.parents.get(timeline, (0, 1))
            held |= {(timeline, position) for position in range(begin, end)}
            if timeline == 1:
                return held
            timeline, end = parent, begin


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Up to five timelines, each forked off another one by a server that had all of it up to there."""
    parents: dict[int, tuple[int, int]] = {}
    for timeline in range(2, draw(st.integers(1, 5)) + 1):
        parent = draw(st.integers(1, timeline - 1))
        lowest = parents.get(parent, (0, 1))[1]
        parents[timeline] = (parent, draw(st.integers(lowest, lowest + 3)))
    return Tree(parents)


@given(tree=trees(), data=st.data())
def test_a_server_follows_where_the_other_one_has_all_of_its_wal(tree: Tree, data: st.DataObject) -> None:
    timelines = st.integers(1, len(tree.parents) + 1)
    ours, theirs = data.draw(timelines, "ours"), data.draw(timelines, "theirs")
    begin, their_begin = (tree.parents.get(one, (0, 1))[1] for one in (ours, theirs))
    end = data.draw(st.integers(begin + 1, begin + 9), "the end of our WAL")
    held = tree.records(ours, end)
    # The other server goes on writing, so that on its own timeline it has whatever we received.
    there = tree.records(theirs, max(their_begin, end) + 9)
    by_end = History(ours, tree.path(ours), ended=format_lsn(end))
    by_record = History(ours, tree.path(ours), begun=format_lsn(end - 1))
    other = History(theirs, tree.path(theirs))
    for history in (by_end, by_record):
        assert (divergence(history, other, "pg2") is None) is (held <= there and ours <= theirs), (held, there)
