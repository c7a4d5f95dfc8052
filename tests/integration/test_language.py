# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and hosts that speak German: nothing is decided by words.

glibc translates for LANGUAGE in any locale but C and POSIX, so that the host needs no German locale.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from conftest import BIN_DIRECTORIES, Cluster, MakeCluster, Task, run_tasks
from site_runs import wait_until

pytestmark = pytest.mark.skipif(
    "15" not in BIN_DIRECTORIES or not Path("/usr/share/locale/de/LC_MESSAGES/postgres-15.mo").exists(),
    reason="PostgreSQL 15 with translations is not installed",
)


@pytest.fixture(scope="module")
def german(make_cluster: MakeCluster) -> Cluster:
    cluster = make_cluster("15", start=False, lc_messages="C.UTF-8")
    start(cluster)
    with pytest.raises(AssertionError, match="FEHLER"):
        cluster.psql("SELECT 1/0")
    return cluster


def start(cluster: Cluster) -> None:
    words = ("-w", "-s", "-D", cluster.data_directory, "-l", cluster.log_file)
    cluster.run("pg_ctl", *words, "start", LANGUAGE="de")


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_library_of_sessions_that_is_not_there(german: Cluster, host: str) -> None:
    german.psql("DROP ROLE IF EXISTS boss; CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'geheim'")
    german.psql("ALTER ROLE boss SET session_preload_libraries = 'nirgends'")
    hba = german.data_directory / "pg_hba.conf"
    hba.write_text("local all boss md5\n" + hba.read_text(), encoding="utf-8")
    german.reload()
    login = {"login_user": "boss", "login_password": "geheim", "login_host": host, "login_port": german.port}
    (result,) = run_tasks([Task("pg_checkpoint", {**german.options, **login})])
    assert not result.get("failed"), result["msg"]


def test_the_remedy_of_a_login_for_replication(german: Cluster) -> None:
    upstream: dict[str, t.Any] = {"upstream_host": "127.0.0.1", "replication_user": "nowhere"}
    hba = german.data_directory / "pg_hba.conf"
    hba.write_text("local all all peer\nhost all all 127.0.0.1/32 md5\n", encoding="utf-8")
    german.reload()
    wait_until(lambda: "host" in german.psql("SELECT type FROM pg_hba_file_rules"), "the rules")
    unruled, absent = run_tasks(
        [
            Task("pg_replication_login", {**german.options, **upstream, "upstream_port": german.port}),
            Task("pg_replication_login", {**german.options, **upstream, "upstream_port": 1}),
        ]
    )
    assert "pg_hba.conf has no rule" in unruled["msg"]
    assert "listen_addresses" in absent["msg"]


def test_parameters_are_judged_in_english(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = make_cluster("15")
    monkeypatch.setenv("LANGUAGE", "de")
    asked = {"parameters": {"lc_messages": "C.UTF-8", "max_connections": "0", "work_mem": "quatsch"}}
    wrong = {"parameters": {"lc_messages": "nowhere_to_be_found"}}
    first, second = run_tasks([Task("pg_instance", {**cluster.options, **more}, True) for more in (asked, wrong)])
    assert "outside the valid range" in first["msg"] and "work_mem" in first["msg"]
    assert "lc_messages" in second["msg"] and "nowhere_to_be_found" in second["msg"]
