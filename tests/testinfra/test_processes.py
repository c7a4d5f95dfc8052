# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replication as the operating system shows it: processes, sockets and systemd units."""

from __future__ import annotations

import re
import typing as t

import pytest
from outside import eventually

if t.TYPE_CHECKING:
    from outside import Node

SENDER = r"(walsender|wal sender process) "
RECEIVER = r"(walreceiver|wal receiver process) +streaming"
STARTUP = r"(startup|startup process) +recovering"


def test_a_sender_streams_to_each_standby(standby: Node) -> None:
    upstream = standby.upstream
    title = rf"{SENDER}{re.escape(upstream.replication_user)} {re.escape(standby.address)}\(\d+\) streaming"
    senders = eventually(lambda: upstream.titled(title))
    assert senders, f"no walsender on {upstream} streams to {standby}: {upstream.processes()}"


def test_no_sender_is_left_over(node: Node) -> None:
    """As many senders as followers: an orphaned base backup, for example, would hold one more."""
    wanted = len(node.downstream)
    assert eventually(lambda: len(node.titled(SENDER)) == wanted), node.titled(SENDER)


def test_one_receiver_streams_on_a_standby(standby: Node) -> None:
    assert eventually(lambda: len(standby.titled(RECEIVER)) == 1), standby.processes()


def test_a_standby_recovers(standby: Node) -> None:
    assert standby.titled(STARTUP), standby.processes()


def test_a_primary_neither_receives_nor_recovers(primary: Node) -> None:
    assert not primary.titled(RECEIVER)
    assert not primary.titled(STARTUP)


def test_the_server_is_not_root(node: Node) -> None:
    assert {process.user for process in node.processes()} == {node.os_user}


def test_the_port_is_open_to_the_other_hosts(node: Node) -> None:
    listening = node.out("ss --listening --tcp --numeric --no-header")
    assert re.search(rf"\s(0\.0\.0\.0|\*|\[::\]|{re.escape(node.address)}):{node.port}\s", listening), listening


def skip_without_a_service(node: Node) -> None:
    if node.service == "none":
        pytest.skip("pg_ctl started it, and nothing starts it with the host")


def test_the_service_runs(node: Node) -> None:
    skip_without_a_service(node)
    service = node.host.service(node.service)
    # Debian's unit is activating for two seconds after the server is up.
    running = eventually(lambda: service.is_running, seconds=10)
    assert running, node.host.run("journalctl --no-pager --lines=30 --unit=%s", node.service).stdout


def test_the_service_comes_back_at_boot(node: Node) -> None:
    """Debian enables its instances by a generator, which systemd calls enabled-runtime."""
    skip_without_a_service(node)
    state = node.host.run("systemctl is-enabled %s", node.service).stdout.strip()
    assert state in ("enabled", "enabled-runtime"), state


def test_the_server_belongs_to_the_service(node: Node) -> None:
    """A server that somebody started beside systemd would not come back after a restart."""
    skip_without_a_service(node)
    control_group = node.out(f"cat /proc/{node.postmaster[0]}/cgroup")
    assert node.service.replace("@", "@") in control_group.replace("\\x2d", "-"), control_group


def test_no_unit_failed(node: Node) -> None:
    """But for two that wait for a passphrase at a console: they fail where many hosts share a machine's inotify."""
    failed = node.out("systemctl --failed --plain --no-legend --no-pager").splitlines()
    strange = [unit for unit in failed if not unit.startswith("systemd-ask-password-")]
    assert not strange, strange
