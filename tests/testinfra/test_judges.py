# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools that nobody of this project wrote agree that replication is healthy.

check_pgactivity and check_postgres are monitoring plugins from Debian: 0 is well, 1 a warning, 2 critical.
"""

from __future__ import annotations

import shlex
import typing as t

import pytest
from outside import eventually

if t.TYPE_CHECKING:
    from outside import Node


def plugin(node: Node, package: str, program: str) -> str:
    """Return a plugin's path, installed where it is not there."""
    if not node.host.package(package).is_installed:
        node.out(
            "export DEBIAN_FRONTEND=noninteractive; "
            f"apt-get update -qq; apt-get install -y -qq --no-install-recommends {package} >/dev/null"
        )
    return node.out(f"dpkg --listfiles {package} | grep /{program}$ | head -n 1").strip()


def verdict(node: Node, *argv: str) -> t.Any:
    """Return what a plugin says, run by the server's account on its host."""
    return node.host.run("sh -c %s", f"cd / && sudo -u {node.os_user} {shlex.join(argv)}")


def pgactivity(node: Node, service: str, *options: str) -> t.Any:
    """Ask check_pgactivity."""
    program = plugin(node, "check-pgactivity", "check_pgactivity")
    psql = f"{node.bin_directory}/psql"
    socket = node.postmaster[4] or "/run/postgresql"
    connection = ["--host", socket, "--port", str(node.port), "--username", node.os_user, "--dbname", "postgres"]
    return verdict(node, program, "--service", service, "--psql", psql, *connection, *options)


def test_pgactivity_finds_a_primary(primary: Node) -> None:
    said = pgactivity(primary, "is_master")
    assert said.rc == 0, said.stdout + said.stderr


def test_pgactivity_finds_a_standby(standby: Node) -> None:
    said = pgactivity(standby, "is_hot_standby")
    assert said.rc == 0, said.stdout + said.stderr


def test_pgactivity_finds_every_standby_streaming_and_near(primary: Node) -> None:
    """streaming_delta is critical where a standby that it is told of does not stream, or is behind."""
    options = ["--warning", "32MB,32MB", "--critical", "64MB,64MB"]
    for follower in primary.downstream:
        name = primary.psql(
            f"select application_name from pg_stat_replication where client_addr = '{follower.address}' limit 1"
        )
        options += ["--slave", f"{name} {follower.address}"]
    said = eventually(lambda: accepted(pgactivity(primary, "streaming_delta", *options)))
    last = pgactivity(primary, "streaming_delta", *options)
    assert said, last.stdout + last.stderr


def test_pgactivity_finds_replay_not_paused(standby: Node) -> None:
    said = pgactivity(standby, "is_replay_paused", "--warning", "1h", "--critical", "2h")
    assert said.rc == 0, said.stdout + said.stderr


def test_postgres_plugin_finds_the_standby_near(standby: Node) -> None:
    """check_postgres compares the positions of both ends, which it reaches by their sockets where they share a host."""
    if standby.vars["ansible_host"] != standby.upstream.vars["ansible_host"]:
        pytest.skip("its one call needs both ends, and here only replication connections go from host to host")
    program = plugin(standby, "check-postgres", "check_postgres")
    sockets = f"{standby.upstream.postmaster[4]},{standby.postmaster[4]}"
    ports = f"{standby.upstream.port},{standby.port}"
    argv = [program, "--action=hot_standby_delay", f"--dbhost={sockets}", f"--dbport={ports}", "--dbuser=postgres"]
    said = verdict(standby, *argv, "--warning=33554432", "--critical=67108864")
    assert said.rc == 0, said.stdout + said.stderr


def test_postgres_plugin_finds_the_slots_near(primary: Node) -> None:
    if primary.psql("select count(*) from pg_replication_slots") == "0":
        pytest.skip("the cluster works without slots")
    program = plugin(primary, "check-postgres", "check_postgres")
    argv = [program, "--action=replication_slots", f"--dbhost={primary.postmaster[4]}", f"--dbport={primary.port}"]
    said = verdict(primary, *argv, "--dbuser=postgres", "--warning=33554432", "--critical=67108864")
    assert said.rc == 0, said.stdout + said.stderr


def accepted(said: t.Any) -> bool:
    """Return whether a plugin is content."""
    return t.cast(bool, said.rc == 0)
