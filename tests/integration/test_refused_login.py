# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The advice about a refused login fits its cause, whatever the server's language."""

from __future__ import annotations

import os
import signal
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._system.startup import REFUSED, Answer, ask
from conftest import SERVERS, Cluster, MakeCluster, MakeFolder, Task, run_tasks
from site_runs import wait_until

SET_LOGIN = "Set login_user"


def answer(cluster: Cluster, **said: t.Any) -> Answer:
    return ask("127.0.0.1", cluster.port, **{"user": cluster.superuser, "dbname": "postgres", **said})


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_says_why_without_words(make_cluster: MakeCluster, make_folder: MakeFolder, server: str) -> None:
    cluster = make_cluster(server, max_connections="5", superuser_reserved_connections="1", max_wal_senders="1")
    hba = cluster.data_directory / "pg_hba.conf"
    assert answer(cluster).asks
    hba.write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n", encoding="utf-8")
    cluster.reload()
    wait_until(lambda: answer(cluster).admits, "the rule")
    assert answer(cluster, dbname="nowhere").sqlstate == "3D000"
    assert answer(cluster, user="stranger").sqlstate == "28000"
    pid = int((cluster.data_directory / "postmaster.pid").read_text().split("\n")[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        assert answer(cluster, timeout=1.0).silent
    finally:
        os.kill(pid, signal.SIGCONT)
    cluster.run("pg_ctl", "-w", "-D", cluster.data_directory, "-s", "stop")
    assert answer(cluster) == Answer(failed=REFUSED)
    # A standby without hot_standby never lets anybody in.
    cluster.configure(hot_standby="off", restore_command="false")
    signal_file = Path(cluster.data_directory, "standby.signal")
    signal_file.touch()
    cluster.run("pg_ctl", "-W", "-D", cluster.data_directory, "-l", cluster.log_file, "-s", "start")
    wait_until(lambda: answer(cluster).sqlstate == "57P03", "the start")


def test_the_module_names_the_remedy_of_the_cause(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    results = run_tasks(
        [
            Task("pg_checkpoint", {**cluster.options, "login_db": "nowhere"}),
            Task("pg_checkpoint", {**cluster.options, "login_user": "stranger"}),
            Task("pg_checkpoint", {**cluster.options, "connect_params": {"sslmode": "nonsense"}}),
            Task(
                "pg_checkpoint",
                {
                    **cluster.options,
                    "login_host": "127.0.0.1",
                    "login_port": cluster.port,
                    "login_user": cluster.superuser,
                    "login_password": "wrong",
                },
            ),
        ]
    )
    assert "login_db" in results[0]["msg"] and SET_LOGIN not in results[0]["msg"]
    assert SET_LOGIN in results[1]["msg"]
    assert "connect_params" in results[2]["msg"] and SET_LOGIN not in results[2]["msg"]
    assert "login_password" in results[3]["msg"] and SET_LOGIN not in results[3]["msg"]


def test_a_server_that_starts_up_is_known_by_its_code(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.run("pg_ctl", "-w", "-D", cluster.data_directory, "-s", "stop")
    cluster.configure(hot_standby="off", restore_command="false")
    Path(cluster.data_directory, "standby.signal").touch()
    cluster.run("pg_ctl", "-W", "-D", cluster.data_directory, "-l", cluster.log_file, "-s", "start")
    wait_until(lambda: answer(cluster).sqlstate == "57P03", "the start")
    (result,) = run_tasks([Task("pg_replication_status", cluster.options)])
    seen = result["replication"]
    assert (seen["running"], seen["accepts_connections"], seen["database_sqlstate"]) == (True, False, "57P03")
