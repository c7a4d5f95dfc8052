# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What pg_controldata prints, as a record (manual, pg_controldata)."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import is_lsn

_FLOOR_LINES = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}


@dataclass(frozen=True)
class ControlData:
    """The control file of a data directory."""

    system_identifier: str
    #: As pg_controldata words it: "in production", "shut down", "in archive recovery", ...
    state: str
    timeline: int | None
    #: Start of the latest checkpoint record.
    checkpoint_lsn: str | None
    minimum_recovery_lsn: str | None
    data_checksums: bool
    wal_log_hints: bool
    wal_level: str | None
    #: The values that the WAL was written with, which a standby must reach.
    floors: t.Mapping[str, int]
    #: What the server was built and initdb was run with; a copy fits no other.
    block_size: int | None = None
    wal_segment_bytes: int | None = None
    full_page_writes: bool | None = None
    #: A standby's checkpoint may still be of the timeline before.
    minimum_recovery_timeline: int | None = None

    def as_result(self) -> dict[str, t.Any]:
        """Plain values for a module's result."""
        return {
            "system_identifier": self.system_identifier,
            "state": self.state,
            "timeline": self.timeline,
            "checkpoint_lsn": self.checkpoint_lsn,
            "minimum_recovery_lsn": self.minimum_recovery_lsn,
            "data_checksums": self.data_checksums,
            "wal_log_hints": self.wal_log_hints,
            "wal_level": self.wal_level,
            "floors": dict(self.floors),
            "block_size": self.block_size,
            "wal_segment_bytes": self.wal_segment_bytes,
            "full_page_writes": self.full_page_writes,
            "minimum_recovery_timeline": self.minimum_recovery_timeline,
        }


#: Longer is no number of a control file.
_NUMBER = re.compile(r"[0-9]{1,20}")
_STATE = re.compile(r"[a-z ]{0,60}")


def _number(text: str | None) -> int | None:
    return int(text) if text and _NUMBER.fullmatch(text) else None


def _refused(what: str) -> ReplicationError:
    return ReplicationError(
        f"pg_controldata printed {what}, so its output was not acted upon. Run it by hand as PostgreSQL's account: "
        "either the control file is damaged, or that program is not PostgreSQL's."
    )


def _position(values: t.Mapping[str, str], name: str) -> str | None:
    text = values.get(name)
    if text is not None and not is_lsn(text):
        raise _refused(f"{text[:60]!r} as {name!r}")
    return text


def _size(text: str | None, least: int, most: int) -> int | None:
    """A power of two in the range that servers are built with; another number is a misread one.

    >>> _size("16777216", 1 << 20, 1 << 30), _size("32", 1 << 20, 1 << 30), _size("1700000", 1 << 20, 1 << 30)
    (16777216, None, None)
    """
    number = _number(text)
    return number if number and least <= number <= most and not number & (number - 1) else None


def parse_control_data(text: str) -> ControlData:
    """Read the English output of pg_controldata."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            values[name.strip()] = value.strip()
    system_identifier = values.get("Database system identifier", "")
    if not _number(system_identifier):
        raise _refused(f"no system identifier (it began {text[:200]!r})")
    state = values.get("Database cluster state", "")
    if not _STATE.fullmatch(state):
        raise _refused(f"{state[:60]!r} as the state of the cluster")
    timeline = _number(values.get("Latest checkpoint's TimeLineID"))
    # A newer program shows much of a format before 1201 (version 12) shifted.
    format_number = _number(values.get("pg_control version number", "0"))
    if format_number is None:
        raise _refused(f"{values['pg_control version number'][:60]!r} as its format's number")
    shifted = format_number < 1201 and "max_wal_senders setting" in values
    # Of version 11 also this: a position without its timeline is none.
    minimum_timeline = _number(values.get("Min recovery ending loc's timeline"))
    no_minimum = shifted and minimum_timeline == 0
    return ControlData(
        system_identifier=system_identifier,
        state=state,
        # A newer pg_controldata misreads this field of version 10: no real timeline is that large.
        timeline=timeline if timeline and timeline < 1_000_000 else None,
        checkpoint_lsn=_position(values, "Latest checkpoint location"),
        minimum_recovery_lsn=None if no_minimum else _position(values, "Minimum recovery ending location"),
        data_checksums=values.get("Data page checksum version", "0") != "0",
        wal_log_hints=values.get("wal_log_hints setting", "off") == "on",
        wal_level=values["wal_level setting"][:60] if "wal_level setting" in values else None,
        floors={
            name: number
            for line, name in _FLOOR_LINES.items()
            for number in [_number(values.get(line))]
            if number is not None and not shifted
        },
        block_size=_size(values.get("Database block size"), 1 << 10, 1 << 15),
        wal_segment_bytes=_size(values.get("Bytes per WAL segment"), 1 << 20, 1 << 30),
        minimum_recovery_timeline=minimum_timeline,
        full_page_writes={"on": True, "off": False}.get(values.get("Latest checkpoint's full_page_writes", "")),
    )
