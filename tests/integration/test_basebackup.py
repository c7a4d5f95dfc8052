# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_basebackup on real servers: whole copies, and every way in which one can be cut short."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import session_cache
from conftest import (
    BIN_DIRECTORIES,
    COLLECTIONS,
    SERVERS,
    Cluster,
    MakeCluster,
    MakeFolder,
    Task,
    _yaml,
    run_module,
    run_tasks,
    server_account,
)
from ports import free_port
from site_runs import children, descendants, kill_all, wait_until

MODULE = "pg_basebackup"
PASSWORD = 'it\'s \\ a: "pass" word'
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
            cluster = make_cluster(
                server, log_statement="none", log_min_duration_statement="-1", wal_sender_timeout="0"
            )
            tablespace = make_folder() / "ts"
            tablespace.mkdir(mode=0o700)
            give(tablespace)
            cluster.psql(
                "SET password_encryption = 'md5'; CREATE ROLE replica LOGIN REPLICATION PASSWORD $p$" + PASSWORD + "$p$"
            )
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
            assert (
                self.cluster.psql("SELECT pg_is_in_recovery(), (SELECT count(*) FROM big), (SELECT count(*) FROM fast)")
                == "t|60000|30000"
            )
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

    @contextlib.contextmanager
    def held(self) -> t.Iterator[None]:
        """Meanwhile the copy makes no progress, however slow this machine is."""
        held = self.backups()
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in held:
                os.kill(pid, signal.SIGCONT)

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


# --- Cut short ---


@dataclasses.dataclass
class Play:
    """An ansible-playbook run in a process group of its own."""

    process: subprocess.Popen[str]
    record: Path

    def runs_module(self) -> bool:
        return any(f"AnsiballZ_{MODULE}.py" in title for title in children(self.process.pid))

    def kill(self) -> None:
        """Everything that it started, its workers and modules too, which have sessions of their own."""
        kill_all(descendants(self.process.pid))
        self.process.wait()

    def end(self) -> tuple[str, dict[str, t.Any]]:
        output, _nothing = self.process.communicate(timeout=120)
        return output, json.loads(self.record.read_text(encoding="utf-8").splitlines()[-1])


Begin = t.Callable[..., Play]


@pytest.fixture
def begin(tmp_path: Path) -> t.Iterator[Begin]:
    """Begin a copy with ansible-playbook and go on."""
    made: list[Play] = []

    def run(target: Target, **options: t.Any) -> Play:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        (folder / "play.yml").write_text(
            "- hosts: pg2\n  gather_facts: false\n  tasks:\n"
            f"    - pgtandem.replication.{MODULE}: {_yaml(target.arguments(**options))}\n",
            encoding="utf-8",
        )
        process = subprocess.Popen(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", "pg2,", "-c", "local",
             "-e", f"ansible_python_interpreter={sys.executable}", folder / "play.yml"],
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
            start_new_session=True,
            env={
                **os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1",
                **session_cache.environment("record_results"), "RECORD_RESULTS": str(folder / "record"),
                "ANSIBLE_HOME": str(folder), "ANSIBLE_REMOTE_TMP": str(folder / "remote"), "LC_ALL": "C.UTF-8",
            },
        )  # fmt: skip
        made.append(Play(process, folder / "record"))
        return made[-1]

    yield run
    for play in made:
        if play.process.poll() is None:
            play.kill()


