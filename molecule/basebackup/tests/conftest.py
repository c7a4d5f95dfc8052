# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario `basebackup`: each test begins with no data on the standby, beside a folder that is somebody else's."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from seeding import DATA, LIST_FOREIGN, Run, Site, on


@pytest.fixture
def site(tmp_path: Path) -> t.Iterator[Site]:
    runs: list[Run] = []

    def begin(*words: str) -> Run:
        runs.append(Run(tmp_path, *words))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()


@pytest.fixture(autouse=True)
def fresh_standby() -> t.Iterator[None]:
    """pg2 without data, beside a folder that is somebody else's and stays as it is."""
    on(
        "pg2",
        "systemctl stop postgresql@15-main pgtandem-basebackup-* 2>/dev/null\n"
        f"rm -rf {DATA} {DATA}.pgtandem-* /srv/wal /srv/other* /srv/small/*\n"
        "mkdir -p /srv/foreign/base/1 && touch /srv/foreign/PG_VERSION /srv/foreign/base/1/1259",
    )
    before = on("pg2", LIST_FOREIGN)
    yield
    assert on("pg2", LIST_FOREIGN) == before
