# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg1 -> pg2 -> pg3 and pg1 -> pg4 under a writer on pg1 and a reader on each standby: parameters go up and down, and
commits begin and cease to wait for standbys, while nobody is down for longer than a restart of its own. Then for whom
commits wait, in each way, and a slot that is lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import inventories, on, playbook, psql, wait_until

STANDBYS = ("pg2", "pg3", "pg4")
HOSTS = ("pg1", *STANDBYS)
#: What a server says of itself when it has less than its primary, on any version.
SUFFERED = "hot standby is not possible|insufficient parameter settings|recovery has paused"

#: Runs on a host until it is told to stop: writes a row, or reads the newest one, as often as it can.
CLIENT = r"""
import json, os, sys, time
try:
    import psycopg2 as driver
except ImportError:
    import psycopg as driver
role, name, folder = sys.argv[1:]
seen = {"ok": 0, "errors": {}, "longest_gap": 0.0, "stale": 0.0, "last": 0}
session, good = None, time.monotonic()
while not os.path.exists("/tmp/stop-" + name):
    try:
        if session is None:
            session = driver.connect("dbname=postgres host=" + folder)
            session.autocommit = True
        cursor = session.cursor()
        if role == "write":
            cursor.execute("INSERT INTO written VALUES (%s, clock_timestamp())", [seen["last"] + 1])
            seen["last"] += 1
        else:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp() - max(at)) FROM written")
            seen["stale"] = max(seen["stale"], float(cursor.fetchone()[0] or 0))
        now = time.monotonic()
        seen["ok"] += 1
        seen["longest_gap"], good = max(seen["longest_gap"], now - good), now
    except driver.Error as error:
        word = str(error).strip().splitlines()[0][:90]
        seen["errors"][word] = seen["errors"].get(word, 0) + 1
        if session is not None:
            session.close()
        session = None
        # A row that was cut off may be there or not: the next number is free in any case.
        seen["last"] += 1 if role == "write" else 0
    time.sleep(0.02)
seen["longest_gap"] = max(seen["longest_gap"], time.monotonic() - good)
with open("/tmp/seen-" + name, "w") as out:
    json.dump(seen, out)
"""


def site(*words: str, **variables: t.Any) -> str:
    """The playbook site, to a good end."""
    said = playbook("site", "-e", json.dumps(variables), *words)
    assert said.returncode == 0, said.output
    return said.output


def unchanged(**variables: t.Any) -> None:
    output = site(**variables)
    assert len(re.findall(r"changed=0 ", output)) == len(HOSTS), output


class Server:
    """How to reach the instance of a host."""

    def __init__(self) -> None:
        self.major = major = os.environ["PGTANDEM_VERSION"]
        listed = subprocess.run(
            ["ansible-inventory", *inventories(), "--host=pg1"], check=True, capture_output=True, text=True
        )
        variables = json.loads(listed.stdout)
        debian = variables.get("pgtandem_layout") == "debian"
        self.socket = "/var/run/postgresql" if debian else "/tmp"
        self.unit = f"postgresql@{major}-main" if debian else f"pgsql-{major}"
        data = variables.get("pgtandem_data_directory") or ""
        # Elsewhere the lab's own unit (images/pgsql.sh) says where a server writes.
        self.logs = f"/var/log/postgresql/postgresql-{major}-main.log" if debian else f"{Path(data).parent}/startup.log"

    def psql(self, host: str, sql: str, *, check: bool = True) -> str:
        return psql(host, sql, socket=self.socket, check=check)

    def settings(self, name: str) -> set[str]:
        return {self.psql(host, f"SHOW {name}") for host in HOSTS}

    def suffered(self, host: str) -> list[str]:
        """Lines of the server's log that tell of less than its primary has."""
        log = on(host, f"cat {self.logs} 2>/dev/null; journalctl -u {self.unit} --no-pager -o cat", check=False)
        assert "database system is ready to accept" in log, f"{host}: this is not the server's log: {log[-500:]}"
        return [line for line in log.splitlines() if re.search(SUFFERED, line)]


@pytest.fixture(scope="module")
def server() -> Server:
    output = site()
    assert "streaming" in output
    found = Server()
    found.psql("pg1", "CREATE TABLE IF NOT EXISTS written (number int PRIMARY KEY, at timestamptz)")
    return found


