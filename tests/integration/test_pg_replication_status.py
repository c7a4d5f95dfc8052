# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pg_replication_status against real servers of every version that this machine has."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import typing as t

import pytest
import yaml
from status_cluster import Cluster, Node, major_of, server_folders

Result = t.Dict[str, t.Any]

FOLDERS = {major_of(folder): folder for folder in server_folders()}
MODULE = "ansible_collections.pgtandem.replication.plugins.modules.pg_replication_status"


def run(options: dict[str, object], *, check_mode: bool = False, without: str = "") -> Result:
    """Run the module as Ansible would, in a process of its own; C(without) makes imports fail, comma between."""
    arguments = dict(options, _ansible_check_mode=check_mode, _ansible_remote_tmp="/tmp")
    program = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({without.split(',')!r})) if {without!r} else None; "
        f"runpy.run_module({MODULE!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
        check=False,
    )
    assert done.stdout, done.stderr
    return t.cast(Result, json.loads(done.stdout))


class Pair(t.NamedTuple):
    cluster: Cluster
    primary: Node
    standby: Node


@pytest.fixture(scope="module", params=sorted(FOLDERS, key=int))
def pair(request: pytest.FixtureRequest) -> t.Iterator[Pair]:
    cluster = Cluster(FOLDERS[request.param])
    try:
        primary = cluster.primary()
        cluster.sql(primary, "SELECT pg_create_physical_replication_slot('pg2', true)")
        standby = cluster.standby(primary, "pg2", primary_slot_name="pg2")
        yield Pair(cluster, primary, standby)
    finally:
        cluster.close()


@pytest.fixture
def cluster() -> t.Iterator[Cluster]:
    """The newest version, for what is the same in all."""
    made = Cluster(FOLDERS[max(FOLDERS, key=int)])
    yield made
    made.close()


