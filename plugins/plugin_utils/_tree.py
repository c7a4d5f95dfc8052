# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The topology as a tree of lines for a terminal: pure text from what was seen."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._lsn import lsn_distance

Node = t.Dict[str, t.Any]


def bytes_text(count: int | None) -> str:
    """A number of bytes for people.

    >>> bytes_text(0), bytes_text(2048), bytes_text(5 * 1024**3), bytes_text(None)
    ('0 B', '2.0 kB', '5.0 GB', 'unknown')
    """
    if count is None:
        return "unknown"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def _sender_of(status: t.Mapping[str, t.Any] | None, application: str) -> t.Mapping[str, t.Any] | None:
    for row in (status or {}).get("wal_senders") or []:
        if row["application_name"] == application:
            return t.cast("t.Mapping[str, t.Any]", row)
    return None


def _position(status: Node | None) -> str | None:
    positions = (status or {}).get("positions") or {}
    return positions.get("current") or positions.get("replay")


def _line(name: str, plan: Node, status: Node | None, upstream_status: Node | None) -> str:
    place = f"{plan['address']}:{plan['port']}"
    if not status:
        return f"{name}  {place}  not read"
    if not status["running"]:
        what = status["data_directory"]["description"] or "nothing there"
        return f"{name}  {place}  {status['role'] or 'no server'}, not running ({what})"
    words = [name, place, status["role"] or "role unknown", f"timeline {status['timeline']}"]
    positions = status["positions"]
    if status["role"] == "primary":
        words.append(f"at {positions['current']}")
    else:
        words.append(f"replayed {positions['replay']}")
        receiver = status["wal_receiver"]
        words.append(receiver["status"] if receiver else "not streaming")
        sender = _sender_of(upstream_status, plan["application_name"])
        if sender is not None:
            # Both sides' own positions: what a WAL sender knows of replay is up to wal_receiver_status_interval old.
            lag = lsn_distance(_position(upstream_status), positions["replay"])
            words.append(f"{sender['sync_state']}, lag {bytes_text(lag)}")
    return "  ".join(words)


def render(plans: t.Mapping[str, Node], statuses: t.Mapping[str, Node | None]) -> list[str]:
    """One line a node, standbys below their upstream; one tree a cluster."""
    lines: list[str] = []

    def draw(name: str, stem: str, branch: str) -> None:
        plan = plans[name]
        upstream = statuses.get(plan["upstream"]["name"]) if plan["upstream"] else None
        lines.append(branch + _line(name, plan, statuses.get(name), upstream))
        below = [other for other in plan["downstream"] if other in plans]
        for position, other in enumerate(below, 1):
            last = position == len(below)
            draw(other, stem + ("   " if last else "│  "), stem + ("└─ " if last else "├─ "))

    for name in sorted(plans):
        if plans[name]["role"] == "primary":
            status = statuses.get(name)
            system = (status or {}).get("system_identifier") or "unknown"
            major = (status or {}).get("major") or "?"
            lines.append(f"cluster {plans[name]['cluster']}  PostgreSQL {major}  system {system}")
            draw(name, "", "")
    return lines
