# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario `failover`: a primary, two standbys, a spare host, a client that writes all the while, and real runs."""

from __future__ import annotations

import os
import pathlib
import sys
import typing as t

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parents[1] / path) for path in ("tests/switchover", "tests/testinfra"))]
sys.path.append(str(HERE.parents[1] / "benchmarks/switchover"))

from scene import Scene


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave these tests out where there are no hosts for them."""
    if not os.environ.get("PGTANDEM_LAB_SCENARIO", "").startswith("failover"):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="molecule/run failover brings its hosts up"))


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Scene]:
    """The hosts, and the client."""
    scene = Scene(tmp_path_factory.mktemp("runs"))
    for name in scene.nodes:
        scene.power_on(name)
    scene.ensure()
    scene.begin_writing()
    yield scene
    scene.end_writing()


@pytest.fixture
def scene(three: Scene) -> t.Iterator[Scene]:
    """The hosts, each in its role and streaming; no run and no fault outlives the test."""
    three.ensure()
    yield three
    three.calm()
