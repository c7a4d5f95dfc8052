# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each tag by itself, on hosts that are bare and on finished ones: what it does is there afterwards, and nothing else.

The tests go from one state to the next, so they run in this order and all together.
"""

from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import on, playbook, psql, wait_until

TAGS = ("packages", "configure", "login", "slots", "copy", "prove")
PAIR = ("--limit", "pg1,pg2")
HOSTS = ("pg1", "pg2", "pg3")

#: What is on a host, a word a line, as its own programs tell.
SEEN = r"""
ask() { runuser -u postgres -- psql -XAtq -d postgres -c "$1" 2>/dev/null; }
test -x /usr/lib/postgresql/15/bin/postgres && python3 -c 'import psycopg2' 2>/dev/null && echo packages
test -e /var/lib/postgresql/15/main/PG_VERSION && echo data
cd /etc/postgresql/15/main 2>/dev/null && test -e conf.d/99-pgtandem.conf && grep -q 'BEGIN pgtandem' pg_hba.conf &&
    echo settings
cd /
pgrep -u postgres -f 'bin/postgres -D' >/dev/null && echo server
ask "SELECT 'role' FROM pg_roles WHERE rolname = 'replica'"
ask "SELECT 'slot ' || slot_name FROM pg_replication_slots ORDER BY 1"
ask "SELECT 'follows' FROM pg_stat_wal_receiver WHERE status = 'streaming'"
true
"""


def seen(host: str) -> set[str]:
    return set(on(host, SEEN).splitlines())


def recap(output: str) -> dict[str, int]:
    """How many tasks changed something, by host."""
    return {name: int(count) for name, count in re.findall(r"(?m)^(pg\d) .*\bchanged=(\d+)", output)}


def site(*words: str, **variables: t.Any) -> tuple[str, dict[str, int]]:
    """The playbook site, to a good end."""
    said = playbook("site", *words, *(("-e", json.dumps(variables)) if variables else ()))
    assert said.returncode == 0, said.output
    return said.output, recap(said.output)


def refused(*words: str) -> str:
    """The playbook site, to a bad end with an error that can be understood."""
    said = playbook("site", *words)
    assert said.returncode != 0, said.output
    assert not re.search(r"undefined|has no attribute|AnsibleError|VARIABLE", said.text), said.output
    return said.text


# --- From nothing ---

MISSING = (
    "PostgreSQL 15 is not installed|No server runs on /var/lib/postgresql/15/main|neither psycopg nor psycopg2|"
    "cannot be proven: its copy"
)


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != "packages"])
def test_on_bare_hosts_a_later_part_says_what_is_missing(tag: str) -> None:
    text = refused("--tags", tag, *PAIR)
    assert re.search(MISSING, text), text
    assert seen("pg1") == seen("pg2") == set()


def test_without_leave_to_install_a_run_stops_before_anything(tag: str = "all") -> None:
    text = refused("-e", json.dumps({"pgtandem_manage_packages": False}))
    assert "Nothing was changed" in text and "pgtandem_manage_packages" in text, text
    assert seen("pg1") == seen("pg2") == set()


def part(tag: str, pg1: t.Iterable[str], pg2: t.Iterable[str]) -> str:
    """A tag adds to what was there exactly that, on each of the two, and adds nothing again."""
    before = {host: seen(host) for host in ("pg1", "pg2")}
    output, changed = site("--tags", tag, *PAIR)
    wanted = {"pg1": before["pg1"] | set(pg1), "pg2": before["pg2"] | set(pg2)}
    wait_until(lambda: {host: seen(host) for host in wanted} == wanted, 10, what=lambda: f"{output}\n{wanted}")
    assert {host: count > 0 for host, count in changed.items()} == {"pg1": bool(pg1), "pg2": bool(pg2)}, output
    again, changed = site("--tags", tag, *PAIR)
    assert changed == {"pg1": 0, "pg2": 0}, again
    assert {host: seen(host) for host in wanted} == wanted
    return output


def test_each_part_in_turn_makes_a_pair() -> None:
    part("packages", ["packages"], ["packages"])
    output = part("configure", ["data", "settings", "server"], [])
    assert "pg2 was left as it is: its copy of pg1 is still to be made" in " ".join(output.split()), output
    part("login", ["role"], [])
    part("slots", ["slot pg2"], [])
    part("copy", [], ["data"])
    part("configure", [], ["settings", "server", "role", "follows"])
    part("prove", [], [])


def test_a_run_of_all_completes_what_the_parts_began() -> None:
    changed = site()[1]
    assert changed["pg3"] > 0 and changed["pg1"] == 0, changed
    wait_until(lambda: "follows" in seen("pg3"), 20)
    assert seen("pg2") == {"packages", "data", "settings", "server", "role", "follows", "slot pg3"}
    output, changed = site()
    assert changed == dict.fromkeys(HOSTS, 0), output


# --- On finished hosts ---


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
@pytest.mark.parametrize("tag", TAGS)
def test_on_finished_hosts_no_part_changes_anything(option: str, tag: str) -> None:
    before = {host: seen(host) for host in HOSTS}
    output, changed = site(option, tag)
    assert changed == dict.fromkeys(HOSTS, 0), output
    assert {host: seen(host) for host in HOSTS} == before
    # What one look did not prove is proven in full, unless that was left out.
    proves = {"--tags": tag == "prove", "--skip-tags": tag in ("configure", "login", "slots")}
    assert ("See the WAL receiver" in output) == proves[option], output


def password_and_setting() -> tuple[str, set[str]]:
    """What login and configure change here, each on its own."""
    stored = psql("pg1", "SELECT md5(rolpassword) FROM pg_authid WHERE rolname = 'replica'")
    return stored, {psql(host, "SHOW work_mem") for host in HOSTS}


#: The password that was told to all hosts, and a setting that was told to all.
CHANGE: dict[str, t.Any] = {"pgtandem_replication_password": "an0therWord", "pgtandem_parameters": {"work_mem": "9MB"}}


def test_the_part_of_login_alone_gives_the_role_its_password() -> None:
    password, settings = password_and_setting()
    changed = site("--tags", "login", **CHANGE)[1]
    assert password_and_setting()[0] != password and password_and_setting()[1] == settings
    assert {host: count > 0 for host, count in changed.items()} == {"pg1": True, "pg2": False, "pg3": False}
    # Back, by everything but the settings.
    changed = site("--skip-tags", "configure")[1]
    assert changed["pg1"] > 0 and password_and_setting()[1] == settings
    stored = psql("pg1", "SELECT rolpassword FROM pg_authid WHERE rolname = 'replica'")
    site("--tags", "login")
    assert psql("pg1", "SELECT rolpassword FROM pg_authid WHERE rolname = 'replica'") == stored


def test_everything_but_login_leaves_the_role_as_it_is() -> None:
    password = password_and_setting()[0]
    change = {"pgtandem_parameters": CHANGE["pgtandem_parameters"]}
    site("--skip-tags", "login", **change)
    assert password_and_setting() == (password, {"9MB"})
    site("--tags", "configure")
    assert password_and_setting() == (password, {"4MB"})


def test_the_part_of_slots_alone_brings_back_a_slot_and_no_server() -> None:
    """The slot was dropped while the standby was stopped."""
    on("pg3", "pg_ctlcluster 15 main stop")
    wait_until(lambda: psql("pg2", "SELECT active FROM pg_replication_slots") == "f")
    psql("pg2", "SELECT pg_drop_replication_slot('pg3')")
    output, changed = site("--skip-tags", "slots,configure,prove")
    assert changed == dict.fromkeys(HOSTS, 0), output
    assert "slot pg3" not in seen("pg2")
    changed = site("--tags", "slots")[1]
    assert changed == {"pg1": 0, "pg2": 1, "pg3": 0}
    assert "slot pg3" in seen("pg2") and "server" not in seen("pg3")
    text = refused("--tags", "prove", "-e", "pgtandem_proof_timeout=2")
    assert "pg3" in text
    site()
    output, changed = site()
    assert changed == dict.fromkeys(HOSTS, 0), output
