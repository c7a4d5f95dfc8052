# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario `switchover`: a primary and two standbys, a client that writes all the while, and real runs."""

from __future__ import annotations

import os
import pathlib
import sys
import typing as t

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "testinfra"), str(HERE.parents[1] / "benchmarks/switchover")]

from stage import Stage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave these tests out where there are no hosts for them."""
    if not os.environ.get("PGTANDEM_LAB_SCENARIO", "").startswith("switchover"):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="molecule/run switchover brings its hosts up"))


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Stage]:
    """The hosts, and the client."""
    stage = Stage(tmp_path_factory.mktemp("runs"))
    stage.begin_writing()
    yield stage
    stage.end_writing()


@pytest.fixture
def stage(three: Stage) -> t.Iterator[Stage]:
    """The hosts, each in its role and streaming; no run and no fault outlives the test."""
    three.ensure()
    yield three
    three.calm()
