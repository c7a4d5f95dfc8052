# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a user expects of a host's replication, held against what was seen; nothing is asked or changed here."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import replication_part
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import format_lsn, latest_lsn, parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.wal_senders import is_backup, without_copies

Status = t.Mapping[str, t.Any]
Row = t.Mapping[str, t.Any]

#: A slot in another state no longer keeps the WAL that its standby needs (manual, pg_replication_slots).
_KEEPING = ("reserved", "extended")


@dataclass(frozen=True)
class Expectations:
    """Conditions, each None where nothing is expected."""

    role: str | None = None
    state: t.Sequence[str] | None = None
    upstream_host: str | None = None
    upstream_port: int | None = None
    standbys: t.Sequence[str] | None = None
    minimum_standbys: int | None = None
    streaming: bool | None = None
    timeline: int | None = None
    maximum_lag_bytes: int | None = None
    maximum_lag_seconds: float | None = None
    sync_state: str | None = None
    #: Bytes, so that every version's way of writing a position is the same.
    replayed: int | None = None
    received: int | None = None
    #: That the position is replayed which is written in the first look.
    written_replayed: bool | None = None
    receiver_port: int | None = None

    @classmethod
    def from_parameters(cls, expect: t.Mapping[str, t.Any] | None) -> Expectations:
        """From the module's option C(expect); a position that is none raises C(ReplicationError)."""
        given = dict(expect or {})
        upstream = given.pop("upstream", None) or {}
        replayed = given.pop("replayed_lsn", None)
        received = given.pop("received_lsn", None)
        return cls(
            upstream_host=upstream.get("host"),
            upstream_port=upstream.get("port"),
            replayed=parse_lsn(replayed) if replayed else None,
            received=parse_lsn(received) if received else None,
            **given,
        )

    @property
    def about_a_stream(self) -> bool:
        """Whether a standby's log can say why something is missing."""
        return any(
            wanted is not None
            for wanted in (
                self.upstream_host,
                self.upstream_port,
                self.streaming,
                self.timeline,
                self.replayed,
                self.received,
            )
        )


def is_streaming(status: Status) -> bool:
    """Whether a standby's WAL receiver streams, as a row and as a process."""
    receiver = status["wal_receiver"]
    return bool(receiver) and receiver["status"] == "streaming" and _is_part(receiver, "walreceiver")


def _is_part(row: Row, part: str) -> bool:
    return replication_part(row["process"] or "") == part


def standby_rows(status: Status, names: t.Sequence[str] | None = None) -> list[Row]:
    """The WAL senders that feed standbys: those of the names, or all but base backups and senders of logical slots."""
    rows = without_copies(status["wal_senders"])
    if names:
        return [row for row in rows if row["application_name"] in names]
    logical = {slot["slot_name"] for slot in status["slots"] if slot["slot_type"] == "logical"}
    return [row for row in rows if not is_backup(row) and (row["slot_name"] is None or row["slot_name"] not in logical)]


def _fault_of_sender(status: Status, row: Row) -> str | None:
    """Why a WAL sender does not feed its standby; None where it does."""
    if row["state"] != "streaming":
        return f"is in state {row['state']!r}, expected 'streaming'"
    if not _is_part(row, "walsender"):
        return f"has no process walsender with pid {row['pid']} among the server's"
    for slot in status["slots"]:
        if slot["slot_name"] == row["slot_name"] and slot["wal_status"] not in (None, *_KEEPING):
            return f"uses the slot {slot['slot_name']!r}, which is {slot['wal_status']!r} and keeps no WAL for it"
    return None


def _seen_state(status: Status) -> str:
    return "running" if status["running"] else "stopped"


def _role(status: Status, wanted: Expectations) -> t.Iterator[str]:
    if wanted.role is not None and status["role"] != wanted.role:
        seen = f"the role is {status['role']!r}" if status["role"] else "there is no cluster that has a role"
        yield f"{seen}, expected {wanted.role!r}"


def _state(status: Status, wanted: Expectations) -> t.Iterator[str]:
    if wanted.state and _seen_state(status) not in wanted.state:
        yield f"the server is {_seen_state(status)}, expected {' or '.join(wanted.state)}"