class Clients:
    """A writer on the primary and a reader on each standby."""

    def __init__(self, server: Server) -> None:
        server.psql("pg1", "TRUNCATE written")
        for host in STANDBYS:
            wait_until(lambda host=host: server.psql(host, "SELECT count(*) FROM written", check=False) == "0")
        for host in HOSTS:
            role = "write" if host == "pg1" else "read"
            start = f"setsid sudo -u postgres /usr/bin/python3 /tmp/client.py {role} {host} {server.socket}"
            on(
                host,
                f"cd /tmp; rm -f /tmp/stop-* /tmp/seen-*\ncat > /tmp/client.py <<'END'\n{CLIENT}\nEND\n"
                f"chmod 644 /tmp/client.py; {start} >/tmp/client.log 2>&1 </dev/null &\n",
            )

    def end(self) -> dict[str, dict[str, t.Any]]:
        """Stop all, and what they saw, the writer's first."""
        found = {}
        for host in HOSTS:
            script = (
                f"touch /tmp/stop-{host}; for i in $(seq 100); do [ -e /tmp/seen-{host} ] && break; sleep 0.2; done\n"
                f"cat /tmp/seen-{host} || cat /tmp/client.log"
            )
            found[host] = json.loads(on(host, script))
        return found


def report(what: str, seen: dict[str, dict[str, t.Any]]) -> None:
    """Count and print: `pytest -s`, or what molecule shows."""
    for host, row in seen.items():
        lag = "" if host == "pg1" else f", newest row at most {row['stale']:.1f} s old"
        print(
            f"{what}: {host} {row['ok']} ok, {sum(row['errors'].values())} errors {row['errors'] or ''}, "
            f"longest gap {row['longest_gap']:.1f} s{lag}"
        )


def nothing_lost(server: Server, writer: dict[str, t.Any]) -> None:
    """Every row whose commit was acknowledged is there, on each host, and none ever had less than its primary."""
    count = server.psql("pg1", "SELECT count(*) FROM written")
    # A row whose acknowledgement was cut off may be there or not.
    assert writer["ok"] <= int(count) <= writer["ok"] + sum(writer["errors"].values())
    for host in STANDBYS:
        wait_until(lambda host=host: server.psql(host, "SELECT count(*) FROM written") == count, 30)
        assert server.suffered(host) == [], host


def test_parameters_go_up_and_down_under_a_writer(server: Server) -> None:
    plan = site("--check", pgtandem_parameters={"max_connections": 300})
    order = re.findall(r"(?m)^\s+\d\. (pg\d) restarts: max_connections 100 -> 300", plan)
    assert order == ["pg3", "pg2", "pg4", "pg1"], plan
    clients = Clients(server)
    site(pgtandem_parameters={"max_connections": 300})
    assert server.settings("max_connections") == {"300"}
    site(pgtandem_parameters={"max_connections": 50, "max_locks_per_transaction": 100})
    assert server.settings("max_connections") == {"50"} and server.settings("max_locks_per_transaction") == {"100"}
    unchanged(pgtandem_parameters={"max_connections": 50, "max_locks_per_transaction": 100})
    seen = clients.end()
    report("parameters", seen)
    nothing_lost(server, seen["pg1"])
    # The writer is cut off by each of the primary's two restarts, and by nothing else.
    assert seen["pg1"]["ok"] > 100 and sum(seen["pg1"]["errors"].values()) < 200
    assert all(row["longest_gap"] < 10 for row in seen.values()), seen
    # A cascade's end hears nothing until its upstream is back and it asks again (wal_retrieve_retry_interval).
    assert all(seen[host]["stale"] < 30 for host in STANDBYS), seen


def test_no_commit_hangs_while_synchronous_goes_on_and_off(server: Server) -> None:
    # After the primary's restart commits wait until a standby asks again (docs/synchronous.md): 5 s unless it is set.
    parameters = {"max_connections": 50, "max_locks_per_transaction": 100, "wal_retrieve_retry_interval": "1s"}
    both = {"mode": "any", "count": 1, "standbys": ["pg2", "pg4"]}
    clients = Clients(server)
    site(pgtandem_parameters=parameters, pgtandem_synchronous=both)
    states = "SELECT string_agg(application_name || ' ' || sync_state, ', ' ORDER BY pid) FROM pg_stat_replication"
    assert server.psql("pg1", states).count("quorum") == 2
    # Raised again with commits that wait: one synchronous standby is always up.
    site(pgtandem_parameters={**parameters, "max_connections": 60}, pgtandem_synchronous=both)
    parameters["max_connections"] = 60
    # One leaves the list and then the network; the other one answers.
    site(pgtandem_parameters=parameters, pgtandem_synchronous={**both, "standbys": ["pg2"]})
    on("pg4", f"systemctl stop {server.unit}")
    time.sleep(2)
    on("pg4", f"systemctl start {server.unit}")
    site(pgtandem_parameters=parameters, pgtandem_synchronous={"mode": "off"})
    assert server.psql("pg1", "SHOW synchronous_standby_names") == ""
    unchanged(pgtandem_parameters=parameters)
    seen = clients.end()
    report("synchronous", seen)
    nothing_lost(server, seen["pg1"])
    assert seen["pg1"]["longest_gap"] < 5, seen


