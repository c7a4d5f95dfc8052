# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process table: titles of every version, postmaster.pid, and this very process."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import Identity
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import (
    Connection,
    Postmaster,
    children_of,
    is_postmaster_of,
    listener_on,
    local_port_of,
    parse_postmaster_pid,
    parse_tcp_table,
    processes_with_open,
    replication_part,
)

# As ps printed them on servers of each version.
TITLES = [
    pytest.param("postgres: wal sender process postgres 127.0.0.1(36274) streaming 0/3000098", "walsender", id="10"),
    pytest.param("postgres: wal receiver process   streaming 0/3000098", "walreceiver", id="10 receiver"),
    pytest.param("postgres: startup process   recovering 000000010000000000000003", "startup", id="10 startup"),
    pytest.param("postgres: walsender postgres 127.0.0.1(38336) streaming 0/3000098", "walsender", id="12"),
    pytest.param("postgres: walreceiver   streaming 0/3000098", "walreceiver", id="12 receiver"),
    pytest.param("postgres: startup   recovering 000000010000000000000003", "startup", id="12 startup"),
    pytest.param("postgres: walreceiver streaming 0/3000098", "walreceiver", id="18 receiver"),
    pytest.param("postgres: startup waiting for 000000010000000000000003", "startup", id="18 without its WAL"),
    pytest.param("postgres: 15/main: walsender replica 10.0.0.2(53558) streaming 0/3", "walsender", id="cluster_name"),
    pytest.param("postgres: walsender replica [local] idle", "walsender", id="through a Unix socket"),
    pytest.param("postgres: walwriter", None, id="walwriter"),
    pytest.param("postgres: checkpointer", None, id="checkpointer"),
    pytest.param("postgres: logical replication launcher", None, id="launcher"),
    pytest.param("/usr/lib/postgresql/15/bin/postgres -D /data/walsender", None, id="postmaster"),
    pytest.param("grep walsender", None, id="not a server's"),
]


@pytest.mark.parametrize(("title", "part"), TITLES)
def test_replication_part(title: str, part: str | None) -> None:
    assert replication_part(title) == part


OWN = Identity(os.geteuid(), os.getegid(), ())

PIDS = [
    pytest.param(
        "31955\n/data\n1795366034\n52661\n/run/postgresql\n127.0.0.1\n  1234   0\nready   \n",
        Postmaster(31955, 52661, "/run/postgresql", "127.0.0.1", "ready", 1795366034),
        id="running",
    ),
    pytest.param(
        "31955\n/data\n1795366034\n5432\n\n*\n",
        Postmaster(31955, 5432, "", "*", "", 1795366034),
        id="without a Unix socket",
    ),
    pytest.param("31955\n/data\n1795366034\n", None, id="starting"),
    pytest.param("-31955\n/data\n1795366034\n0\n\n\n", None, id="single-user backend"),
    pytest.param("", None, id="empty"),
]


@pytest.mark.parametrize(("text", "expected"), PIDS)
def test_parse_postmaster_pid(text: str, expected: Postmaster | None) -> None:
    assert parse_postmaster_pid(text) == expected


def test_another_process_with_the_pid_is_no_server(tmp_path: pathlib.Path) -> None:
    assert is_postmaster_of(os.getpid(), os.getcwd(), identity=OWN)
    assert not is_postmaster_of(os.getpid(), str(tmp_path), identity=OWN)


def test_a_dead_pid_is_no_server(tmp_path: pathlib.Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"], cwd=tmp_path)
    try:
        # Ended and not waited for: a zombie keeps its pid.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_postmaster_of(process.pid, str(tmp_path), identity=OWN)
    finally:
        process.wait()


def test_children_of() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()", "walsender"], stdin=subprocess.PIPE) as process:
        titles = {child.pid: child.title for child in children_of(os.getpid())}
        assert titles[process.pid].endswith("walsender")
        process.communicate(b"\n")


def test_a_process_is_seen_whatever_it_closes_meanwhile(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which files are open is asked first, and what each is comes later: one of them may be gone by then."""
    listed = os.listdir

    def list_too_much(path: str) -> list[str]:
        return ["9999", *listed(path)] if path.endswith("/fd") else listed(path)

    program = "import os, sys; os.open(sys.argv[1], os.O_RDONLY); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        monkeypatch.setattr(os, "listdir", list_too_much)
        found = processes_with_open(str(tmp_path), identity=OWN)
        process.communicate(b"\n")
    assert [seen.pid for seen in found] == [process.pid]


def test_parse_tcp_table() -> None:
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:CDB5 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 51730 1 0000 100\n"
        "   1: 0100007F:83FA 0100007F:CDB5 01 00000000:00000000 02:00000A5F 00000000   101        0 51771 2 0000 20\n"
    )
    assert parse_tcp_table(text) == [
        Connection(0xCDB5, 0, "0A", "51730"),
        Connection(0x83FA, 0xCDB5, "01", "51771"),
    ]


def test_the_ports_of_a_process() -> None:
    """The client is a process of its own: this one may have other connections, such as that of pytest's worker."""
    program = (
        "import socket, sys; client = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "print(client.getsockname()[1], flush=True); input()"
    )
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        found = listener_on(port)
        assert found is not None and found.startswith(f"process {os.getpid()} ")
        with subprocess.Popen(
            [sys.executable, "-c", program, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdout is not None
            port_of_client = int(client.stdout.readline())
            assert local_port_of(client.pid) == port_of_client
            client.communicate(b"\n")
    assert listener_on(port) is None