def _upstream(status: Status, wanted: Expectations) -> t.Iterator[str]:
    if wanted.upstream_host is None and wanted.upstream_port is None:
        return
    receiver = status["wal_receiver"]
    expected = f"{wanted.upstream_host or '(any host)'}:{wanted.upstream_port or '(any port)'}"
    if not receiver:
        said = status["upstream"]
        where = f" (primary_conninfo names {said['host']}:{said['port']})" if said else ""
        yield f"there is no WAL receiver{where}, expected one from {expected}"
        return
    host, port = receiver["sender_host"], receiver["sender_port"]
    if wanted.upstream_host not in (None, host) or wanted.upstream_port not in (None, port):
        yield f"the WAL receiver receives from {host}:{port}, expected {expected}"


def _standbys(status: Status, wanted: Expectations) -> t.Iterator[str]:
    for name in wanted.standbys or ():
        rows = standby_rows(status, [name])
        faults = [_fault_of_sender(status, row) for row in rows]
        if not rows:
            seen = ", ".join(sorted({row["application_name"] for row in status["wal_senders"]})) or "none"
            yield f"the standby {name!r} has no WAL sender here (there are: {seen})"
        elif all(faults):
            yield f"the WAL sender of the standby {name!r} {faults[0]}"


def _minimum_standbys(status: Status, wanted: Expectations) -> t.Iterator[str]:
    if wanted.minimum_standbys is not None:
        count = sum(_fault_of_sender(status, row) is None for row in standby_rows(status))
        if count < wanted.minimum_standbys:
            yield f"{count} standbys are streaming from here, expected at least {wanted.minimum_standbys}"


def _streaming(status: Status, wanted: Expectations) -> t.Iterator[str]:
    if wanted.streaming is None:
        return
    receiver = status["wal_receiver"]
    if not wanted.streaming:
        if is_streaming(status):
            yield "the WAL receiver is streaming, expected that it is not"
        return
    if not receiver:
        yield "there is no WAL receiver, expected one that is streaming"
    elif receiver["status"] != "streaming":
        yield f"the WAL receiver's status is {receiver['status']!r}, expected 'streaming'"
    elif not _is_part(receiver, "walreceiver"):
        yield f"no process walreceiver with pid {receiver['pid']} is among the server's, expected one"
    if status["replay"]["paused"]:
        yield f"replay is paused ({status['replay']['pause_state'] or 'paused'}), expected that it goes on"


def _timeline(status: Status, wanted: Expectations) -> t.Iterator[str]:
    if wanted.timeline not in (None, status["timeline"]):
        yield f"the timeline is {status['timeline']}, expected {wanted.timeline}"


def _measured(status: Status, wanted: Expectations) -> list[tuple[str, Row]]:
    """What lag is measured on: this standby itself, or on a primary its standbys, each with a name for messages."""
    if status["role"] == "standby" and not wanted.standbys:
        # One that receives nothing has soon replayed all it has; that says nothing of how far its upstream is.
        unknown = {"lag_bytes": None, "lag_seconds": None}
        return [("this standby", status["replay"] if is_streaming(status) else unknown)]
    rows = standby_rows(status, wanted.standbys)
    return [(f"the standby {row['application_name']!r}", row) for row in rows]


def _lag_bytes(status: Status, wanted: Expectations) -> t.Iterator[str]:
    limit = wanted.maximum_lag_bytes
    if limit is None:
        return
    measured = _measured(status, wanted)
    if not measured:
        yield f"there is no standby here to measure the lag of, expected at most {limit} bytes"
    for name, row in measured:
        seen = row["lag_bytes"]
        if seen is None:
            yield f"how far {name} is behind is not known, expected at most {limit} bytes"
        elif seen > limit:
            yield f"{name} is {seen} bytes behind, expected at most {limit}"


def _seconds_of(row: Row) -> float | None:
    """A standby that has replayed everything is not behind, though there is then nothing to measure."""
    seconds = row["lag_seconds"] if "lag_seconds" in row else row["replay_lag_seconds"]
    return 0.0 if seconds is None and row["lag_bytes"] == 0 else seconds