#: What the tests above have left.
PARAMETERS = {"max_connections": 60, "max_locks_per_transaction": 100}
SYNCHRONOUS = """SELECT string_agg(application_name || ' ' || sync_state, ', ' ORDER BY application_name)
    FROM pg_stat_replication WHERE state = 'streaming'"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def commit_waits(server: Server, mend: t.Callable[[], object]) -> None:
    """A commit waits for standbys, and ends once they are mended."""
    write = "INSERT INTO written SELECT coalesce(min(number), 0) - 1, clock_timestamp() FROM written"
    command = f'runuser -u postgres -- psql -X -h {server.socket} -d postgres -c "{write}"'
    on("pg1", f"cd /; setsid {command} >/tmp/waiting.log 2>&1 </dev/null &\n")
    wait_until(lambda: server.psql("pg1", WAITING) == "1", 20, what=lambda: on("pg1", "cat /tmp/waiting.log"))
    time.sleep(2)
    assert server.psql("pg1", WAITING) == "1"
    mend()
    wait_until(lambda: server.psql("pg1", WAITING) == "0", 30)
    assert on("pg1", "cat /tmp/waiting.log").strip() == "INSERT 0 1"


def test_for_whom_commits_wait(server: Server) -> None:
    def level(mode: str, count: int, commit: str) -> str:
        wish = {"mode": mode, "count": count, "commit": commit, "standbys": ["pg2", "pg4"]}
        output = site(pgtandem_parameters=PARAMETERS, pgtandem_synchronous=wish)
        assert server.psql("pg1", "SHOW synchronous_commit") == commit
        assert server.psql("pg1", "SHOW synchronous_standby_names") == f'{mode.upper()} {count} ("pg2", "pg4")'
        return " ".join(output.split())

    assert "waits at every commit" not in level("first", 1, "remote_write")
    wait_until(lambda: server.psql("pg1", SYNCHRONOUS) == "pg2 sync, pg4 potential")
    assert "waits at every commit for 2 of 2 synchronous standbys" in level("first", 2, "on")
    wait_until(lambda: server.psql("pg1", SYNCHRONOUS) == "pg2 sync, pg4 sync")
    on("pg4", f"systemctl stop {server.unit}")
    commit_waits(server, lambda: on("pg4", f"systemctl start {server.unit}"))

    level("any", 1, "remote_apply")
    wait_until(lambda: server.psql("pg1", SYNCHRONOUS) == "pg2 quorum, pg4 quorum")
    # Received and written, and not yet to be read anywhere.
    for host in ("pg2", "pg4"):
        server.psql(host, "SELECT pg_wal_replay_pause()")
    commit_waits(server, lambda: server.psql("pg4", "SELECT pg_wal_replay_resume()"))
    server.psql("pg2", "SELECT pg_wal_replay_resume()")
    site(pgtandem_parameters=PARAMETERS, pgtandem_synchronous={"mode": "off"})
    assert server.psql("pg1", "SHOW synchronous_standby_names") == ""
    assert server.psql("pg1", "SHOW synchronous_commit") == "on"
    unchanged(pgtandem_parameters=PARAMETERS)


def test_a_slot_is_lost_and_its_standby_copied_anew(server: Server) -> None:
    """Without an archive: said by status.yml, refused a false success by site.yml, and mended by a new copy."""
    if int(server.major) < 13:
        pytest.skip("nothing caps what a slot keeps before 13")
    parameters = {**PARAMETERS, "max_slot_wal_keep_size": "32MB", "wal_keep_size": 0, "max_wal_size": "64MB"}
    site(pgtandem_parameters=parameters)
    on("pg4", f"systemctl stop {server.unit}")
    status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'pg4'"
    server.psql("pg1", "CREATE TABLE IF NOT EXISTS filled (line text)")
    for _round in range(20):
        server.psql("pg1", "INSERT INTO filled SELECT repeat(n::text, 100) FROM generate_series(1, 40000) n")
        server.psql("pg1", "SELECT pg_switch_wal()")
        server.psql("pg1", "CHECKPOINT")
        if server.psql("pg1", status) == "lost":
            break
    assert server.psql("pg1", status) == "lost"
    on("pg4", f"systemctl start {server.unit}")

    told = playbook("status", "-e", json.dumps({"pgtandem_parameters": parameters}))
    assert told.returncode != 0 and "slot-lost" in told.text, told.output
    variables = {"pgtandem_parameters": parameters, "pgtandem_proof_timeout": 10}
    said = playbook("site", "-e", json.dumps(variables))
    # The slot is new, and a standby that asks by it for what is gone may have it given up at the next checkpoint.
    gone = ("has already been removed", "can no longer access replication slot", "can no longer get changes from")
    assert said.returncode != 0 and any(words in said.text for words in gone), said.output

    site(**variables, pgtandem_reseed="pg4")
    rows = "SELECT count(*) FROM filled"
    assert server.psql("pg1", "SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'") == "0"
    for host in STANDBYS:
        wait_until(lambda host=host: server.psql(host, rows) == server.psql("pg1", rows), what=lambda: "no row")
    unchanged(pgtandem_parameters=parameters)
