# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two halves of a switchover on real servers: pg_demote on the primary, an armed pg_promote on the standby."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.wal_record import (
    pages_for,
    record_before,
    segment_name,
)
from conftest import SERVERS, Cluster, MakeCluster, MakeFolder, Results, Task, run_tasks
from site_runs import wait_until


class Pair(t.NamedTuple):
    """A primary and a standby that streams from it."""

    primary: Cluster
    standby: Cluster

    def arm(self, token: str, **more: t.Any) -> Task:
        return Task("pg_promote", {**self.standby.options, "after": "shutdown", "phase": "arm", "token": token,
                                   "slots": ["old"], "patience": 60, **more})  # fmt: skip

    def demote(self, token: str = "", check: bool = False, **more: t.Any) -> Task:
        upstream = {"host": "127.0.0.1", "port": self.standby.port, "application_name": "old", "slot": "old"}
        options = {"upstream": upstream, "successor": "copy", "token": token, "replication_user": "replica"}
        return Task("pg_demote", {**self.primary.options, **options, **more}, check, check)

    def end(self, phase: str, token: str) -> Task:
        return Task("pg_promote", {**self.standby.options, "after": "shutdown", "phase": phase, "token": token,
                                   "timeout": 20})  # fmt: skip

    @property
    def note(self) -> dict[str, t.Any]:
        return t.cast(
            "dict[str, t.Any]", json.loads((self.standby.data_directory / "pgtandem-promote.json").read_text())
        )

    @property
    def marked(self) -> bool:
        return (self.primary.data_directory / "standby.signal").exists()

    def goes_on(self) -> None:
        """The primary is as it was, and the standby follows it."""
        assert not self.marked
        assert self.primary.psql("CREATE TABLE IF NOT EXISTS on_and_on (); SELECT pg_is_in_recovery()") == "f"
        assert self.standby.psql("SELECT pg_is_in_recovery()") == "t"
        assert self.standby.psql("SELECT count(*) FROM pg_replication_slots") == "0"
        wait_until(lambda: self.standby.psql("SELECT to_regclass('on_and_on')"), "the standby to follow")


def pair_of(make_cluster: MakeCluster, make_folder: MakeFolder, server: str = "embedded") -> Pair:
    primary = make_cluster(server, hot_standby="on")
    hba = "local all all peer\nlocal replication all peer\nhost replication replica 127.0.0.1/32 trust\n"
    (primary.data_directory / "pg_hba.conf").write_text(hba, encoding="utf-8")
    primary.reload()
    primary.psql("CREATE ROLE replica LOGIN REPLICATION")
    standby = primary.standby(make_folder())
    make_cluster.adopt(standby)  # type: ignore[attr-defined]
    standby.configure(listen_addresses="127.0.0.1")
    standby.start()
    state = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    wait_until(lambda: primary.psql(state) == "1", "the standby to stream")
    return Pair(primary, standby)


def clean(results: Results) -> None:
    assert "Traceback" not in results.output


@pytest.mark.parametrize("server", SERVERS)
def test_roles_are_swapped(make_cluster: MakeCluster, make_folder: MakeFolder, server: str) -> None:
    pair = pair_of(make_cluster, make_folder, server)
    pair.primary.psql("CREATE TABLE kept AS SELECT 1 AS n")
    # Longer than a busy machine needs, so that a promotion which sleeps for it is one that is seen.
    pair.standby.psql("ALTER SYSTEM SET wal_retrieve_retry_interval = '60s'")
    pair.standby.reload()
    results = run_tasks([pair.demote(check=True), pair.arm("t1"), pair.demote("t1"), pair.end("collect", "t1"),
                         pair.demote()])  # fmt: skip
    clean(results)
    check, armed, demoted, promoted, again = results
    assert check["changed"] and "Shut the server down" in check["actions"] and check["diff"]
    assert armed["state"] == "waiting"
    assert demoted["clean"] and demoted["point_of_no_return"] and demoted["actions"] == check["actions"]
    assert promoted["state"] == "promoted" and promoted["timeline"] == 2
    # Two proofs that know nothing of each other: the control file there, the WAL here.
    assert parse_lsn(promoted["checkpoint_lsn"]) == parse_lsn(demoted["checkpoint_lsn"])
    assert promoted["seconds"] < 30, "a promotion must not sleep for wal_retrieve_retry_interval"
    assert not again["changed"] and not again["point_of_no_return"]
    pair.standby.psql("INSERT INTO kept VALUES (2)")
    wait_until(lambda: pair.primary.psql("SELECT max(n) FROM kept") == "2", "the old primary to follow")
    assert pair.standby.psql("SELECT slot_name, active FROM pg_replication_slots") == "old|t"
    assert not (pair.standby.data_directory / "promote").exists()


