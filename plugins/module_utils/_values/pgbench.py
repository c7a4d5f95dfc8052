# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What pgbench is told and what it says: pure values (manual, pgbench)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError

#: What a commit may be told to wait for, from nothing to everything.
LEVELS = ("off", "local", "remote_write", "on", "remote_apply")
#: These wait for a standby.
REMOTE = ("remote_write", "on", "remote_apply")


def levels_from(names: t.Sequence[t.Any]) -> list[str]:
    """The levels that are meant, each once; YAML reads C(on) and C(off) as truth values.

    >>> levels_from(["async", True, "remote_apply"])
    ['local', 'on', 'remote_apply']
    """
    words = {"true": "on", "false": "off", "async": "local"}
    levels = [words.get(str(name).lower(), str(name).lower()) for name in names]
    wrong = [level for level in levels if level not in LEVELS]
    if wrong or not levels:
        raise ReplicationError(
            f"{', '.join(wrong) or 'Nothing'} is no level of synchronous_commit. Choose among {', '.join(LEVELS)}, or "
            "async, which is local."
        )
    return list(dict.fromkeys(levels))


def run_arguments(*, clients: int, threads: int, seconds: int) -> list[str]:
    """The words for one measurement; C(-P) also makes pgbench measure how latency is spread."""
    return ["-n", "-M", "prepared", "-c", str(clients), "-j", str(threads), "-T", str(seconds), "-P", "1"]


def _found(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text)
    return float(match.group(1)) if match else None


def parse_run(text: str) -> dict[str, t.Any]:
    """The figures of one measurement.

    >>> parse_run("latency average = 1.5 ms\\ntps = 99.5 (without initial connection time)")["tps"]
    99.5
    """
    tps = _found(r"tps = ([0-9.]+) \((?:without|excluding)", text)
    transactions = _found(r"transactions actually processed: ([0-9]+)", text)
    if tps is None:
        raise ReplicationError("pgbench printed no tps; its output ended: " + text.strip()[-300:])
    return {
        "tps": tps,
        "latency_ms": _found(r"latency average = ([0-9.]+) ms", text),
        "latency_stddev_ms": _found(r"latency stddev = ([0-9.]+) ms", text),
        "transactions": int(transactions or 0),
        "failed": int(_found(r"number of failed transactions: ([0-9]+)", text) or 0),
    }


def lag_of(samples: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """How far the farthest standby was behind while it was measured.

    >>> lag_of([{"bytes": 10, "seconds": 0.1}, {"bytes": 30, "seconds": None}])
    {'lag_bytes_median': 30, 'lag_bytes_most': 30, 'replay_lag_seconds_most': 0.1}
    """
    numbers = sorted(int(sample["bytes"]) for sample in samples if sample["bytes"] is not None)
    seconds = [float(sample["seconds"]) for sample in samples if sample["seconds"] is not None]
    return {
        "lag_bytes_median": numbers[len(numbers) // 2] if numbers else None,
        "lag_bytes_most": numbers[-1] if numbers else None,
        "replay_lag_seconds_most": max(seconds) if seconds else None,
    }
