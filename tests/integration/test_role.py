# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_replication_role on real servers."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Target, identify_system
from conftest import BIN_DIRECTORIES, SERVERS, Cluster, MakeCluster, MakeFolder, Task, run_module, run_tasks

MODULE = "pg_replication_role"
PASSWORDS = [
    "it's", 'dou"ble', "back\\slash\\", "co:lon", "per%cent %s %%", "ha#sh", "dol$$lar $1", "{{ braces }} {% x %}",
    " blanks ", "päß 日本", "\ufb01n\u00a0\u200b\U0001f600", "tab\tbed", "' \" \\ : % # $ {{ }}", "x" * 202,
]  # fmt: skip
METHODS = ("scram-sha-256", "md5")


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, make_cluster: MakeCluster) -> Cluster:
    return make_cluster(request.param, password_encryption="scram-sha-256")


@pytest.fixture(scope="module")
def embedded(make_cluster: MakeCluster) -> Cluster:
    return make_cluster("embedded", password_encryption="scram-sha-256")


def task(cluster: Cluster, *, check: bool = False, diff: bool = False, **options: t.Any) -> Task:
    return Task(MODULE, {**cluster.options, **options}, check, diff)


def stored(cluster: Cluster, role: str) -> str:
    return cluster.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")


def attributes(cluster: Cluster, role: str) -> str:
    return cluster.psql(
        "SELECT rolcanlogin, rolreplication, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolconnlimit, "
        f"coalesce(rolvaliduntil, 'infinity') FROM pg_authid WHERE rolname = '{role}'"
    )


def log_in(cluster: Cluster, role: str, password: str) -> None:
    assert identify_system(Target("127.0.0.1", cluster.port, role, password)).timeline >= 1


@pytest.mark.parametrize("method", METHODS)
def test_every_password_works_and_stays_secret(server: Cluster, method: str) -> None:
    server.psql(f"ALTER SYSTEM SET password_encryption = '{method}'")
    server.reload()
    roles = [f"r {method} {number} %s" for number in range(len(PASSWORDS))]
    wanted = [{"name": role, "password": password} for role, password in zip(roles, PASSWORDS)]
    first = run_tasks([task(server, diff=True, **options) for options in wanted])
    assert [result["changed"] for result in first] == [True] * len(roles), first.output
    verifiers = [stored(server, role) for role in roles]
    prefix = {"md5": "md5", "scram-sha-256": "SCRAM-SHA-256$"}[method]
    assert all(verifier.startswith(prefix) for verifier in verifiers)
    for role, password in zip(roles, PASSWORDS):
        log_in(server, role, password)
        with pytest.raises(DatabaseError):
            log_in(server, role, password + "x")
    # Each in check mode or for real, in turn.
    second = run_tasks([task(server, check=bool(n % 2), diff=True, **options) for n, options in enumerate(wanted)])
    assert not any(result["changed"] or result["failed"] for result in second)
    assert [stored(server, role) for role in roles] == verifiers
    log = server.log()
    assert "pg_authid" in log  # the server does log statements
    for place in (first.output, second.output, log):
        for secret in PASSWORDS + verifiers:
            assert secret not in place
            assert secret.replace("\\", "\\\\").replace('"', '\\"') not in place
    assert "********" in first[0]["queries"][0]


@pytest.mark.same_on_every_version
def test_check_run_check_run(server: Cluster) -> None:
    options = {"name": "four", "password": "secret 4", "connection_limit": 3, "valid_until": "2037-12-31 12:00:00+02"}
    check, run, check_again, run_again = run_tasks(
        [task(server, check=check, diff=True, **options) for check in (True, False, True, False)]
    )
    assert check["changed"] and run["changed"]
    assert check["diff"] == run["diff"]
    assert check["actions"] == run["actions"] and check["queries"] == run["queries"]
    assert not check_again["changed"] and not run_again["changed"]
    assert run_again["diff"]["before"] == run_again["diff"]["after"]
    assert attributes(server, "four").startswith("t|t|f|f|f|f|3|2037-12-31 ")
    assert run["role"] == run_again["role"]


