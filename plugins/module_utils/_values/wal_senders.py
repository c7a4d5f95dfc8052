# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Which row of `pg_stat_replication` is a standby's, where several go by its name.

A base backup for a standby connects by the name of that standby, and a connection that the network cut has its row
until a time limit of the server ends it (manual, "wal_sender_timeout").
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import parse_lsn

Row = t.Mapping[str, t.Any]


def is_backup(row: Row) -> bool:
    """Return whether a WAL sender serves a base backup."""
    return bool(row["state"] == "backup")


def likeliest(rows: t.Iterable[Row]) -> Row | None:
    """Return the row of the connection that is alive: one that streams, and whose standby is the furthest.

    >>> copy = {"pid": 1, "state": "backup", "replay_lsn": None}
    >>> old = {"pid": 2, "state": "streaming", "replay_lsn": "0/3000000"}
    >>> now = {"pid": 3, "state": "streaming", "replay_lsn": "0/4000000"}
    >>> likeliest([copy, old, now])["pid"], likeliest([copy])["pid"], likeliest([])
    (3, 1, None)
    """
    return max(rows, key=_rank, default=None)


def without_copies(rows: t.Sequence[Row]) -> list[Row]:
    """Return the rows without those of a base backup by the name of a standby that has a row of its own.

    A base backup reports no position of replay. Without any row of such a standby its rows are what there is to see.

    >>> copy = {"application_name": "pg2", "state": "backup", "replay_lsn": None}
    >>> own = {"application_name": "pg2", "state": "streaming", "replay_lsn": "0/3000000"}
    >>> without_copies([copy, own]) == [own], without_copies([copy]) == [copy]
    (True, True)
    """
    replaying = {row["application_name"] for row in rows if row["replay_lsn"]}
    return [row for row in rows if row["replay_lsn"] or row["application_name"] not in replaying]


def _rank(row: Row) -> tuple[bool, bool, int]:
    replayed = row.get("replay_lsn")
    return not is_backup(row), row["state"] == "streaming", parse_lsn(replayed) if replayed else -1
