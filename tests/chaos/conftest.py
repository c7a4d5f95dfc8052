# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario `chaos`: hosts, a client for each of them, and steps that chance draws."""

from __future__ import annotations

import os
import pathlib
import sys
import typing as t

import pytest

HERE = pathlib.Path(__file__).resolve().parent
OTHERS = ("tests/failover", "tests/switchover", "tests/testinfra", "benchmarks/switchover", "molecule/shared")
sys.path[:0] = [str(HERE), *(str(HERE.parents[1] / path) for path in OTHERS)]

from world import World  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave these tests out where there are no hosts for them."""
    if not os.environ.get("PGTANDEM_LAB_SCENARIO", "").startswith("chaos"):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="molecule/run chaos brings its hosts up"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[World]:
    """The hosts, made once."""
    made = World(tmp_path_factory.mktemp("runs"))
    made.set_up()
    yield made
    made.end_writing()
