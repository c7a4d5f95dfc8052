# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of docs/examples on hosts of their own, as they are: only addresses, secrets and places are the lab's.
The fourth is the scenario `unprivileged`."""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from places import PASSWORD, addresses, written
from steps import ROOT, Said, on, playbook, wait_until

EXAMPLES = ROOT / "docs/examples"


class Example(t.NamedTuple):
    """An example here."""

    #: The lab's host of each of its own.
    hosts: dict[str, str]
    #: Where its secret goes.
    secret: str
    #: What only a place can say.
    places: dict[str, t.Any]
    user: str
    port: int
    socket: str
    programs: str
    service: str


DEBIAN = ("/var/run/postgresql", "/usr/lib/postgresql/15/bin", "postgresql@15-main")
CASES = {
    "include-role": Example(
        {"pg1": "include1", "pg2": "include2"}, "pgtandem_replication_password", {}, "replica", 5432, *DEBIAN
    ),
    "installed": Example(
        {"pg1": "other1", "pg2": "other2"},
        "pgtandem_replication_password",
        {"pgtandem_bin_directory": "/usr/local/pgsql-18/bin"},
        "replica", 5432, "/tmp", "/usr/local/pgsql-18/bin", "postgresql-18-main",
    ),
    # Beside the one above, on the same hosts.
    "own-names": Example(
        {"db-a": "other1", "db-b": "other2"}, "company_replication_secret", {"company_db_port": 5433}, "follower", 5433,
        *DEBIAN,
    ),
}  # fmt: skip


def test_each_example_is_set_up_somewhere() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {*CASES, "unprivileged"}


def run(name: str, folder: Path, *words: str, elsewhere: t.Mapping[str, str] | None = None) -> Said:
    case, where = CASES[name], addresses()
    hosts = {own: {"ansible_host": where[host]} for own, host in (elsewhere or case.hosts).items()}
    place = written(folder / "place.yml", hosts, **{case.secret: PASSWORD}, **case.places)
    own = EXAMPLES / name / "playbook.yml"
    return playbook(str(own) if own.exists() else "site", *words, sources=[EXAMPLES / name / "hosts.yml", place])


def changes(said: Said) -> dict[str, int]:
    assert said.returncode == 0, said.output
    return {name: int(count) for name, count in re.findall(r"(?m)^(\S+) +: ok=.*\bchanged=(\d+)", said.output)}


def test_nothing_is_installed_where_others_do_that(tmp_path: Path) -> None:
    """The example on hosts without those programs."""
    before = on("include1", "dpkg -l | md5sum; ls -A /srv /etc/systemd/system | md5sum")
    said = run("installed", tmp_path, elsewhere={"pg1": "include1", "pg2": "include2"})
    assert said.returncode != 0 and "Nothing was changed" in said.text, said.output
    assert "There is no program /usr/local/pgsql-18/bin/postgres" in said.text, said.output
    assert on("include1", "dpkg -l | md5sum; ls -A /srv /etc/systemd/system | md5sum") == before


@pytest.mark.parametrize("name", CASES)
def test_an_example_does_what_it_says(name: str, tmp_path: Path) -> None:
    """From nothing, and again without a change."""
    case = CASES[name]
    (first, primary), (second, standby) = case.hosts.items()
    packages = on(primary, "dpkg -l | md5sum")

    def ask(host: str, sql: str, *, check: bool = True) -> str:
        words = f"{case.programs}/psql -XAtq -v ON_ERROR_STOP=1 -h {case.socket} -p {case.port} -d postgres"
        return on(host, f"cd /; runuser -u postgres -- {words} <<'END'\n{sql}\nEND", check=check)

    said = run(name, tmp_path, "--check")
    assert all(changes(said).values()), said.output
    assert on(primary, f"ss -tln | grep ':{case.port} ' || true") == ""
    said = run(name, tmp_path)
    assert all(changes(said).values()), said.output
    assert ask(primary, "SELECT usename, application_name, state FROM pg_stat_replication") == (
        f"{case.user}|{second}|streaming"
    )
    ask(primary, "CREATE TABLE seen AS SELECT 1 AS one")
    wait_until(lambda: ask(standby, "TABLE seen", check=False) == "1", 20)
    for host in (primary, standby):
        # Debian's unit is activating for two seconds after the server is up.
        wait_until(lambda at=host: on(at, f"systemctl is-active {case.service}", check=False) == "active", 10)
    if name == "include-role":
        assert f"{first} is primary" in said.text and f"{second} is standby" in said.text, said.output
    if name == "installed":
        assert on(primary, "dpkg -l | md5sum") == packages
    again = run(name, tmp_path)
    assert changes(again) == {first: 0, second: 0}, again.output