def test_of_two_runs_the_second_one_says_that_the_primary_has_moved(
    make_cluster: MakeCluster, make_folder: MakeFolder
) -> None:
    """The other run was quicker: what is to step down is a standby by now."""
    pair = pair_of(make_cluster, make_folder)
    late = Pair(pair.standby, pair.primary)
    (refused,) = run_tasks([late.demote("0123456789abcdef")])
    assert refused["failed"] and refused["point_of_no_return"] is False and not refused.get("changed"), refused
    assert "standby by now; another run moved the primary" in refused["msg"] and "goes on" not in refused["msg"][:40]
    (alone,) = run_tasks([late.demote()])
    assert not alone.get("failed") and not alone["changed"], alone
    pair.goes_on()


def test_another_shutdown_promotes_nobody(make_cluster: MakeCluster, make_folder: MakeFolder) -> None:
    pair = pair_of(make_cluster, make_folder)
    assert run_tasks([pair.arm("t1")])[0]["state"] == "waiting"
    assert pair.standby.psql("SELECT slot_name FROM pg_replication_slots") == "old"
    pair.primary.run("pg_ctl", "-w", "-D", pair.primary.data_directory, "-m", "fast", "-s", "stop")
    wait_until(
        lambda: not pair.standby.psql("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"), "the end"
    )
    pair.primary.start()
    wait_until(lambda: pair.standby.psql("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"), "its return")
    # A second one takes the place of a standby that waits for a run that died.
    results = run_tasks([pair.arm("t2"), pair.end("collect", "t1"), pair.end("disarm", "t2"), pair.end("disarm", "t2")])
    clean(results)
    assert "took its place" in results[1]["msg"]
    assert results[2]["state"] == "cancelled" and not results[2]["changed"] and results[3]["state"] == "cancelled"
    pair.goes_on()


