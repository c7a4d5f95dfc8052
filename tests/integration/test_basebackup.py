# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_basebackup on real servers: whole copies, and every way in which one can be cut short."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from conftest import (
    COLLECTIONS,
    SERVERS,
    Cluster,
    MakeCluster,
    MakeFolder,
    Task,
    _yaml,
    free_port,
    run_module,
    run_tasks,
    server_account,
)

MODULE = "pg_basebackup"
PASSWORD = "it's \\ a: \"pass\" word"
#: Slow enough to be cut short: about 12 seconds for the data below.
SLOW = {"max_rate": "8M"}


@dataclasses.dataclass
class Upstream:
    """A primary with a tablespace and about 100 MB of data."""

    cluster: Cluster
    tablespace: Path


@pytest.fixture(scope="module")
def make_upstream(make_cluster: MakeCluster, make_folder: MakeFolder) -> t.Callable[[str], Upstream]:
    made: dict[str, Upstream] = {}

    def make(server: str) -> Upstream:
        if server not in made:
            cluster = make_cluster(server, log_statement="none", log_min_duration_statement="-1")
            tablespace = make_folder() / "ts"
            tablespace.mkdir(mode=0o700)
            give(tablespace)
            cluster.psql("SET password_encryption = 'md5'; CREATE ROLE replica LOGIN REPLICATION PASSWORD $p$" + PASSWORD + "$p$")
            cluster.psql(f"CREATE TABLESPACE fast LOCATION '{tablespace}'")
            cluster.psql(
                "CREATE TABLE big AS SELECT g, md5(g::text) || repeat(chr(65 + g % 26), 900) AS x "
                "FROM generate_series(1, 60000) g"
            )
            cluster.psql(
                "CREATE TABLE fast TABLESPACE fast AS SELECT g, repeat('y', 900) AS x FROM generate_series(1, 30000) g"
            )
            cluster.psql("CHECKPOINT")
            made[server] = Upstream(cluster, tablespace)
        return made[server]

    return make


@pytest.fixture(scope="module")
def upstream(make_upstream: t.Callable[[str], Upstream]) -> Upstream:
    return make_upstream("embedded")


def give(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, server_account())


@dataclasses.dataclass
class Target:
    """A standby to be, beside a folder that is somebody else's."""

    cluster: Cluster
    folder: Path
    upstream: Upstream

    @property
    def data(self) -> Path:
        return self.cluster.data_directory

    @property
    def tablespace(self) -> Path:
        return self.folder / "ts"

    @property
    def wal(self) -> Path:
        return self.folder / "wal"

    def arguments(self, **options: t.Any) -> dict[str, t.Any]:
        return {
            **self.cluster.options,
            "upstream_host": "127.0.0.1",
            "upstream_port": self.upstream.cluster.port,
            "upstream_password": PASSWORD,
            "tablespace_mapping": {str(self.upstream.tablespace): str(self.tablespace)},
            "wal_directory": str(self.wal),
            "upstream_status": status_of(self.upstream),
            **options,
        }

    def task(self, *, check: bool = False, **options: t.Any) -> Task:
        return Task(MODULE, self.arguments(**options), check)

    def run(self, **options: t.Any) -> dict[str, t.Any]:
        return run_module(MODULE, self.arguments(**options))

    def prove(self) -> None:
        """Start it and read what was copied."""
        port = self.upstream.cluster.port
        assert (self.data / "standby.signal").exists()
        assert sorted(path.name for path in self.data.iterdir() if "pgtandem" in path.name) == []
        self.cluster.configure(
            port=str(self.cluster.port),
            unix_socket_directories=str(self.folder),
            primary_conninfo=f"host={self.upstream.cluster.folder} port={port} user={self.cluster.superuser}",
        )
        self.cluster.start()
        try:
            assert self.cluster.psql("SELECT pg_is_in_recovery(), (SELECT count(*) FROM big), (SELECT count(*) FROM fast)") == "t|60000|30000"
        finally:
            self.cluster.stop()

    def marker(self) -> dict[str, t.Any]:
        try:
            return json.loads((self.data / "pgtandem-incoming.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def progress(self) -> dict[str, t.Any]:
        try:
            return json.loads((self.data / "pgtandem-job/progress.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def wait_for_percent(self, percent: int) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            seen = self.progress()
            if seen.get("phase") == "streaming" and seen["total"] and 100 * seen["done"] >= percent * seen["total"]:
                return
            time.sleep(0.1)
        raise AssertionError(f"it never came to {percent} %: {self.progress()} {self.marker()}")

    def processes(self) -> list[tuple[int, str]]:
        """What runs for this directory, by the operating system's word."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                title = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if f"{self.data}/pgtandem-" in title:
                found.append((int(path.name), title))
        return found

    def backups(self) -> list[int]:
        return [pid for pid, title in self.processes() if "pg_basebackup" in title.split()[0]]

    def keepers(self) -> list[int]:
        return [pid for pid, title in self.processes() if "job.py" in title]


_STATUS: dict[int, dict[str, t.Any]] = {}


def status_of(upstream: Upstream, *, fresh: bool = False) -> dict[str, t.Any]:
    port = upstream.cluster.port
    if fresh or port not in _STATUS:
        answer = run_module("pg_replication_status", {**upstream.cluster.options, "sizes": True})
        _STATUS[port] = answer["replication"]
    return _STATUS[port]


def listing(folder: Path) -> list[tuple[str, int, int, int]]:
    return sorted(
        (str(path), path.lstat().st_size, path.lstat().st_mtime_ns, path.lstat().st_ino) for path in folder.rglob("*")
    )


@pytest.fixture
def make_target(make_folder: MakeFolder, make_cluster: MakeCluster) -> t.Iterator[t.Callable[[Upstream], Target]]:
    """New targets; what runs for one is ended, and its foreign neighbour is looked at, in the end."""
    made: list[tuple[Target, Path, list[tuple[str, int, int, int]]]] = []

    def make(upstream: Upstream) -> Target:
        folder = make_folder()
        cluster = dataclasses.replace(upstream.cluster, folder=folder, port=free_port())
        t.cast(t.Any, make_cluster).adopt(cluster)
        foreign = folder / "foreign"
        (foreign / "base/1").mkdir(parents=True)
        for name in ("PG_VERSION", "base/1/1259", "notes.txt"):
            (foreign / name).write_text(name, encoding="utf-8")
        made.append((Target(cluster, folder, upstream), foreign, listing(foreign)))
        return made[-1][0]

    yield make
    for target, foreign, before in made:
        for pid, _title in target.processes():
            os.kill(pid, signal.SIGKILL)
        assert listing(foreign) == before


MakeTarget = t.Callable[[Upstream], Target]


@pytest.mark.parametrize("server", SERVERS)
def test_check_run_run(server: str, make_upstream: t.Callable[[str], Upstream], make_target: MakeTarget) -> None:
    target = make_target(make_upstream(server))
    results = run_tasks([target.task(check=True), target.task(), target.task(check=True), target.task()])
    assert [result["failed"] for result in results] == [False] * 4, results.output
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["actions"] == results[1]["actions"]
    assert " MB from 127.0.0.1:" in results[0]["actions"][0]
    assert results[1]["data_directory_state"] == "standby" and results[1]["copied_bytes"] > 50e6
    assert "it's" not in results.output
    assert (target.data / "pg_wal").is_symlink() and list(target.wal.iterdir())
    target.prove()