def test_the_controller_is_killed(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    target = make_target(upstream)
    play = begin(target, **SLOW)
    target.wait_for_percent(30)
    (backup, *_others), (keeper,) = target.backups(), target.keepers()
    play.kill()
    # It is under way for as long as the look at it takes.
    with target.held():
        assert target.keepers() == [keeper] and backup in target.backups()
        assert not (target.data / "pgtandem-job/pass").exists(), "the password file outlives the logins"
        assert target.progress()["phase"] == "streaming"
        checked = run_module(MODULE, target.arguments(**SLOW), check=True)
        later = begin(target, **SLOW)
        wait_until(later.runs_module, "the next run's module")
        # It looks at the directory.
        time.sleep(3)
    assert checked["actions"] == [f"wait for the copy of 127.0.0.1:{upstream.cluster.port} that is under way"]
    _output, result = later.end()
    assert result["actions"] == [f"wait for the copy of 127.0.0.1:{upstream.cluster.port} that was under way"]
    assert result["changed"] and not result["running"] and result["seconds"] > 5
    target.prove()


def test_the_controller_is_away_until_the_end(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    target = make_target(upstream)
    play = begin(target, max_rate="32M")
    target.wait_for_percent(10)
    play.kill()
    wait_until(lambda: target.marker()["phase"] == "copied", "the end of the copy")
    result = target.run()
    assert result["changed"] and "take over the whole copy" in result["actions"][0]
    target.prove()


def test_the_backup_is_killed(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    target = make_target(upstream)
    play = begin(target, **SLOW)
    target.wait_for_percent(30)
    # The first is the parent; the other streams WAL, and would outlive it.
    os.kill(min(target.backups()), signal.SIGKILL)
    _output, result = play.end()
    assert result["failed"] and "pg_basebackup was killed by signal 9" in result["msg"]
    assert target.processes() == []
    assert list(target.data.iterdir()) == [target.data / "pgtandem-incoming.json"]
    assert not target.wal.exists() and not target.tablespace.exists(), "what was absent is absent again"
    result = target.run()
    assert result["changed"] and not result["failed"]
    target.prove()


def test_everything_of_the_job_is_killed(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    """As when the host is restarted: nobody can say a last word."""
    target = make_target(upstream)
    target.wal.mkdir(mode=0o700)
    give(target.wal)
    play = begin(target, **SLOW)
    target.wait_for_percent(30)
    play.kill()
    for pid, _title in target.processes():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: target.processes() == [], "the end of all processes")
    assert target.marker()["phase"] == "filling" and list(target.wal.iterdir())
    (target.wal / "notes.txt").write_text("mine", encoding="utf-8")
    refused = target.run()
    assert refused["failed"] and "is not empty (notes.txt)" in refused["msg"]
    assert [path.name for path in target.wal.iterdir()] == ["notes.txt"], "only what a base backup makes is cleared"
    (target.wal / "notes.txt").unlink()
    result = target.run()
    assert result["changed"] and not result["failed"]
    target.prove()


def test_the_keeper_is_killed(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    """What it looked after goes on for a while without it, and must not write into the next copy."""
    target = make_target(upstream)
    play = begin(target, **SLOW)
    target.wait_for_percent(20)
    play.kill()
    (keeper,) = target.keepers()
    os.kill(keeper, signal.SIGKILL)
    orphans = target.backups()
    assert orphans
    result = target.run()
    assert result["changed"] and not result["failed"], result
    assert not set(orphans) & {pid for pid, _title in target.processes()}
    target.prove()


def test_two_runs_at_once(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    target = make_target(upstream)
    plays = [begin(target, **SLOW), begin(target, **SLOW)]
    target.wait_for_percent(30)
    with target.held():
        wait_until(lambda: all(play.runs_module() for play in plays), "both modules")
        # The later one looks at the directory.
        time.sleep(3)
        assert len(target.keepers()) == 1 and len(target.backups()) <= 2
    results = [play.end()[1] for play in plays]
    assert [result["failed"] for result in results] == [False, False], results
    assert [result["changed"] for result in results] == [True, True]
    assert len([result for result in results if "copied_bytes" in result]) == 1
    target.prove()


def test_the_password_is_wrong(upstream: Upstream, make_target: MakeTarget) -> None:
    target = make_target(upstream)
    result = target.run(upstream_password="wrong")
    assert result["failed"] and "password authentication failed" in result["msg"]
    assert not target.data.exists() and not target.wal.exists()


def test_the_server_is_restarted(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    target = make_target(upstream)
    play = begin(target, **SLOW)
    target.wait_for_percent(20)
    upstream.cluster.stop()
    upstream.cluster.start()
    _output, result = play.end()
    assert result["failed"] and "failed: pg_basebackup:" in result["msg"], result
    assert not target.wal.exists() and not target.tablespace.exists()
    assert target.run()["changed"]
    target.prove()


def test_somebody_stops_the_job(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    target = make_target(upstream)
    play = begin(target, **SLOW)
    target.wait_for_percent(10)
    os.kill(target.keepers()[0], signal.SIGTERM)
    _output, result = play.end()
    assert result["failed"] and "the job was stopped by signal 15" in result["msg"]
    assert target.processes() == []


def test_no_wait(upstream: Upstream, make_target: MakeTarget) -> None:
    target = make_target(upstream)
    begun = target.run(**SLOW, wait_timeout=0)
    assert begun["running"] and begun["changed"] and begun["job"]
    ended = target.run(**SLOW, job=begun["job"])
    assert not ended["running"] and ended["copied_bytes"]
    target.prove()


# --- Told while it runs ---


def test_progress_is_told(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    target = make_target(upstream)
    output, result = begin(target, max_rate="4M", verify=True).end()
    assert not result["failed"] and not result["running"], output
    lines = [line for line in output.splitlines() if line.startswith("pg2: ")]
    streaming = [line for line in lines if "streaming from 127.0.0.1" in line]
    assert len(streaming) >= 3, output
    pattern = re.compile(r": (\d+) %, [\d.]+ MB of 1\d\d MB, [\d.]+ MB/s, \d+ s left$")
    numbers = [int(found[1]) for found in map(pattern.search, streaming) if found]
    assert len(numbers) >= 2 and numbers == sorted(numbers), lines
    print("\n".join(lines))
    assert re.search(r"^pg2: copied 1\d\d MB from 127.0.0.1 in \d+ s \([\d.]+ MB/s\)$", lines[-1])
    assert len(result["actions"]) == 1
    target.prove()


def test_verifying_is_told(upstream: Upstream, make_target: MakeTarget, make_folder: MakeFolder, begin: Begin) -> None:
    """The real program, as slow as it is with more data."""
    target = make_target(upstream)
    folder = make_folder()
    for program in upstream.cluster.bin_directory.iterdir():
        (folder / program.name).symlink_to(program)
    (folder / "pg_verifybackup").unlink()
    real = upstream.cluster.bin_directory / "pg_verifybackup"
    (folder / "pg_verifybackup").write_text(f'#!/bin/sh\nsleep 6\nexec {real} "$@"\n', encoding="utf-8")
    (folder / "pg_verifybackup").chmod(0o755)
    output, result = begin(target, verify=True, client_bin_directory=str(folder)).end()
    assert not result["failed"], output
    assert re.search(r"(?m)^pg2: verifying the copy: \d+ %, ", output), output
    target.prove()


def test_a_quick_copy_is_silent(upstream: Upstream, make_target: MakeTarget, begin: Begin) -> None:
    target = make_target(upstream)
    output, result = begin(target).end()
    assert result["changed"] and "pg2: streaming" not in output and "pg2: copied" not in output


# --- Found out before ---


@pytest.fixture
def small_disk(make_folder: MakeFolder) -> t.Iterator[Path]:
    """A file system of 64 MB."""
    folder = make_folder() / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("this account cannot mount a file system")
    give(folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("place", ["data_directory", "tablespace"])
def test_the_disk_is_full(upstream: Upstream, make_target: MakeTarget, small_disk: Path, place: str) -> None:
    target = make_target(upstream)
    if place == "data_directory":
        small = {"data_directory": str(small_disk / "data"), "wal_directory": None}
    else:
        small = {"tablespace_mapping": {str(upstream.tablespace): str(small_disk)}}
        (small_disk / "ballast").write_bytes(b"x" * 50_000_000)
    arguments = {**target.arguments(), **small}
    if place == "tablespace":
        refused = run_module(MODULE, arguments)
        assert "is not empty (ballast)" in refused["msg"]
        (small_disk / "ballast").unlink()
        limit = subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=False)
        assert limit.returncode == 0
    early = run_module(MODULE, arguments)
    assert early["failed"] and "There is not enough room on this host: " in early["msg"], early["msg"]
    assert " MB is free, and the copy of 127.0.0.1:" in early["msg"]
    assert list(small_disk.iterdir()) == [] and not target.data.exists()
    late = run_module(MODULE, {**arguments, "upstream_status": {"sizes": {
        **status_of(upstream)["sizes"], "data_bytes": 0, "wal_bytes": 0,
        "tablespaces": [dict(row, bytes=0) for row in status_of(upstream)["sizes"]["tablespaces"]]}}})  # fmt: skip
    assert late["failed"] and "No space left on device" in late["msg"], late["msg"]
    assert sum(path.stat().st_size for path in small_disk.rglob("*") if path.is_file()) < 2000, "the room is free again"
    assert "secret" not in late["msg"]


REFUSALS = [
    pytest.param({"compress": "lzma"}, "compress is 'lzma'", id="compress"),
    pytest.param({"tablespace_mapping": {"/nowhere": "/tmp/x"}}, "has no tablespace there", id="mapping"),
    pytest.param({"tablespace_mapping": {}}, "which is not empty (PG_1", id="the upstream's own tablespace"),
    pytest.param({"wal_directory": "{data}/wal"}, "lies inside the data directory", id="WAL inside"),
    pytest.param({"wal_directory": "{folder}/foreign"}, "is not empty (PG_VERSION, base, notes.txt)", id="WAL"),
    pytest.param({"wal_directory": "{folder}/disk"}, "wal_directory: {folder}/disk/pg_wal", id="top of a disk"),
    pytest.param({"slot": "missing"}, "has no slot 'missing'", id="no slot"),
    pytest.param({"slot": "lazy"}, "nothing is reserved", id="lazy slot"),
    pytest.param({"system_identifier": "1"}, "the address leads to another server", id="another system"),
    pytest.param({"data_directory": "{folder}/foreign"}, "half a copy that something else made", id="foreign"),
]


@pytest.mark.parametrize(("asked", "said"), REFUSALS)
def test_refused_before_anything_is_written(
    upstream: Upstream, make_target: MakeTarget, asked: dict[str, t.Any], said: str
) -> None:
    if asked.get("slot") == "lazy":
        upstream.cluster.psql("SELECT pg_create_physical_replication_slot('lazy')")
        asked = dict(asked, upstream_status=status_of(upstream, fresh=True))
    target = make_target(upstream)
    filled = {
        name: value.format(data=target.data, folder=target.folder) if isinstance(value, str) else value
        for name, value in asked.items()
    }
    # A file system of its own, for the one that names it.
    (target.folder / "disk" / "lost+found").mkdir(parents=True)
    before = listing(target.folder)
    result = target.run(**filled)
    assert result["failed"] and said.replace("{folder}", str(target.folder)) in result["msg"], result["msg"]
    assert listing(target.folder) == before
    upstream.cluster.psql(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'lazy'"
    )


def test_a_tablespace_at_the_top_of_a_file_system(upstream: Upstream, make_target: MakeTarget) -> None:
    target = make_target(upstream)
    (target.tablespace / "lost+found").mkdir(parents=True)
    give(target.tablespace)
    refused = target.run()
    named = f"tablespace_mapping: {{{upstream.tablespace}: {target.tablespace}/fast}}"
    assert refused["failed"] and named in refused["msg"] and "Run again" not in refused["msg"], refused["msg"]
    assert not target.data.exists()
    assert target.run(tablespace_mapping={str(upstream.tablespace): f"{target.tablespace}/fast"})["changed"]
    target.prove()


#: What a server might need, in the shape of pg_replication_status, and what is said where the host lacks it.
NEEDS = [
    pytest.param({"locales": [{"database": "shop", "names": ["xx_XX.utf8", "C"]}]}, "'xx_XX.utf8' (database shop)",
                 id="locale"),
    pytest.param({"libraries": [{"library": "$libdir/postgis-9", "extension": "postgis", "database": "maps"}]},
                 "library postgis-9 (extension postgis of database maps)", id="library of an extension"),
    pytest.param({"settings": {"shared_preload_libraries": "timescaledb"}}, "timescaledb (shared_preload_libraries)",
                 id="library of a setting"),
    pytest.param({"settings": {"lc_messages": "xx_XX.utf8"}}, "lc_messages", id="locale of a setting"),
    pytest.param({"settings": {"log_timezone": "Mars/Olympus"}}, "log_timezone", id="time zone"),
]  # fmt: skip


@pytest.mark.parametrize(("needs", "said"), NEEDS)
def test_what_a_copy_needs_is_looked_for_before_it(
    upstream: Upstream, make_target: MakeTarget, needs: dict[str, t.Any], said: str
) -> None:
    target = make_target(upstream)
    status = {**status_of(upstream), "copy_needs": needs}
    for check in (True, False):
        result = run_tasks([target.task(check=check, upstream_status=status)])[0]
        assert result["failed"] and said in result["msg"] and "Nothing was copied" in result["msg"], result["msg"]
        assert not target.data.exists()


def test_a_server_says_what_its_copy_needs(make_cluster: MakeCluster, make_target: MakeTarget) -> None:
    cluster = make_cluster("15" if "15" in BIN_DIRECTORIES else "embedded", log_timezone="Europe/Berlin")
    cluster.psql("CREATE DATABASE shop")
    cluster.psql(
        "CREATE FUNCTION own() RETURNS trigger LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler'", dbname="shop"
    )
    needs = run_module("pg_replication_status", {**cluster.options, "sizes": True})["replication"]["copy_needs"]
    assert {"library": "$libdir/plpgsql", "extension": None, "database": "shop"} in needs["libraries"]
    assert needs["settings"]["log_timezone"] == "Europe/Berlin"
    assert {row["database"]: row["names"] for row in needs["locales"]}["shop"] == ["C", "C"]
    target = make_target(Upstream(cluster, Path("/")))
    cluster.psql(f"CREATE ROLE replica LOGIN REPLICATION PASSWORD $p${PASSWORD}$p$")
    status = run_module("pg_replication_status", {**cluster.options, "sizes": True})["replication"]
    assert target.run(tablespace_mapping={}, upstream_status=status)["changed"]


@pytest.mark.parametrize(
    ("slot", "said"),
    [("missing", "has no slot 'missing'"), ("lazy", "nothing is reserved"), ("logical", "a physical one")],
)
def test_alone_the_module_asks_for_the_slot_itself(
    make_cluster: MakeCluster, make_target: MakeTarget, upstream: Upstream, slot: str, said: str
) -> None:
    upstream.cluster.psql("SELECT pg_create_physical_replication_slot('lazy')")
    upstream.cluster.psql("ALTER SYSTEM SET wal_level = 'logical'")
    upstream.cluster.stop()
    upstream.cluster.start()
    upstream.cluster.psql("SELECT pg_create_logical_replication_slot('logical', 'test_decoding')")
    target = make_target(upstream)
    try:
        result = target.run(slot=slot, upstream_status={})
        assert result["failed"] and said in result["msg"] and "Nothing was copied" in result["msg"], result["msg"]
        assert not target.data.exists()
    finally:
        upstream.cluster.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        upstream.cluster.psql("ALTER SYSTEM RESET wal_level")
        upstream.cluster.stop()
        upstream.cluster.start()


def test_alone_the_module_says_what_it_does_not_know(upstream: Upstream, make_target: MakeTarget) -> None:
    target = make_target(upstream)
    result = target.run(upstream_status={}, tablespace_mapping={str(upstream.tablespace): str(target.tablespace)})
    assert result["changed"] and "the room on this host was not checked" in result["note"], result
    target.prove()


def test_too_few_wal_senders(make_cluster: MakeCluster, upstream: Upstream, make_target: MakeTarget) -> None:
    target = make_target(upstream)
    upstream.cluster.psql("ALTER SYSTEM SET max_wal_senders = 1")
    upstream.cluster.stop()
    upstream.cluster.start()
    try:
        result = target.run()
        assert result["failed"] and "takes two WAL senders while it runs" in result["msg"] and not target.data.exists()
        # One is enough where the WAL comes at the end.
        assert target.run(wal_method="fetch")["changed"]
    finally:
        upstream.cluster.psql("ALTER SYSTEM RESET max_wal_senders")
        upstream.cluster.stop()
        upstream.cluster.start()


@pytest.mark.parametrize("method", ["lz4", "gzip", "zstd:1"])
def test_every_knob(make_upstream: t.Callable[[str], Upstream], make_target: MakeTarget, method: str) -> None:
    # A wheel may be built with gzip alone.
    upstream = make_upstream("15" if "15" in BIN_DIRECTORIES else "embedded")
    target = make_target(upstream)
    upstream.cluster.psql("SELECT pg_create_physical_replication_slot('knob', true)")
    try:
        result = target.run(
            compress=method, verify=True, manifest_checksums="SHA256", sync=False, slot="knob",
            checkpoint="spread" if method == "gzip" else "fast", upstream_status=status_of(upstream, fresh=True),
        )  # fmt: skip
        if result["failed"] and "this build does not support compression" in result["msg"]:
            pytest.skip(result["msg"])
        assert result["changed"] and (target.data / "backup_manifest").exists(), result
        target.prove()
    finally:
        upstream.cluster.psql("SELECT pg_drop_replication_slot('knob')")


def test_a_damaged_copy_does_not_count(upstream: Upstream, make_target: MakeTarget, make_folder: MakeFolder) -> None:
    """A pg_verifybackup that finds something, in place of a disk that flips bits."""
    target = make_target(upstream)
    folder = make_folder()
    for program in upstream.cluster.bin_directory.iterdir():
        (folder / program.name).symlink_to(program)
    (folder / "pg_verifybackup").unlink()
    (folder / "pg_verifybackup").write_text(
        "#!/bin/sh\necho 'pg_verifybackup: error: checksum mismatch for file \"base/1/1259\"' >&2\nexit 1\n"
    )
    (folder / "pg_verifybackup").chmod(0o755)
    result = target.run(verify=True, client_bin_directory=str(folder))
    assert result["failed"] and 'checksum mismatch for file "base/1/1259"' in result["msg"]
    assert target.marker()["phase"] == "failed" and not (target.data / "pgtandem-incoming").exists()
