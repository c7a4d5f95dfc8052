# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chart of a benchmark as a terminal shows it."""

from __future__ import annotations

from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.benchmark_chart import bars


def test_bars_begin_at_zero_and_the_longest_is_whole() -> None:
    levels = [
        {"level": "local", "tps": 1000.0, "latency_ms": 2.0, "lag_bytes_most": None},
        {"level": "on", "tps": 510.0, "latency_ms": 4.0, "lag_bytes_most": None},
    ]
    block = "\u2588"
    assert bars(levels)[1:4] == [
        "transactions a second",
        f"         local  {block * 48} 1000",
        f"            on  {block * 24}\u258c 510",
    ]
    assert bars(levels)[-2:] == ["         local  unknown", "            on  unknown"]


def test_nothing_measured_is_no_division() -> None:
    assert [line for line in bars([]) if line] == ["transactions a second", "latency, ms", "replay lag at most"]
