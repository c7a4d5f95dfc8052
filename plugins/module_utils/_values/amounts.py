# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Amounts, durations and the progress of a copy, as people read them."""

from __future__ import annotations

import typing as t


def shown_bytes(count: float | None) -> str:
    """An amount in the units of the server, where a kB is 1024 bytes (manual, Setting Parameters).

    >>> shown_bytes(312 * 1024**3), shown_bytes(1_540_000), shown_bytes(999), shown_bytes(98_500_000), shown_bytes(None)
    ('312 GB', '1.5 MB', '999 B', '94 MB', 'unknown')
    """
    if count is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1024 or unit == "TB":
            break
        count /= 1024
    return f"{count:.1f} {unit}" if count < 9.95 and unit != "B" else f"{count:.0f} {unit}"


def shown_seconds(seconds: float | None) -> str:
    """A duration. Below ten seconds a tenth counts, where it is known.

    >>> shown_seconds(4), shown_seconds(4.25), shown_seconds(75.5), shown_seconds(130), shown_seconds(8000)
    ('4 s', '4.2 s', '1 min 15 s', '2 min 10 s', '2 h 13 min')
    """
    if seconds is None:
        return "unknown"
    whole = int(seconds)
    if whole < 10 and seconds != whole:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def shown_progress(progress: t.Mapping[str, t.Any], upstream: str) -> str:
    """How far a base backup is, in one line.

    >>> shown_progress({"phase": "streaming", "done": 115e9, "total": 312e9, "rate": 98e6, "since": 0, "updated": 9},
    ...     "pg1")
    'streaming from pg1: 36 %, 107 GB of 291 GB, 93 MB/s, 33 min 30 s left'
    >>> shown_progress({"phase": "checkpoint", "done": 0, "total": None, "rate": None, "since": 5, "updated": 9}, "pg1")
    'waiting for the checkpoint on pg1: 4 s'
    """
    phase, done, total, rate = (progress[key] for key in ("phase", "done", "total", "rate"))
    elapsed = shown_seconds(int(max(0, progress["updated"] - progress["since"])))
    if phase not in ("streaming", "verifying"):
        told = {
            "starting": f"starting the copy of {upstream}",
            "checkpoint": f"waiting for the checkpoint on {upstream}",
            "waiting for the slot": f"waiting until {upstream} lets go of the slot",
            "waiting for WAL": f"waiting for WAL of {upstream}",
            "syncing": "syncing the copy to disk",
        }
        return f"{told.get(phase, phase)}: {elapsed}"
    parts = []
    if total:
        # The upstream grows while it is copied, so the estimate of its size may be passed.
        parts += [f"{min(100, int(100 * done / total))} %", f"{shown_bytes(done)} of {shown_bytes(max(total, done))}"]
    else:
        parts.append(shown_bytes(done))
    if rate:
        parts.append(f"{shown_bytes(rate)}/s")
        if total and done < total:
            parts.append(f"{shown_seconds(int((total - done) / rate))} left")
    what = f"streaming from {upstream}" if phase == "streaming" else "verifying the copy"
    return f"{what}: {', '.join(parts)}"
