# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Has each pytest of a test run write its results: loaded where the run names a folder for them (tests/run-stages)."""

from __future__ import annotations

import os
import time

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """One file for each process of pytest; with workers the main one writes for all."""
    folder = os.environ.get("PGTANDEM_RESULTS")
    if folder and not hasattr(config, "workerinput") and not config.option.xmlpath and not config.option.collectonly:
        config.option.xmlpath = os.path.join(folder, f"pytest-{os.getpid()}-{time.time_ns()}.xml")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note that a test is tried again, with the reason that its mark gives."""
    if getattr(item, "execution_count", 1) > 1:
        mark = item.get_closest_marker("flaky")
        reason = mark.kwargs.get("reason") if mark else None
        item.user_properties[:] = [("flaky", str(reason or "no reason given"))]
