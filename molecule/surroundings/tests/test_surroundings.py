# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as they really are: each file of situations/ says what is planted, what runs, and what has to be true then.

molecule/README.md has the format.
"""

from __future__ import annotations

import pytest
from situation import SITUATIONS, Pair, Situation


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_situation(situation: Situation) -> None:
    situation.skip_unless_it_applies()
    pair = Pair(situation.pair, situation.hosts, situation.others)
    pair.restore()
    try:
        situation.plant(pair)
        for step in situation.steps:
            step.run(pair)
    finally:
        situation.clear(pair)