def _lag_seconds(status: Status, wanted: Expectations) -> t.Iterator[str]:
    limit = wanted.maximum_lag_seconds
    if limit is None:
        return
    measured = _measured(status, wanted)
    if not measured:
        yield f"there is no standby here to measure the lag of, expected at most {limit:g} seconds"
    for name, row in measured:
        seen = _seconds_of(row)
        if seen is None:
            yield f"how many seconds {name} is behind is not known, expected at most {limit:g}"
        elif seen > limit:
            yield f"{name} is {seen:.1f} seconds behind, expected at most {limit:g}"


def _sync_state(status: Status, wanted: Expectations) -> t.Iterator[str]:
    if wanted.sync_state is None:
        return
    rows = standby_rows(status, wanted.standbys)
    if not rows:
        yield f"there is no standby here, expected one with sync_state {wanted.sync_state!r}"
    elif wanted.standbys:
        for row in rows:
            if row["sync_state"] != wanted.sync_state:
                yield (
                    f"the sync_state of the standby {row['application_name']!r} is {row['sync_state']!r}, "
                    f"expected {wanted.sync_state!r}"
                )
    elif all(row["sync_state"] != wanted.sync_state for row in rows):
        seen = ", ".join(f"{row['application_name']}: {row['sync_state']}" for row in rows)
        yield f"no standby has sync_state {wanted.sync_state!r} (there are: {seen})"


def _reached(
    status: Status, wanted: Expectations, position: int | None, here: t.Sequence[str], there: str, did: str
) -> t.Iterator[str]:
    """Whether a position was reached: by this standby, as the later of `here` of its positions, or by those that
    follow."""
    if position is None:
        return
    if status["role"] == "standby" and not wanted.standbys:
        places = [("this standby", latest_lsn(*(status["positions"][name] for name in here)))]
    else:
        rows = standby_rows(status, wanted.standbys)
        places = [(f"the standby {row['application_name']!r}", row[there]) for row in rows]
    expected = format_lsn(position)
    if not places:
        yield f"there is no standby here, expected one that {did} up to {expected}"
    for name, seen in places:
        if seen is None or parse_lsn(seen) < position:
            yield f"{name} has {did} up to {seen or 'an unknown position'}, expected at least {expected}"


def _replayed(status: Status, wanted: Expectations) -> t.Iterator[str]:
    return _reached(status, wanted, wanted.replayed, ["replay"], "replay_lsn", "replayed")


def _written_replayed(status: Status, wanted: Expectations) -> t.Iterator[str]:
    if not wanted.written_replayed:
        return iter(())
    written = status["written_lsn"]
    if written is None:
        return iter(["no position was written here that a standby could have replayed"])
    return _reached(status, wanted, parse_lsn(written), ["replay"], "replay_lsn", "replayed")


def _received(status: Status, wanted: Expectations) -> t.Iterator[str]:
    # What a copy brought a WAL receiver fetches again from the segment's beginning and does not count as flushed, so
    # that a new standby of an upstream at rest stays there; what it replayed it has in any case.
    return _reached(status, wanted, wanted.received, ["receive", "replay"], "flush_lsn", "received")


def _receiver_port(status: Status, wanted: Expectations) -> t.Iterator[str]:
    ports = [row["client_port"] for row in status["wal_senders"]]
    if wanted.receiver_port is not None and wanted.receiver_port not in ports:
        seen = ", ".join(str(port) for port in ports) or "none"
        yield f"no WAL sender here serves a receiver on port {wanted.receiver_port} (there are: {seen})"


_CONDITIONS: tuple[t.Callable[[Status, Expectations], t.Iterator[str]], ...] = (
    _state,
    _role,
    _upstream,
    _streaming,
    _timeline,
    _standbys,
    _minimum_standbys,
    _receiver_port,
    _sync_state,
    _received,
    _replayed,
    _written_replayed,
    _lag_bytes,
    _lag_seconds,
)


def unmet(status: Status, wanted: Expectations) -> list[str]:
    """A sentence for each condition that what was seen does not meet: what it is, and what was expected."""
    return [sentence for condition in _CONDITIONS for sentence in condition(status, wanted)]