@pytest.mark.same_on_every_version
def test_a_new_role_names_others_that_may_log_in_for_replication(server: Cluster) -> None:
    server.psql("CREATE ROLE the_old_one LOGIN REPLICATION")
    try:
        tasks = [Task(MODULE, {**server.options, "name": "the_new_one", "password": "x"}) for _turn in range(2)]
        made, again = run_tasks(tasks)
        assert made["changed"] and "the_old_one may log in" in " ".join(made["warnings"]), made
        assert not again["changed"] and not again.get("warnings"), again
    finally:
        server.psql("DROP ROLE the_old_one; DROP ROLE IF EXISTS the_new_one")


def test_only_what_differs_is_altered_and_nothing_more_is_granted(server: Cluster) -> None:
    server.psql("DROP ROLE IF EXISTS plain; CREATE ROLE plain NOLOGIN CREATEDB CONNECTION LIMIT 7 PASSWORD 'secret 5'")
    before = stored(server, "plain")
    first, second, third, fourth = run_tasks(
        [
            task(server, name="plain", password="secret 5"),
            task(server, name="plain", password="secret 5", valid_until="infinity", connection_limit=-1),
            task(server, name="plain", password="another", update_password="on_create"),
            task(server, name="plain"),
        ]
    )
    assert first["queries"] == ['ALTER ROLE "plain" LOGIN REPLICATION']
    assert "CREATEDB" in first["warnings"][0]
    assert second["queries"] == ['ALTER ROLE "plain" CONNECTION LIMIT -1']
    assert not third["changed"] and not fourth["changed"]
    assert stored(server, "plain") == before
    assert attributes(server, "plain") == "t|t|f|f|t|f|-1|infinity"


def test_md5_becomes_scram_and_scram_stays(server: Cluster) -> None:
    server.psql("ALTER SYSTEM SET password_encryption = 'scram-sha-256'")
    server.reload()
    server.psql("SET password_encryption = 'md5'; CREATE ROLE old LOGIN REPLICATION PASSWORD 'secret 6'")
    check, run, again = run_tasks(
        [task(server, name="old", password="secret 6", check=check) for check in (True, False, False)]
    )
    assert check["changed"] and run["changed"] and not again["changed"]
    assert stored(server, "old").startswith("SCRAM-SHA-256$")
    server.psql("ALTER SYSTEM SET password_encryption = 'md5'")
    server.reload()
    assert not run_module(MODULE, {**server.options, "name": "old", "password": "secret 6"})["changed"]
    log_in(server, "old", "secret 6")


@pytest.mark.same_on_every_version
def test_absent_refuses_what_would_be_lost(server: Cluster) -> None:
    server.psql("CREATE ROLE owner LOGIN; CREATE ROLE granted; CREATE ROLE free REPLICATION; CREATE TABLE seen_by ()")
    server.psql("CREATE TABLE owned (); ALTER TABLE owned OWNER TO owner; GRANT SELECT ON seen_by TO granted")
    server.psql("GRANT owner TO free")
    server.psql("CREATE DATABASE elsewhere OWNER granted")
    results = run_tasks(
        [
            task(server, name=name, state="absent", check=check)
            for name in ("owner", "granted", server.superuser, "free", "never-there")
            for check in (True, False)
        ]
    )
    owner, granted, own, free, never = (results[number : number + 2] for number in range(0, 10, 2))
    for result in owner:
        assert result["failed"] and "owner of table public.owned" in result["msg"]
    for result in granted:
        assert "owner of database elsewhere" in result["msg"] and "privileges for table public.seen_by" in result["msg"]
    for result in own:
        assert result["failed"]
    assert [result["changed"] for result in free + never] == [True, True, False, False]
    assert server.psql("SELECT count(*) FROM pg_roles WHERE rolname IN ('owner', 'granted', 'free')") == "2"


