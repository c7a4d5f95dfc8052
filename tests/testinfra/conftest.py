# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives each test its instances: `node` is every one in turn, `primary` and `standby` each of that kind."""

from __future__ import annotations

import pytest
from outside import Node, group


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each instance that its argument stands for."""
    for argument, names in (
        ("node", group("primary") + group("standby")),
        ("primary", group("primary")),
        ("standby", group("standby")),
    ):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, [pytest.param(Node(name), id=name) for name in names])
