# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that writes one row after the other, finds the primary by libpq's own means, and notes what it was told.

    python writer.py FILE CONNINFO

It ends at SIGTERM. FILE gets a line for each row that the server acknowledged: its number, and the seconds of the
monotonic clock when the statement was sent and when the answer came. CONNINFO names all hosts and has
target_session_attrs=read-write; the table is C(written (n bigint primary key)).
"""

from __future__ import annotations

import contextlib
import pathlib
import signal
import sys
import time
import typing as t

import psycopg2

#: Seconds between two attempts to connect, and between two rows.
RETRY = 0.001
PAUSE = 0.0005


class Acknowledged(t.NamedTuple):
    """A row that the server said it has."""

    number: int
    sent: float
    answered: float


class Stopped(Exception):
    """Somebody asked the client to end."""


def write(path: pathlib.Path, conninfo: str) -> None:
    """Write until the end."""

    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    connection: t.Any = None
    number = 0
    with path.open("a", buffering=1) as out, contextlib.suppress(Stopped):
        while True:
            number += 1
            try:
                if connection is None:
                    connection = psycopg2.connect(conninfo)
                    connection.autocommit = True
                    cursor = connection.cursor()
                sent = time.monotonic()
                cursor.execute("INSERT INTO written VALUES (%s)", (number,))
            except psycopg2.Error:
                # Whether this row was written nobody knows; the next one has a number of its own.
                with contextlib.suppress(Exception):
                    connection.close()
                connection = None
                time.sleep(RETRY)
                continue
            out.write(f"{number} {sent:.6f} {time.monotonic():.6f}\n")
            time.sleep(PAUSE)


def acknowledged(path: pathlib.Path) -> list[Acknowledged]:
    """What a client noted."""
    found = []
    for line in path.read_text(encoding="ascii").splitlines():
        words = line.split()
        if len(words) == 3:
            found.append(Acknowledged(int(words[0]), float(words[1]), float(words[2])))
    return found


def longest_gap(rows: t.Sequence[Acknowledged], since: float = 0.0, until: float = float("inf")) -> float:
    """The longest time between two answers, in seconds, of those that came in a span of the clock."""
    times = [row.answered for row in rows if since <= row.answered <= until]
    return max((after - before for before, after in zip(times, times[1:])), default=0.0)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), sys.argv[2])
