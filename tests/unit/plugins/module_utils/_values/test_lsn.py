# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Positions in the WAL are numbers."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import (
    format_lsn,
    lsn_distance,
    parse_lsn,
)

POSITIONS = [
    pytest.param("0/0", 0, id="nothing"),
    pytest.param("0/3000060", 0x3000060, id="as 18 writes it"),
    pytest.param("0/03000060", 0x3000060, id="as 19 writes it"),
    pytest.param("1/0", 1 << 32, id="the first half counts 4 GB"),
    pytest.param("FFFFFFFF/FFFFFFFF", (1 << 64) - 1, id="the largest"),
    pytest.param(" a/b10 ", (10 << 32) + 0xB10, id="small letters and blanks"),
]


@pytest.mark.parametrize(("text", "position"), POSITIONS)
def test_parse(text: str, position: int) -> None:
    assert parse_lsn(text) == position
    assert parse_lsn(format_lsn(position)) == position


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/G", "0/123456789", "-1/0", "0/0/0", "latest"])
def test_what_is_no_position(text: str) -> None:
    with pytest.raises(ReplicationError, match="is not a WAL position"):
        parse_lsn(text)


DISTANCES = [
    pytest.param("0/3000100", "0/3000000", 256, id="behind"),
    pytest.param("10/0", "9/0", 7 << 32, id="as texts the other way round"),
    pytest.param("0/3000000", "0/3000100", 0, id="ahead counts as level"),
    pytest.param(None, "0/1", None, id="one unknown"),
    pytest.param("0/1", None, None, id="the other unknown"),
    pytest.param("0/1", "", None, id="empty"),
]


@pytest.mark.parametrize(("ahead", "behind", "distance"), DISTANCES)
def test_distance(ahead: str | None, behind: str | None, distance: int | None) -> None:
    assert lsn_distance(ahead, behind) == distance
