# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For which parameters a server restarts; the rest is tried on real servers."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._status.next_start import same_value

BUFFERS = {"setting": "16384", "unit": "8kB", "shown": "128MB"}


@pytest.mark.parametrize(
    ("asked", "row", "same"),
    [
        ("128MB", BUFFERS, True),
        ("131072kB", BUFFERS, True),
        ("16384", BUFFERS, True),
        ("1GB", BUFFERS, False),
        ("yes", {"setting": "on", "unit": None, "shown": "on"}, True),
        ("OFF", {"setting": "on", "unit": None, "shown": "on"}, False),
        ("300", {"setting": "100", "unit": None, "shown": "100"}, False),
        ("auto_explain", {"setting": "", "unit": None, "shown": ""}, False),
        ("auto_explain", {"setting": "auto_explain", "unit": None, "shown": "auto_explain"}, True),
    ],
)
def test_a_value_is_the_same_however_it_is_written(asked: str, row: dict[str, str], same: bool) -> None:
    assert same_value(asked, **row) is same
