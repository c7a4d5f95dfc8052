# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another password for a cascade in one run, also where no connection outlives it."""

from __future__ import annotations

import json
import threading

import pytest
from conftest import MakeSite
from site_runs import PASSWORD, Node, Run, Site, wait_until

RECEIVER = "SELECT pid FROM pg_stat_wal_receiver"
END_ALL = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication"


@pytest.fixture(scope="module")
def cascade(make_site: MakeSite) -> Site:
    site = make_site()
    site.variables["parameters"] = {"wal_retrieve_retry_interval": "200ms"}
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.add("pg3", "standby", pgtandem_upstream="pg2")
    site.converge()
    return site


def rotate(site: Site, password: str) -> Run:
    return site.converge("-e", json.dumps({"pgtandem_replication_password": password}))


def lets_in(node: Node, password: str) -> bool:
    done = node.run(
        "psql", "-XAtqw", "-h", "127.0.0.1", "-p", str(node.port), "-U", "replica", "-d", "postgres", "-c", "SELECT 1",
        check=False, PGPASSWORD=password,
    )  # fmt: skip
    return done.returncode == 0


def stands(site: Site, password: str) -> None:
    """Everybody comes back by the new password, and no server lets the old one in."""
    for name in ("pg1", "pg2"):
        site[name].psql(END_ALL)
    for name, standby in (("pg1", "pg2"), ("pg2", "pg3")):
        wait_until(lambda name=name, standby=standby: site.streaming(name) == standby, f"{standby} to stream")
        assert lets_in(site[name], password)
        assert not lets_in(site[name], PASSWORD)


def test_connections_outlive_it(cascade: Site) -> None:
    before = {name: (cascade[name].pid, cascade[name].psql(RECEIVER)) for name in ("pg2", "pg3")}
    run = rotate(cascade, "another: one")
    assert {name: (cascade[name].pid, cascade[name].psql(RECEIVER)) for name in before} == before, run.output
    assert set(rotate(cascade, "another: one").changed.values()) == {0}
    stands(cascade, "another: one")


def test_it_ends_well_where_every_connection_breaks(cascade: Site) -> None:
    over = threading.Event()

    def break_connections() -> None:
        while not over.wait(1):
            for name in ("pg1", "pg2"):
                cascade[name].psql(END_ALL)

    breaker = threading.Thread(target=break_connections)
    breaker.start()
    try:
        rotate(cascade, "a third")
    finally:
        over.set()
        breaker.join()
    stands(cascade, "a third")
