# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The last record of a piece of write-ahead log, read from its pages: was it the checkpoint of a shutdown?

A primary that shuts down writes this record last, after all sessions have ended, and sends it to its standbys. A
standby that has it has everything. Nothing but the WAL itself says so: positions alone look the same when the
connection broke a moment earlier. pg_waldump would tell as well, in ten times the time, and is not on every host.

The layout (src/include/access/xlog_internal.h, xlogrecord.h) is the same from 9.5 to 19: a page begins with a header of
24 bytes, the first of a segment with one of 40; a record begins with 24 bytes and at a multiple of 8, and goes on
behind the next page's header where it does not fit.
"""

from __future__ import annotations

import struct
import typing as t

_PAGE_HEADER = struct.Struct("=HHIQI")
_SHORT_HEADER = 24
_LONG_HEADER = 40
#: Bits of xlp_info.
_CONTINUES, _LONG = 0x0001, 0x0002
_RECORD_HEADER = struct.Struct("=IIQBB2xI")
#: Resource manager XLOG, and what it calls the checkpoint of a shutdown; the low bits belong to others.
_RM_XLOG, _CHECKPOINT_SHUTDOWN, _INFO_MASK = 0, 0x00, 0xF0
#: Longer than any checkpoint record: what is longer is not looked into.
_LONGEST = 1024


class WalRecord(t.NamedTuple):
    """A record: where it begins, whose it is, and whether its checksum holds."""

    start: int
    resource_manager: int
    info: int
    intact: bool

    @property
    def is_shutdown_checkpoint(self) -> bool:
        """Whether it is the last word of a primary that was shut down."""
        return (
            self.intact and self.resource_manager == _RM_XLOG and self.info & _INFO_MASK == _CHECKPOINT_SHUTDOWN
        )  # fmt: skip


def _table() -> tuple[int, ...]:
    values = []
    for value in range(256):
        for _bit in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        values.append(value)
    return tuple(values)


_CRC_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, which WAL records carry.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _CRC_TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def segment_name(timeline: int, position: int, segment_size: int) -> str:
    """The file that holds a position.

    >>> segment_name(1, 0x3000060, 16 * 1024 * 1024), segment_name(2, 1 << 32, 16 * 1024 * 1024)
    ('000000010000000000000003', '000000020000000100000000')
    """
    number, each = position // segment_size, 0x100000000 // segment_size
    return f"{timeline:08X}{number // each:08X}{number % each:08X}"


def pages_for(end: int, page_size: int) -> tuple[int, ...]:
    """The pages to read so that a short record which ends at a position is whole in them.

    >>> [hex(page) for page in pages_for(0x3002000, 8192)]
    ['0x2ffe000', '0x3000000']
    """
    last = (end - 1) // page_size * page_size
    return tuple(page for page in (last - page_size, last) if page >= 0)


def _aligned(position: int) -> int:
    return (position + 7) & ~7


class _Reader:
    """Walks over pages that follow each other."""

    def __init__(self, pages: t.Mapping[int, bytes], page_size: int) -> None:
        self._pages, self._size = pages, page_size

    def _header(self, page: int) -> tuple[int, int] | None:
        """The length of a page's header, and of what it continues; None where it is not that page."""
        data = self._pages.get(page)
        if data is None or len(data) < self._size:
            return None
        _magic, info, _timeline, address, remaining = _PAGE_HEADER.unpack_from(data)
        if address != page:
            # A recycled segment: nothing has been written here yet.
            return None
        return _LONG_HEADER if info & _LONG else _SHORT_HEADER, remaining if info & _CONTINUES else 0

    def first_record(self) -> int | None:
        """Where the first record begins in these pages."""
        for page in sorted(self._pages):
            header = self._header(page)
            if header is None:
                continue
            length, remaining = header
            if length + _aligned(remaining) <= self._size:
                return page + length + _aligned(remaining)
        return None

    def skip_header(self, position: int) -> int | None:
        """A position, behind the header where it is the begin of a page."""
        if position % self._size:
            return position
        header = self._header(position)
        return position + header[0] if header else None

    def take(self, position: int, count: int) -> tuple[bytes, int] | None:
        """So many bytes from a position on without the headers between them, and where they end."""
        parts = []
        while count:
            page = position // self._size * self._size
            if position == page:
                header = self._header(page)
                if header is None:
                    return None
                position += header[0]
            data = self._pages.get(page)
            if data is None:
                return None
            part = data[position - page : min(self._size, position - page + count)]
            parts.append(part)
            position, count = position + len(part), count - len(part)
        return b"".join(parts), position


def record_before(end: int, pages: t.Mapping[int, bytes], page_size: int) -> WalRecord | None:
    """The record that ends at a position; None where these pages hold none. C(pages) are by their address."""
    reader = _Reader(pages, page_size)
    position = reader.first_record()
    while position is not None and position < end:
        start = reader.skip_header(position)
        head = reader.take(start, 4) if start is not None else None
        if start is None or head is None:
            return None
        (length,) = struct.unpack("=I", head[0])
        if length < _RECORD_HEADER.size:
            return None
        taken = reader.take(start, length)
        if taken is None:
            return None
        data, behind = taken
        position = _aligned(behind)
        if position == end:
            return _record(start, data)
    return None


def _record(start: int, data: bytes) -> WalRecord:
    _length, _xid, _previous, info, manager, crc = _RECORD_HEADER.unpack_from(data)
    header = data[: _RECORD_HEADER.size - 4]
    intact = len(data) <= _LONGEST and crc32c(data[_RECORD_HEADER.size :] + header) == crc
    return WalRecord(start, manager, info, intact)
