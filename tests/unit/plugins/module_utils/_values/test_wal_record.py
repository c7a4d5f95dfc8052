# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last record of some pages of WAL that are made here; tests/integration compares with pg_waldump."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.wal_record import (
    crc32c,
    pages_for,
    record_before,
)

SIZE = 8192
BASE = 0x3000000


def record(body: int, *, manager: int = 0, info: int = 0, damaged: bool = False) -> bytes:
    head = struct.pack("=IIQBB2x", 24 + body, 0, 0, info, manager)
    data = bytes(range(256)) * (body // 256 + 1)
    crc = crc32c(data[:body] + head)
    return head + struct.pack("=I", crc ^ damaged) + data[:body]


def wal(*records: bytes, long: bool = True) -> tuple[dict[int, bytes], list[int]]:
    """Pages of these records, and where each ends."""
    pages: dict[int, bytearray] = {}
    position, ends = BASE, []

    def put(piece: bytes, remaining: int) -> None:
        nonlocal position
        while piece:
            page = position // SIZE * SIZE
            if position == page:
                first = long and page == BASE
                header = struct.pack("=HHIQI4x", 0xD110, (2 if first else 0) | (remaining > 0), 1, page, remaining)
                pages[page] = bytearray(header + (b"\0" * 16 if first else b"")).ljust(SIZE, b"\0")
                position += 40 if first else 24
            room = page + SIZE - position
            part, piece = piece[:room], piece[room:]
            pages[page][position - page : position - page + len(part)] = part
            position += len(part)
            remaining = len(piece)

    for one in records:
        # A record that begins a page continues nothing; what goes over from another says how much is left.
        put(one, 0)
        position = (position + 7) & ~7
        ends.append(position)
    return {page: bytes(data) for page, data in pages.items()}, ends


SHUTDOWN = record(90)
OTHER = record(200, manager=10, info=0x20)


@pytest.mark.parametrize("before", [0, 1, 5, 36, 37, 38, 80])
def test_a_shutdown_is_found_wherever_it_lies(before: int) -> None:
    pages, ends = wal(*[OTHER] * before, SHUTDOWN)
    found = record_before(ends[-1], {page: pages.get(page, b"") for page in pages_for(ends[-1], SIZE)}, SIZE)
    assert found is not None and found.is_shutdown_checkpoint
    if before:
        other = record_before(ends[-2], {page: pages.get(page, b"") for page in pages_for(ends[-2], SIZE)}, SIZE)
        assert other is not None and not other.is_shutdown_checkpoint and other.intact


@pytest.mark.parametrize(
    "last",
    [
        record(90, info=0x10),  # a checkpoint while the server runs
        record(90, manager=1),
        record(90, damaged=True),
        record(2000),
    ],
)
def test_other_records_are_none(last: bytes) -> None:
    pages, ends = wal(OTHER, last)
    found = record_before(ends[-1], pages, SIZE)
    assert found is not None and not found.is_shutdown_checkpoint


def test_what_cannot_be_read_is_no_record() -> None:
    pages, ends = wal(OTHER, SHUTDOWN)
    assert record_before(ends[-1] + 8, pages, SIZE) is None
    assert record_before(ends[-1] - 8, pages, SIZE) is None
    assert record_before(ends[-1], {}, SIZE) is None
    assert record_before(ends[-1], {BASE: pages[BASE][:100]}, SIZE) is None
    # A segment that was used before and holds the pages of then.
    assert record_before(ends[-1] + SIZE, {BASE + SIZE: pages[BASE]}, SIZE) is None