def test_the_primary_goes_on_where_it_is_refused(make_cluster: MakeCluster, make_folder: MakeFolder) -> None:
    pair = pair_of(make_cluster, make_folder)
    others = "query LIKE '%pg_sleep(120)' AND pid <> pg_backend_pid()"
    busy = subprocess.Popen(
        [str(pair.primary.bin_directory / "psql"), "-X", "-h", str(pair.primary.folder), "-p", str(pair.primary.port),
         "-d", "postgres", "-c", "BEGIN; SELECT pg_sleep(120)"],
        user=pair.primary.superuser if os.geteuid() == 0 else None, cwd="/", stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    try:
        wait_until(lambda: pair.primary.psql(f"SELECT 1 FROM pg_stat_activity WHERE {others}"), "the transaction")
        wrong = {"host": "127.0.0.1", "port": 1, "application_name": "old"}
        (result,) = run_tasks([pair.demote("t1", upstream=wrong, successor="nobody", maximum_transaction_seconds=0.1)])
    finally:
        pair.primary.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        busy.wait()
    assert result["failed"] and result["point_of_no_return"] is False and len(result["problems"]) == 3
    for words in ("nobody does not stream", "Transactions have been open", "Nothing listens there"):
        assert words in result["msg"]
    # Nobody waits, or not for this.
    results = run_tasks([pair.demote("t1"), pair.arm("t2"), pair.demote("t1"), pair.end("disarm", "t2")])
    clean(results)
    for number in (0, 2):
        assert results[number]["failed"] and "does not answer" in results[number]["msg"]
        assert results[number]["point_of_no_return"] is False
    pair.goes_on()


def test_without_its_waiting_process_the_standby_can_be_promoted_by_hand(
    make_cluster: MakeCluster, make_folder: MakeFolder
) -> None:
    pair = pair_of(make_cluster, make_folder)
    run_tasks([pair.arm("t1")])
    os.kill(pair.note["pid"], signal.SIGKILL)
    demoted, collected = run_tasks([pair.demote(), pair.end("collect", "t1")])
    assert demoted["clean"] and pair.primary.psql("SELECT pg_is_in_recovery()") == "t"
    assert collected["failed"] and collected["state"] == "failed" and "was killed" in collected["msg"]
    (promoted,) = run_tasks([Task("pg_promote", {**pair.standby.options, "minimum_lsn": demoted["checkpoint_lsn"]})])
    assert promoted["changed"] and promoted["timeline"] == 2


def test_a_primary_that_was_stopped_comes_back_as_a_standby(make_cluster: MakeCluster, make_folder: MakeFolder) -> None:
    pair = pair_of(make_cluster, make_folder)
    pair.primary.stop()
    (crashed,) = run_tasks([pair.demote()])
    assert crashed["failed"] and "was not shut down cleanly" in crashed["msg"] and not pair.marked
    pair.primary.start()
    pair.primary.run("pg_ctl", "-w", "-D", pair.primary.data_directory, "-m", "fast", "-s", "stop")
    (back,) = run_tasks([pair.demote()])
    assert back["changed"] and back["clean"] and pair.primary.psql("SELECT pg_is_in_recovery()") == "t"


#: The oldest and the newest that are at hand; what a shutdown waits for is the same in all.
BOTH = [server for server in SERVERS if server.values[0] in ("embedded", "15")]


class Receiver:
    """A pg_receivewal that can be stopped as a hung one is."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self._pair = pair
        primary = pair.primary
        self._process = subprocess.Popen(
            [str(primary.bin_directory / "pg_receivewal"), "-D", str(folder), "-h", str(primary.folder), "-p",
             str(primary.port), "-U", primary.superuser, "--status-interval=1"],
            user=primary.superuser if os.geteuid() == 0 else None, cwd="/", stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        wait_until(lambda: self.column("state") == "streaming", "pg_receivewal")

    def column(self, expression: str) -> str:
        return self._pair.primary.psql(
            f"SELECT {expression} FROM pg_stat_replication WHERE application_name = 'pg_receivewal'"
        )

    def hang(self) -> None:
        """It reads nothing more, and the server has more for it than a socket takes."""
        os.kill(self._process.pid, signal.SIGSTOP)
        self._pair.primary.psql("CREATE TABLE much AS SELECT repeat(n::text, 50) FROM generate_series(1, 200000) n")

    def hang_at(self, words: str) -> threading.Thread:
        """It hangs likewise as soon as the server is asked for this."""
        primary = self._pair.primary
        go = primary.data_directory / "go"
        write = "INSERT INTO much SELECT repeat(n::text, 50) FROM generate_series(1, 300000) n"
        primary.psql("CREATE TABLE much (line text)")
        loop = "WHILE (pg_stat_file('go', true)).size IS NULL LOOP PERFORM pg_sleep(0.002); END LOOP"

        def session() -> None:
            primary.run("psql", "-Xq", "-h", primary.folder, "-p", str(primary.port), "-d", "postgres", "-c",
                        f"DO $$ BEGIN {loop}; {write}; END $$", check=False)  # fmt: skip

        writer = threading.Thread(target=session)
        writer.start()

        def watch() -> None:
            wait_until(lambda: words in primary.log(), words, every=0.002)
            os.kill(self._process.pid, signal.SIGSTOP)
            go.touch()
            writer.join()

        watcher = threading.Thread(target=watch)
        watcher.start()
        return watcher

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def test_a_client_that_does_not_answer_is_named_before_anything_is_changed(
    make_cluster: MakeCluster, make_folder: MakeFolder
) -> None:
    pair = pair_of(make_cluster, make_folder)
    receiver = Receiver(pair, make_folder())
    try:
        # As long as it answers it is none, however far its last flush is behind.
        pair.primary.psql("CREATE TABLE little AS SELECT repeat(n::text, 50) FROM generate_series(1, 10000) n")
        assert not run_tasks([pair.demote(check=True)])[0].get("failed")
        receiver.hang()
        wait_until(lambda: receiver.column("clock_timestamp() - reply_time > interval '12 s'") == "t", "its silence")
        checked, refused = run_tasks([pair.demote(check=True), pair.demote()])
    finally:
        receiver.end()
    for result in (checked, refused):
        assert result["failed"] and result["point_of_no_return"] is False, result
        assert "pg_receivewal at" in result["msg"] and "bytes to confirm" in result["msg"], result["msg"]
    pair.goes_on()


@pytest.mark.parametrize("server", BOTH)
def test_a_client_that_hangs_in_the_pause_is_ended(
    make_cluster: MakeCluster, make_folder: MakeFolder, server: str
) -> None:
    """Nothing else would end it: without a checkpoint of the shutdown there would be no primary at all."""
    pair = pair_of(make_cluster, make_folder, server)
    pair.primary.psql("ALTER SYSTEM SET wal_sender_timeout = 0")
    pair.primary.reload()
    receiver = Receiver(pair, make_folder())
    try:
        (armed,) = run_tasks([pair.arm("t1")])
        watcher = receiver.hang_at("statement: CHECKPOINT")
        demoted, promoted = run_tasks(
            [pair.demote("t1", maximum_pause=2, timeout=30, maximum_transaction_seconds=600), pair.end("collect", "t1")]
        )
        watcher.join()
    finally:
        receiver.end()
    assert armed["state"] == "waiting"
    assert demoted.get("clean"), demoted
    assert [name.split(" at ")[0] for name in demoted["ended_wal_senders"]] == ["pg_receivewal"]
    assert promoted["state"] == "promoted", promoted
    assert promoted["times"]["promoted"] - demoted["times"]["stopping"] < 10
    assert pair.primary.psql("SELECT pg_is_in_recovery()") == "t"
    assert pair.standby.psql("SELECT pg_is_in_recovery()") == "f"


def archiving(pair: Pair, command: str) -> None:
    pair.primary.configure(archive_mode="on", archive_command=command)
    pair.primary.run("pg_ctl", "-w", "-D", pair.primary.data_directory, "-m", "fast", "-s", "stop")
    pair.primary.start()
    state = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
    wait_until(lambda: pair.primary.psql(state) == "1", "the standby to stream")


def test_an_archiver_that_would_not_end_is_found_before_anything_is_changed(
    make_cluster: MakeCluster, make_folder: MakeFolder
) -> None:
    pair = pair_of(make_cluster, make_folder)
    mode = make_folder() / "mode"
    mode.write_text("true")
    archiving(pair, f"sh {mode}")
    assert not run_tasks([pair.demote(check=True)])[0].get("failed")
    for body, told in (("exit 1", "Archiving fails"), ("sleep 300", "archive_command has been running for")):
        mode.write_text(body)
        pair.primary.psql("SELECT txid_current(), pg_switch_wal()")
        seen = "SELECT failed_count > 0 FROM pg_stat_archiver" if body == "exit 1" else "SELECT true"
        wait_until(lambda seen=seen: pair.primary.psql(seen) == "t", told)  # type: ignore[misc]
        pause = 1 if body.startswith("sleep") else 10
        wait_until(lambda body=body: "sleep" not in body or _running("sleep 300"), "the command")  # type: ignore[misc]
        time.sleep(pause if pause == 1 else 0)
        checked, refused = run_tasks([pair.demote(check=True, maximum_pause=pause), pair.demote(maximum_pause=pause)])
        for result in (checked, refused):
            assert result["failed"] and result["point_of_no_return"] is False, result
            assert told in result["msg"], result["msg"]
    for pid in _running("sleep 300"):
        os.kill(pid, signal.SIGKILL)
    mode.write_text("true")
    pair.goes_on()


def _running(words: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().replace(b"\0", b" ").decode().strip() == words:
                found.append(int(path.parent.name))
    return found


def test_an_archiver_that_hangs_in_the_pause_keeps_nobody_from_taking_over(
    make_cluster: MakeCluster, make_folder: MakeFolder
) -> None:
    pair = pair_of(make_cluster, make_folder)
    mode = make_folder() / "mode"
    mode.write_text("true")
    archiving(pair, f"sh {mode}")
    run_tasks([pair.arm("t1")])
    mode.write_text("sleep 301")
    try:
        demoted, promoted, again = run_tasks(
            [pair.demote("t1", maximum_pause=2, timeout=40), pair.end("collect", "t1"), pair.demote(check=True)]
        )
        assert promoted["state"] == "promoted", promoted
        assert demoted["failed"] and demoted["point_of_no_return"] is True, demoted
        assert "it waits for its archive_command" in demoted["msg"], demoted["msg"]
        assert again["failed"] and "is shutting down" in again["msg"], again["msg"]
        assert "login" not in again["msg"], again["msg"]
    finally:
        for pid in _running("sleep 301"):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not (pair.primary.data_directory / "postmaster.pid").exists(), "the end of the old primary")
    (back,) = run_tasks([pair.demote()])
    assert back["clean"] and pair.primary.psql("SELECT pg_is_in_recovery()") == "t", back


@pytest.mark.parametrize("server", SERVERS)
def test_records_are_read_as_pg_waldump_reads_them(make_cluster: MakeCluster, server: str) -> None:
    cluster = make_cluster(server, "--wal-segsize=1", "--encoding=UTF8", "--locale=C", wal_keep_size="256MB")
    for number in range(3):
        cluster.psql(
            f"CREATE TABLE t{number} AS SELECT g, repeat(md5(g::text), g % 30) FROM generate_series(1, 2000) g"
        )
        cluster.psql("CHECKPOINT")
        cluster.run("pg_ctl", "-w", "-D", cluster.data_directory, "-m", "fast", "-s", "stop")
        cluster.start()
    folder = cluster.data_directory / "pg_wal"
    names = sorted(path.name for path in folder.iterdir() if re.match(r"^[0-9A-F]{24}$", path.name))
    said = "".join(cluster.run("pg_waldump", folder / name, check=False).stdout for name in names)
    found = re.findall(r"rmgr: (\S+) .*? lsn: (\S+), prev (\S+), .*?desc: (\S+)", said)
    size, right, shutdowns = 1 << 20, 0, 0

    def read(page: int) -> bytes:
        path = Path(folder, segment_name(1, page, size))
        return path.read_bytes()[page % size :][:8192] if path.exists() else b""

    for (manager, at, _previous, word), (_manager, behind, previous, _word) in zip(found, found[1:]):
        start, end = parse_lsn(at), parse_lsn(behind)
        if parse_lsn(previous) != start:
            continue
        # A record begins behind a page's header where the one before it filled the page.
        ends = {end, end - end % 8192} if end % 8192 in (24, 40) else {end}
        records = [record_before(one, {page: read(page) for page in pages_for(one, 8192)}, 8192) for one in ends]
        for record in records:
            if record is not None and record.start == start:
                right += 1
                shutdowns += record.is_shutdown_checkpoint
                assert record.is_shutdown_checkpoint == (manager == "XLOG" and word == "CHECKPOINT_SHUTDOWN")
    assert right > 0.95 * len(found) and shutdowns >= 3