@pytest.mark.same_on_every_version
def test_objects_in_another_database_count_too(server: Cluster) -> None:
    server.psql("CREATE ROLE far")
    server.psql("CREATE DATABASE faraway")
    server.psql("CREATE TABLE t1 (); ALTER TABLE t1 OWNER TO far", dbname="faraway")
    result = run_module(MODULE, {**server.options, "name": "far", "state": "absent"})
    assert result["failed"] and "1 objects in database faraway" in result["msg"]


@pytest.mark.same_on_every_version
def test_bad_input_is_refused_and_nothing_changed(server: Cluster) -> None:
    results = run_tasks(
        [
            task(server, name="bad", password=""),
            task(server, name="bad", password="geheim\nx"),
            task(server, name="bad", valid_until="someday"),
            task(server, name="pg_bad"),
        ]
    )
    assert [result["failed"] for result in results] == [True] * 4, results
    assert "geheim" not in results.output
    assert "someday" in results[2]["msg"] and "2030-12-31" in results[2]["msg"]
    assert server.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE '%bad'") == "0"


def test_a_standby_is_only_looked_at_and_its_role_not_dropped(
    server: Cluster, make_cluster: MakeCluster, make_folder: MakeFolder
) -> None:
    server.psql("ALTER SYSTEM SET password_encryption = 'scram-sha-256'")
    server.reload()
    assert run_module(MODULE, {**server.options, "name": "both", "password": "secret 7"})["changed"]
    copy = make_cluster.adopt(server.standby(make_folder()))  # type: ignore[attr-defined]
    copy.start()
    same, other, gone, missing, never = run_tasks(
        [
            task(copy, name="both", password="secret 7"),
            task(copy, name="both", password="other"),
            task(copy, name="both", state="absent", check=True),
            task(copy, name="new", password="other"),
            task(copy, name="never", state="absent"),
        ]
    )
    assert not same["changed"] and not same["failed"]
    assert not never["changed"] and not never["failed"]
    for result in (other, gone, missing):
        assert result["failed"] and "standby" in result["msg"] and "primary" in result["msg"]
    # The copy follows as the superuser; dropping the role of a live WAL sender is refused by name.
    result = run_module(MODULE, {**server.options, "name": server.superuser, "state": "absent"})
    assert "WAL sender" in result["msg"] and "copy" in result["msg"]


