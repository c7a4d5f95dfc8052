# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers, databases and roles whose settings would break a session that does not set its own."""

from __future__ import annotations

import pytest
from conftest import SERVERS, Cluster, MakeCluster, MakeFolder, Task, run_tasks
from site_runs import Site, wait_until
from test_demote import pair_of

#: What a session must not take over. Time-outs are short, but the statement that ends them fits in.
HOSTILE = {
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "20",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "20",
    "search_path": "elsewhere",
    "row_security": "on",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "bytea_output": "escape",
    "datestyle": "German, DMY",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
}
NEWER = {14: {"idle_session_timeout": "300"}, 17: {"transaction_timeout": "100"}}
MISSING = {"session_preload_libraries": "not_there", "local_preload_libraries": "not_there"}


def newer_for(cluster: Cluster) -> dict[str, str]:
    """Those of NEWER that this server has."""
    major = int((cluster.data_directory / "PG_VERSION").read_text())
    return {name: value for since, more in NEWER.items() if major >= since for name, value in more.items()}


def hostile_for(cluster: Cluster) -> dict[str, str]:
    return {**HOSTILE, **newer_for(cluster)}


def quietly(cluster: Cluster, sql: str) -> str:
    """A statement in a session of the test's own."""
    options = (
        "-c session_preload_libraries= -c local_preload_libraries= -c statement_timeout=0 -c role=none "
        "-c default_transaction_read_only=off -c search_path=pg_catalog "
        r"-c default_transaction_isolation=read\ committed -c client_encoding=UTF8 "
    )
    # On a busy machine a client may be slower to take leave than these allow.
    options += " ".join(f"-c {name}=0" for name in newer_for(cluster))
    done = cluster.run(
        "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", cluster.folder, "-p", str(cluster.port), "-d", "postgres",
        "-c", sql, PGOPTIONS=options,
    )  # fmt: skip
    return done.stdout.strip()


def make_hostile(cluster: Cluster, values: dict[str, str], *, system: bool = True) -> None:
    """The server's own file, the database and the role say it, with what only a role can have."""
    quietly(cluster, "CREATE ROLE powerless")
    names = list(values)
    statements = [
        f"ALTER SYSTEM SET {name} = '{values[name]}'" for name in names if system and name != "client_encoding"
    ]
    statements += [f"ALTER DATABASE postgres SET {name} = '{values[name]}'" for name in names[::2]]
    statements += [f"ALTER ROLE {cluster.superuser} SET {name} = '{values[name]}'" for name in names[1::2]]
    statements += [f"ALTER ROLE {cluster.superuser} SET role = 'powerless'", "SELECT pg_reload_conf()"]
    for statement in statements:
        quietly(cluster, statement)


def make_standby_hostile(standby: Cluster, values: dict[str, str]) -> None:
    standby.configure(**{name: value for name, value in values.items() if name != "client_encoding"})
    quietly(standby, "SELECT pg_reload_conf()")


def let_replay(primary: Cluster, standby: Cluster) -> None:
    position = quietly(primary, "SELECT pg_current_wal_lsn()")
    statement = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
    wait_until(lambda: quietly(standby, statement) == "t", "the standby to replay")


@pytest.mark.parametrize("server", SERVERS)
def test_modules_set_what_they_depend_on(make_cluster: MakeCluster, make_folder: MakeFolder, server: str) -> None:
    primary = make_cluster(server, hot_standby="on")
    standby = primary.standby(make_folder())
    make_cluster.adopt(standby)  # type: ignore[attr-defined]
    standby.start()
    wait_until(lambda: primary.psql("SELECT count(*) FROM pg_stat_replication") == "1", "the standby to stream")
    make_standby_hostile(standby, hostile_for(primary))
    make_hostile(primary, {**hostile_for(primary), **MISSING})
    let_replay(primary, standby)
    role = Task(
        "pg_replication_role", {**primary.options, "name": "replica", "password": "it's \\ here", "rewind": True}
    )
    results = run_tasks(
        [
            role,
            role,
            Task("pg_replication_slot", {**primary.options, "name": "one"}),
            Task("pg_checkpoint", primary.options),
            Task("pg_replication_status", {**primary.options, "write_position": True, "sizes": True}),
            Task("pg_replication_status", standby.options),
        ]
    )
    assert not any(result["failed"] for result in results), results.output
    assert [result["changed"] for result in results[:3]] == [True, False, True], results.output
    for result, kind in zip(results[4:], ("primary", "standby")):
        assert (result["replication"]["accepts_connections"], result["replication"]["role"]) == (True, kind), (
            results.output
        )
    assert results[4]["replication"]["written_lsn"]
    assert quietly(primary, "SELECT current_setting('statement_timeout')") == "0"


@pytest.mark.parametrize("server", SERVERS)
def test_roles_are_swapped_all_the_same(make_cluster: MakeCluster, make_folder: MakeFolder, server: str) -> None:
    pair = pair_of(make_cluster, make_folder, server)
    # A standby with default_transaction_read_only is refused on purpose: it could not serve as a primary.
    values = {
        name: value for name, value in hostile_for(pair.primary).items() if name != "default_transaction_read_only"
    }
    make_standby_hostile(pair.standby, values)
    make_hostile(pair.primary, values)
    let_replay(pair.primary, pair.standby)
    results = run_tasks([pair.arm("t1"), pair.demote("t1"), pair.end("collect", "t1")])
    assert not any(result["failed"] for result in results), results.output
    assert results[2]["state"] == "promoted"
    assert quietly(pair.primary, "SELECT pg_is_in_recovery()") == "t"


def test_site_writes_such_parameters_and_takes_them_back(spare: Site) -> None:
    """What a standby's sessions inherit has to leave the next runs able to look, to prove and to revert."""
    hostile = {name: value for name, value in HOSTILE.items() if name != "client_encoding"}
    spare.variables["parameters"] = {**hostile, "idle_session_timeout": "300", "transaction_timeout": "100"}
    spare.converge()
    spare.settled()
    # Only this one is refused before a change of roles: the new primary would not write.
    spare.variables["parameters"].pop("default_transaction_read_only")
    spare.converge()
    assert spare["pg2"].setting("default_transaction_read_only") == "off"
    spare.played("switchover.yml", "-e", "pgtandem_target=pg2")
    assert quietly(spare["pg1"], "SELECT pg_is_in_recovery()") == "t"