def shape(value: t.Any) -> t.Any:
    """The keys of a result, all the way down."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return None


def documented() -> dict[str, t.Any]:
    page = yaml.safe_load(importlib.import_module(MODULE).RETURN)
    return t.cast("dict[str, t.Any]", page["replication"])


def differences(page: t.Mapping[str, t.Any], value: t.Any, place: str = "replication") -> t.Iterator[str]:
    """Keys that only the documentation or only the result has, all the way down, as far as it lists them."""
    if isinstance(value, list):
        for item in value:
            yield from differences(page, item, f"{place}[]")
    elif isinstance(value, dict) and "contains" in page:
        yield from (f"{place}.{name}" for name in sorted(set(page["contains"]) ^ set(value)))
        for name in set(page["contains"]) & set(value):
            yield from differences(page["contains"][name], value[name], f"{place}.{name}")


def test_results_have_the_keys_of_the_documentation(pair: Pair) -> None:
    """On a primary, a standby, a stopped server and where there is none."""
    cluster, primary, standby = pair
    seen = {
        "primary": run(dict(cluster.options(primary))),
        "standby": run(dict(cluster.options(standby), timeout=20, expect={"streaming": True})),
        "absent": run(dict(cluster.options(primary), data_directory=f"{primary.directory}-nothing", port=1)),
    }
    cluster.stop(standby)
    try:
        seen["stopped"] = run(dict(cluster.options(standby)))
    finally:
        cluster.start(standby)
    assert seen["standby"]["replication"]["wal_receiver"] and seen["primary"]["replication"]["wal_senders"]
    assert seen["stopped"]["replication"]["control"]["state"] == "shut down in recovery"
    for state, result in seen.items():
        assert "replication" in result, (state, result)
        assert list(differences(documented(), result["replication"])) == [], state


def test_both_sides_name_each_other(pair: Pair) -> None:
    """A written position is replayed; rows and processes of both sides belong together."""
    cluster, primary, standby = pair
    written = run(
        dict(cluster.options(primary), write_position=True, timeout=20, expect={"role": "primary", "standbys": ["pg2"]})
    )
    assert (written.get("msg"), written["changed"], written["unmet"]) == (None, False, [])
    seen = written["replication"]
    replayed = run(
        dict(
            cluster.options(standby),
            timeout=20,
            expect={
                "role": "standby",
                "streaming": True,
                "timeline": seen["timeline"],
                "upstream": {"host": "127.0.0.1", "port": primary.port},
                "replayed_lsn": seen["written_lsn"],
                "maximum_lag_seconds": 0,
            },
        )
    )
    assert (replayed.get("msg"), replayed["changed"]) == (None, False)
    receiver = replayed["replication"]["wal_receiver"]
    assert f"streaming {seen['timeline'] - 1}/" in receiver["process"]
    port = receiver["local_port"]
    back = run(dict(cluster.options(primary), expect={"receiver_port": port, "sync_state": "async"}))
    assert back.get("msg") is None
    (sender,) = back["replication"]["wal_senders"]
    assert (sender["client_port"], sender["client_addr"], sender["slot_name"]) == (port, "127.0.0.1", "pg2")
    assert f"127.0.0.1({port}) streaming" in sender["process"]
    assert shape(seen["settings"]) == shape(replayed["replication"]["settings"])
    assert seen["system_identifier"] == replayed["replication"]["system_identifier"]
    assert replayed["replication"]["replay"]["lag_bytes"] == 0


def test_a_copy_does_not_stand_for_the_standby_of_its_name(pair: Pair) -> None:
    """pg_basebackup connects twice by that name, and reports no position of replay."""
    cluster, primary, _standby = pair
    target = cluster.root / "copy"
    login = f"host=127.0.0.1 port={primary.port} user=postgres application_name=pg2"
    command = (cluster.clients / "pg_basebackup", "-D", target, "-d", login, "-X", "stream", "-c", "fast")
    copying = threading.Thread(target=lambda: cluster.run(*command, "--max-rate=32k", check=False))
    copying.start()
    try:
        cluster.until(primary, "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg2'", "3")
        expect = {"standbys": ["pg2"], "written_replayed": True, "maximum_lag_bytes": 1024 * 1024}
        seen = run(dict(cluster.options(primary), write_position=True, timeout=20, expect=expect))
    finally:
        cluster.sql(primary, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE state = 'backup'")
        copying.join()
    assert seen.get("msg") is None
    rows = sorted((row["state"], row["replay_lsn"] is not None) for row in seen["replication"]["wal_senders"])
    assert rows == [("backup", False), ("streaming", False), ("streaming", True)]


def test_it_agrees_with_psql(pair: Pair) -> None:
    cluster, primary, _standby = pair
    seen = run(cluster.options(primary))["replication"]
    assert seen["major"] == str(cluster.major)
    assert seen["settings"]["max_wal_senders"] == cluster.sql(primary, "SHOW max_wal_senders")
    assert seen["system_identifier"] == cluster.sql(primary, "SELECT system_identifier FROM pg_control_system()")
    (slot,) = seen["slots"]
    assert slot["active"] is True
    assert slot["retained_bytes"] >= 0
    assert (slot["wal_status"] is None) == (cluster.major < 13)
    assert {"walsender", None} == {process["part"] for process in seen["processes"]}


def test_a_stopped_standby_is_told_from_its_files(pair: Pair) -> None:
    cluster, primary, standby = pair
    cluster.stop(standby)
    try:
        result = run(cluster.options(standby))
        seen = result["replication"]
        assert result.get("msg") is None
        assert (seen["running"], seen["accepts_connections"], seen["role"]) == (False, False, "standby")
        assert seen["control"]["state"] == "shut down in recovery"
        assert seen["data_directory"]["state"] == "standby"
        assert seen["upstream"] == {"host": "127.0.0.1", "port": primary.port}
        failed = run(dict(cluster.options(standby), expect={"state": ["running"]}))
        assert "the server is stopped, expected running" in failed["msg"]
        assert shape(failed["replication"]) == shape(seen)
    finally:
        cluster.start(standby)


def test_check_mode_writes_nothing(pair: Pair) -> None:
    cluster, primary, _standby = pair
    before = cluster.sql(primary, "SELECT pg_current_wal_lsn()")
    seen = run(dict(cluster.options(primary), write_position=True), check_mode=True)["replication"]
    assert seen["written_lsn"] == seen["positions"]["current"]
    assert cluster.sql(primary, f"SELECT '{seen['written_lsn']}'::pg_lsn >= '{before}'::pg_lsn") == "t"


def test_a_promoted_standby_has_a_history(cluster: Cluster) -> None:
    primary = cluster.primary()
    standby = cluster.standby(primary, "pg2")
    run(dict(cluster.options(standby), timeout=20, expect={"streaming": True}))
    cluster.promote(standby)
    seen = run(dict(cluster.options(standby), timeout=20, expect={"role": "primary", "timeline": 2}))
    assert seen.get("msg") is None
    assert [row["timeline"] for row in seen["replication"]["timeline_history"]] == [1]
    assert seen["replication"]["upstream"] is None


CAUSES = [
    pytest.param({"port": "1"}, "Connection refused", "nothing listens there", id="refused"),
    pytest.param({"host": "no-such-host.invalid"}, "could not translate host name", "does not resolve", id="name"),
    pytest.param({"user": "nobody_here"}, 'role "nobody_here" does not exist', "pg_replication_role", id="role"),
    pytest.param({"user": "plain"}, "permission denied to start WAL sender", "lacks REPLICATION", id="no right"),
    pytest.param({"slot": "none"}, 'replication slot "none" does not exist', "create that physical slot", id="slot"),
    pytest.param({"hba": "reject"}, "pg_hba.conf rejects", "has no rule for this address", id="rejected"),
    pytest.param({"hba": "scram-sha-256"}, "no password supplied", "there was no password", id="no password"),
    pytest.param(
        {"hba": "scram-sha-256", "password": "wrong"},
        "password authentication failed",
        "does not accept",
        id="password",
    ),
]


@pytest.mark.parametrize(("wrong", "words", "remedy"), CAUSES)
def test_the_log_names_the_cause(cluster: Cluster, wrong: dict[str, str], words: str, remedy: str) -> None:
    primary = cluster.primary()
    cluster.sql(primary, "CREATE ROLE plain LOGIN PASSWORD 'right'")
    conninfo = {"host": "127.0.0.1", "port": str(primary.port), "user": "postgres"}
    conninfo.update({name: value for name, value in wrong.items() if name in ("host", "port", "user", "password")})
    if "hba" in wrong:
        rules = primary.directory / "pg_hba.conf"
        rules.write_text(f"host replication all all {wrong['hba']}\n" + rules.read_text())
        cluster.sql(primary, "ALTER ROLE postgres PASSWORD 'right'")
        cluster.sql(primary, "SELECT pg_reload_conf()")
    settings = {"primary_conninfo": " ".join(f"{name}={value}" for name, value in conninfo.items())}
    if "slot" in wrong:
        settings["primary_slot_name"] = wrong["slot"]
    standby = cluster.standby(primary, "pg2", **settings)
    cluster.until_logged(standby, words)
    failed = run(dict(cluster.options(standby), timeout=0.3, expect={"streaming": True, "role": "standby"}))
    assert failed["failed"]
    assert "there is no WAL receiver" in failed["msg"] or "the WAL receiver's status is" in failed["msg"]
    assert words in failed["log_line"]
    assert remedy in failed["msg"]
    assert "password=wrong" not in json.dumps(failed["replication"]) + failed["msg"]
    assert failed["replication"]["role"] == "standby"


@pytest.mark.flaky(reruns=2, reason="a server calls the moment of a vain attempt streaming")
def test_a_diverged_standby_does_not_stream(cluster: Cluster) -> None:
    primary = cluster.primary()
    ahead = cluster.standby(primary, "pg2")
    behind = cluster.standby(primary, "pg3")
    cluster.stop(behind)
    cluster.promote(ahead)
    # The old primary goes on by itself, and its standby follows it beyond the fork.
    cluster.start(behind)
    cluster.sql(primary, "CREATE TABLE lost AS SELECT generate_series(1, 1000)")
    run(dict(cluster.options(behind), timeout=20, expect={"streaming": True, "maximum_lag_bytes": 0}))
    cluster.stop(behind)
    with open(behind.directory / "postgresql.conf", "a", encoding="utf-8") as stream:
        stream.write(f"primary_conninfo = 'host=127.0.0.1 port={ahead.port} user=postgres application_name=pg3'\n")
    cluster.start(behind)
    cluster.until_logged(behind, "forked off current database system timeline")
    failed = run(dict(cluster.options(behind), timeout=0.3, expect={"streaming": True}))
    assert failed["failed"]
    assert "have diverged" in failed["msg"]


def test_removed_wal_is_told(cluster: Cluster) -> None:
    primary = cluster.primary()
    standby = cluster.standby(primary, "pg2")
    run(dict(cluster.options(standby), timeout=20, expect={"streaming": True}))
    cluster.stop(standby)
    for _unused in range(3):
        cluster.sql(primary, "SELECT pg_logical_emit_message(true, 'pgtandem', 'x')")
        cluster.sql(primary, "SELECT pg_switch_wal()")
    cluster.sql(primary, "CHECKPOINT")
    cluster.sql(primary, "CHECKPOINT")
    cluster.start(standby)
    cluster.until_logged(standby, "has already been removed")
    failed = run(dict(cluster.options(standby), timeout=0.3, expect={"streaming": True}))
    assert "has already been removed" in failed["log_line"]
    assert "seed the standby again" in failed["msg"]


def test_synchronous_standby(cluster: Cluster) -> None:
    """Writing a position does not wait for the very standby that is to be asked about it."""
    primary = cluster.primary()
    standby = cluster.standby(primary, "pg2")
    cluster.sql(primary, "ALTER SYSTEM SET synchronous_standby_names = 'pg2'")
    cluster.sql(primary, "SELECT pg_reload_conf()")
    good = run(dict(cluster.options(primary), timeout=20, expect={"sync_state": "sync", "standbys": ["pg2"]}))
    assert good.get("msg") is None
    cluster.stop(standby)
    seen = run(dict(cluster.options(primary), write_position=True))["replication"]
    assert seen["written_lsn"] is not None
    assert seen["settings"]["synchronous_commit"] == "on"
    failed = run(dict(cluster.options(primary), expect={"standbys": ["pg2"]}))
    assert "the standby 'pg2' has no WAL sender here (there are: none)" in failed["msg"]


def test_pending_restart_and_stale_settings(cluster: Cluster) -> None:
    primary = cluster.primary()
    cluster.sql(primary, "ALTER SYSTEM SET max_connections = 123")
    cluster.sql(primary, "ALTER SYSTEM SET primary_conninfo = 'host=old password=geheim user=u'")
    cluster.sql(primary, "SELECT pg_reload_conf()")
    cluster.until(primary, "SELECT count(*) FROM pg_settings WHERE pending_restart", "1")
    result = run(cluster.options(primary))
    seen = result["replication"]
    assert seen["pending_restart"] == ["max_connections"]
    assert [(row["name"], row["value"]) for row in seen["stale_settings"]] == [
        ("primary_conninfo", "host=old password=*** user=u")
    ]
    assert "geheim" not in json.dumps(result)


def test_without_a_driver_files_and_processes_tell(cluster: Cluster) -> None:
    primary = cluster.primary()
    seen = run(cluster.options(primary), without="psycopg,psycopg2")["replication"]
    assert (seen["running"], seen["accepts_connections"], seen["role"]) == (True, None, "primary")
    assert "neither psycopg nor psycopg2" in seen["database_error"]
    assert seen["control"]["state"] == "in production"
    assert seen["host"]["psycopg"] is None
    assert len(seen["processes"]) > 3


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_both_drivers_see_the_same(cluster: Cluster, driver: str) -> None:
    pytest.importorskip(driver)
    primary = cluster.primary()
    cluster.standby(primary, "pg2")
    other = {"psycopg": "psycopg2", "psycopg2": "psycopg"}[driver]
    result = run(dict(cluster.options(primary), timeout=20, expect={"standbys": ["pg2"]}), without=other)
    assert result.get("msg") is None
    assert result["replication"]["host"]["psycopg"] == driver


def test_a_server_that_lets_nobody_in(cluster: Cluster) -> None:
    primary = cluster.primary()
    seen = run(dict(cluster.options(primary), login_user="stranger"))["replication"]
    assert (seen["running"], seen["accepts_connections"], seen["role"]) == (True, False, "primary")
    assert 'role "stranger" does not exist' in seen["database_error"]
    assert seen["control"]["system_identifier"] == seen["system_identifier"]


def test_a_role_without_rights_gets_nulls(cluster: Cluster) -> None:
    primary = cluster.primary()
    cluster.sql(primary, "CREATE ROLE plain LOGIN")
    seen = run(dict(cluster.options(primary), login_user="plain"))["replication"]
    assert (seen["accepts_connections"], seen["role"]) == (True, "primary")
    assert seen["settings"]["hba_file"] is None


def test_roles_with_md5_passwords_are_told(pair: Pair) -> None:
    cluster, primary, _standby = pair
    weak = f"CREATE ROLE weak LOGIN REPLICATION PASSWORD 'md5{'0' * 32}'"
    cluster.sql(primary, weak + "; CREATE ROLE bare LOGIN REPLICATION")
    try:
        seen = run(cluster.options(primary))["replication"]
        # It was the default before.
        assert seen["md5_roles"] == (["weak"] if cluster.major >= 14 else None)
        assert run(dict(cluster.options(primary), login_user="bare"))["replication"]["md5_roles"] is None
    finally:
        cluster.sql(primary, "DROP ROLE weak; DROP ROLE bare")


def test_an_address_of_another_server_is_noticed(cluster: Cluster) -> None:
    primary = cluster.primary()
    other = cluster.standby(primary, "pg2")
    seen = run(dict(cluster.options(primary), login_host="127.0.0.1", login_port=other.port))["replication"]
    assert seen["accepts_connections"] is False
    assert "Correct login_host" in seen["database_error"]
    assert seen["role"] == "primary"


PLACES = [
    pytest.param({"bin_directory": "/nonexistent", "data_directory": "/nonexistent/data"}, None, id="no PostgreSQL"),
    pytest.param({"data_directory": "/nonexistent/data"}, "absent", id="no data directory"),
    pytest.param({"data_directory": "/usr"}, "foreign", id="somebody's files"),
    pytest.param({"data_directory": "/etc/passwd"}, "foreign", id="a file"),
]


@pytest.mark.parametrize(("place", "state"), PLACES)
def test_states_that_are_no_failure(place: dict[str, object], state: str | None) -> None:
    folder = FOLDERS[max(FOLDERS, key=int)]
    result = run({"layout": "custom", "bin_directory": str(folder), **place})
    seen = result["replication"]
    assert (result.get("msg"), result["changed"], result["unmet"]) == (None, False, [])
    assert (seen["data_directory"]["state"], seen["role"], seen["running"]) == (state, None, False)
    failed = run({"layout": "custom", "bin_directory": str(folder), **place, "expect": {"role": "standby"}})
    assert "there is no cluster that has a role, expected 'standby'" in failed["msg"]
    assert shape(failed["replication"]) == shape(seen)


def test_a_stale_pid_file_is_no_server(cluster: Cluster) -> None:
    primary = cluster.primary()
    saved = pathlib.Path(f"{primary.directory}.pid")
    shutil.copy(primary.directory / "postmaster.pid", saved)
    cluster.stop(primary)
    text = saved.read_text().splitlines(keepends=True)
    (primary.directory / "postmaster.pid").write_text("".join([f"{os.getpid()}\n", *text[1:]]))
    seen = run(cluster.options(primary))["replication"]
    assert (seen["running"], seen["postmaster"], seen["control"]["state"]) == (False, None, "shut down")