def test_an_unmet_synchronous_standby_does_not_hold_the_role_up(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("embedded", synchronous_standby_names="nobody_yet", password_encryption="scram-sha-256")
    assert run_module(MODULE, {**cluster.options, "name": "replica", "password": "secret 8"})["changed"]


@pytest.mark.parametrize("server", SERVERS)
def test_what_was_made_for_pg_rewind_is_removed(make_cluster: MakeCluster, server: str) -> None:
    cluster = make_cluster(server)
    made, checked, gone, again = run_tasks(
        [
            task(cluster, name="replica", password="secret 13", rewind=True),
            task(cluster, name="replica", state="absent", check=True),
            task(cluster, name="replica", state="absent"),
            task(cluster, name="replica", state="absent"),
        ]
    )
    assert made["changed"] and checked["changed"] and gone["changed"] and not again["changed"]
    assert checked["queries"] == gone["queries"] and gone["queries"][-1].startswith("DROP ROLE")
    assert cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'replica'") == "0"


def test_a_role_without_a_password_needs_no_superuser(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("embedded", password_encryption="scram-sha-256")
    cluster.psql("CREATE ROLE maker LOGIN CREATEROLE REPLICATION PASSWORD 'secret 14'")
    rules = "local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n"
    (cluster.data_directory / "pg_hba.conf").write_text(rules, encoding="utf-8")
    cluster.reload()
    login = {
        "login_host": "127.0.0.1",
        "login_port": cluster.port,
        "login_user": "maker",
        "login_password": "secret 14",
    }
    made, again, compared = run_tasks(
        [
            task(cluster, name="plain", **login),
            task(cluster, name="plain", **login),
            task(cluster, name="plain", password="secret 15", **login),
        ]
    )
    assert made["changed"] and not made["failed"], made
    assert not again["changed"] and not again["failed"], again
    assert compared["failed"] and "superuser" in compared["msg"]


def test_a_server_in_sql_ascii(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("embedded", "--encoding=SQL_ASCII", "--locale=C", password_encryption="scram-sha-256")
    first, second = run_tasks([task(cluster, name="rößle", password="päß \ufb01")] * 2)
    assert first["changed"] and not second["changed"] and not second["failed"]
    log_in(cluster, "rößle", "päß \ufb01")


def test_a_server_that_does_not_run(make_cluster: MakeCluster, make_folder: MakeFolder) -> None:
    stopped = make_cluster("embedded", start=False)
    bare = {**stopped.options, "data_directory": str(make_folder() / "data")}
    check, run, bare_check, bare_run, bare_absent = run_tasks(
        [
            task(stopped, name="replica", password="secret 9", check=True, diff=True),
            task(stopped, name="replica", password="secret 9"),
            Task(MODULE, {**bare, "name": "replica", "password": "secret 9"}, check=True),
            Task(MODULE, {**bare, "name": "replica", "password": "secret 9"}),
            Task(MODULE, {**bare, "name": "replica", "state": "absent"}, check=True),
        ]
    )
    for result in (check, bare_check):
        assert result["changed"] and result["role"]["exists"] and "No server runs" in result["warnings"][0]
    for result in (run, bare_run):
        assert result["failed"] and "No server runs" in result["msg"]
    assert not bare_absent["changed"] and not bare_absent["failed"]


def test_logins_over_tcp_and_too_weak_ones(embedded: Cluster) -> None:
    embedded.psql("CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'secret 10'; CREATE ROLE weak LOGIN PASSWORD 'secret 10'")
    over_tcp = {"login_host": "127.0.0.1", "login_port": embedded.port, "login_password": "secret 10"}
    boss, weak, wrong, nowhere = run_tasks(
        [
            task(embedded, name="tcp", password="secret 11", **{**over_tcp, "login_user": "boss"}),
            task(embedded, name="tcp", password="secret 12", **{**over_tcp, "login_user": "weak"}),
            task(embedded, name="tcp", **{**over_tcp, "login_user": "boss", "login_password": "wrong"}),
            task(embedded, name="tcp", check=True, **{**over_tcp, "login_user": "boss", "login_password": "wrong"}),
        ]
    )
    assert boss["changed"]
    assert weak["failed"] and "superuser" in weak["msg"]
    assert wrong["failed"] and "password authentication failed" in wrong["msg"]
    assert nowhere["failed"]
    log_in(embedded, "tcp", "secret 11")


#: Where a package of Debian's has put the library, or unpacked beside it for a trial.
_AUDIT = os.environ.get("PGTANDEM_TEST_PGAUDIT", "")


def test_no_verifier_is_in_statistics_or_audits(make_cluster: MakeCluster, programs: t.Callable[[str], Path]) -> None:
    """What watches a server's statements sees neither the password nor what it is stored as."""
    servers = [name for name in ("15", "13", "embedded") if name in BIN_DIRECTORIES]
    for name in servers:
        done = subprocess.run(
            [programs(name) / "pg_config", "--pkglibdir"], check=False, capture_output=True, text=True
        )
        if (Path(done.stdout.strip()) / "pg_stat_statements.so").exists():
            break
    else:
        pytest.skip("no server here has pg_stat_statements")
    libraries = "pg_stat_statements" + (f", {_AUDIT}" if _AUDIT else "")
    server = make_cluster(name, shared_preload_libraries=libraries, **({"pgaudit.log": "all"} if _AUDIT else {}))
    server.psql("CREATE EXTENSION pg_stat_statements; CREATE ROLE watched PASSWORD 'unwatched 1'")
    ran = run_tasks([task(server, name="watched", password="watched 2")])
    assert ran[0]["changed"], ran.output
    seen = server.psql("SELECT query FROM pg_stat_statements") + server.psql("SELECT query FROM pg_stat_activity")
    assert "CREATE ROLE watched" in seen  # it does record statements of this kind
    for place in (seen, server.log(), ran.output):
        assert "watched 2" not in place and stored(server, "watched") not in place
    assert "AUDIT:" in server.log() or not _AUDIT
