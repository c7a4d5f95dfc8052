# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The live topology as a tree of lines for a terminal: pure text."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes, shown_seconds

Member = t.Mapping[str, t.Any]


def _line(member: Member) -> str:
    words = [member["name"], f"{member['address']}:{member['port']}"]
    if not member["read"]:
        words.append("not read" + (f" ({member['unread_reason']})" if member["unread_reason"] else ""))
        if member["fed"]:
            words.append(f"{member['fed']['state']}, as {member['upstream']['name']} says")
        return "  ".join(words)
    if not member["running"]:
        what = member["description"] or "nothing there"
        return "  ".join([*words, f"{member['role'] or 'no server'}, not running ({what})"])
    words += [member["role"] or "role unknown", f"timeline {member['timeline']}"]
    connection = member["connection"]
    if connection is None:
        words.append(f"at {member['position']}")
        return "  ".join(words)
    words.append(f"replayed {member['position']}")
    words.append(connection_text(member))
    if connection["paused"]:
        words.append("replay paused")
    if connection["sync_state"]:
        lag = shown_bytes(connection["lag_bytes"])
        if connection["lag_seconds"]:
            lag += f" / {shown_seconds(connection['lag_seconds'])}"
        words.append(f"{connection['sync_state']}, lag {lag}")
    elif connection["lag_bytes"] is not None:
        words.append(f"lag {shown_bytes(connection['lag_bytes'])}")
    if connection["slot_name"]:
        words.append(f"slot {connection['slot_name']}")
    return "  ".join(words)


def connection_text(member: Member) -> str:
    """How a standby's connection is, in a few words."""
    connection = member["connection"]
    if connection["streaming"]:
        text = "streaming"
    elif connection["receiver_status"] in (None, "streaming"):
        text = f"sender {connection['sender_state']}" if connection["sender_state"] else "not streaming"
    else:
        text = f"not streaming ({connection['receiver_status']})"
    upstream = member["upstream"]
    if upstream["name"] is None and upstream["host"]:
        text += f" from {upstream['host']}:{upstream['port']}, not a host of this cluster"
    return text


def slot_text(slot: t.Mapping[str, t.Any]) -> str:
    """A slot that no standby of the tree stands for."""
    words = [f"slot {slot['slot_name']}", slot["slot_type"], "active" if slot["active"] else "inactive"]
    if slot["wal_status"] not in (None, "reserved"):
        words.append(str(slot["wal_status"]))
    words.append(f"keeps {shown_bytes(slot['retained_bytes'])}" if slot["restart_lsn"] else "keeps nothing")
    return "  ".join(words)


def _below(member: Member, members: t.Mapping[str, Member]) -> list[tuple[str, Member | None]]:
    """What stands below a host: its standbys, then slots that none of them uses, then senders to nobody known."""
    found: list[tuple[str, Member | None]] = [
        (_line(members[name]), members[name]) for name in member["downstream"] if name in members
    ]
    used = {
        (members[name]["connection"] or members[name]["fed"] or {}).get("slot_name")
        for name in member["downstream"]
        if name in members
    }
    found += [(slot_text(slot), None) for slot in member["slots"] if slot["slot_name"] not in used]
    found += [
        (
            f"{row['application_name'] or 'unnamed'}  {row['client_addr'] or 'local'}  {row['state']}  "
            f"{row['sync_state']}, not a host of this cluster",
            None,
        )
        for row in member["strangers"]
    ]
    return found


def cluster_line(name: str, members: t.Sequence[Member]) -> str:
    """The head of a cluster's tree."""
    systems = sorted({member["system_identifier"] for member in members if member["system_identifier"]})
    majors = sorted({member["major"] for member in members if member["major"]})
    return (
        f"cluster {name}  PostgreSQL {', '.join(majors) or 'unknown'}  "
        f"{'system' if len(systems) < 2 else 'systems'} {', '.join(systems) or 'unknown'}"
    )


def render(name: str, members: t.Sequence[Member]) -> list[str]:
    """One line a host, standbys below their upstream; what follows nobody known stands at the left."""
    lines = [cluster_line(name, members)]
    by_name = {member["name"]: member for member in members}
    drawn: set[str] = set()

    def draw(member: Member, stem: str, branch: str, line: str) -> None:
        lines.append(branch + line)
        drawn.add(member["name"])
        below = [(text, one) for text, one in _below(member, by_name) if one is None or one["name"] not in drawn]
        for position, (text, one) in enumerate(below, 1):
            last = position == len(below)
            next_branch = stem + ("└─ " if last else "├─ ")
            if one is None:
                lines.append(next_branch + text)
            else:
                draw(one, stem + ("   " if last else "│  "), next_branch, text)

    order = {"primary": 0, "standby": 1}
    roots = [member for member in members if member["level"] == 0]
    for member in sorted(roots, key=lambda one: (not one["read"], order.get(one["role"], 2), one["name"])):
        draw(member, "", "", _line(member))
    # Standbys that follow each other in a circle have no root.
    for member in members:
        if member["name"] not in drawn:
            draw(member, "", "", _line(member))
    return lines
