# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as root where PostgreSQL's account put links, pipes, devices and forged state in place of its files.

Each module runs in a process of its own, below Ansible. What it does with files is heard by an audit hook of Python
(PEP 578), so that the list of its paths is the code's own: none of them is touched with root's ids where the account
can write, and each of them in turn becomes every kind of trap.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib
import io
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import typing as t
from pathlib import Path

import pytest
import session_cache
from ansible.module_utils import basic
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import become, identity_of
from conftest import Cluster, MakeCluster, MakeFolder, server_account
from ports import free_port
from site_runs import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be misled")

MODULES = "ansible_collections.pgtandem.replication.plugins.modules"
CANARY = "a secret of root's, never to be seen"
#: Another account: a number is all that the kernel asks for.
STRANGER = 54321
#: No module may be held up by what lies there.
SECONDS = 45
#: Of the audit hook: events with a path, and at which place the folder's descriptor stands.
EVENTS = {
    "open": None, "os.listdir": None, "os.scandir": None, "os.mkdir": 2, "os.rmdir": 1, "os.remove": 1,
    "os.chmod": 2, "os.chown": 3, "os.rename": 2, "os.symlink": 2, "os.link": 2, "os.truncate": None, "os.utime": 3,
}  # fmt: skip


class Event(t.NamedTuple):
    """Something that a module did with a path, by whose ids, and whether it wanted to write."""

    name: str
    path: str
    uid: int


class Ran(t.NamedTuple):
    """How a module ended."""

    result: dict[str, t.Any]
    output: str
    events: list[Event]
    seconds: float

    def ended_well(self) -> bool:
        """With a result, or with one message of its own."""
        return "exception" not in self.result and (
            not self.result.get("failed") or bool(self.result.get("msg")) and "Traceback" not in self.output
        )


#: Is told of an event and its paths, before it happens.
Hear = t.Callable[[str, t.List[str]], None]


def _listen(log: int, also: Hear | None = None) -> None:
    heard = False

    def hear(event: str, arguments: tuple[t.Any, ...]) -> None:
        nonlocal heard
        if event not in EVENTS or not arguments:
            return
        path = arguments[0]
        if isinstance(path, int):
            return
        path = os.fsdecode(path) if path is not None else "."
        place = EVENTS[event]
        folder = arguments[place] if place is not None and len(arguments) > place else -1
        if not path.startswith("/"):
            if not isinstance(folder, int) or folder < 0:
                return
            path = f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}"
        # What waits on after the module has closed what it inherited.
        with contextlib.suppress(OSError):
            os.write(log, (json.dumps([event, path, os.geteuid()]) + "\n").encode())
        if also is not None and not heard:
            heard = True
            try:
                also(
                    event, [os.fsdecode(name) for name in arguments[:2] if isinstance(name, (str, bytes, os.PathLike))]
                )
            finally:
                heard = False

    sys.addaudithook(hear)


def run_door(name: str, arguments: dict[str, t.Any], also: Hear | None = None, *, as_account: bool = False) -> Ran:
    """Run a module as root in a process of its own, or as PostgreSQL's account (become_user: postgres)."""
    module = importlib.import_module(f"{MODULES}.{name}")
    with tempfile.TemporaryDirectory(prefix="pgt-door-") as folder:
        output, log = Path(folder, "output"), Path(folder, "log")
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            status = 0
            try:
                os.setsid()
                os.chdir("/")
                out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out, 1)
                os.dup2(out, 2)
                sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", buffering=0, closefd=False), write_through=True)
                basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
                basic._ANSIBLE_PROFILE = "legacy"
                signal.alarm(SECONDS)
                heard_in = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                if as_account:
                    # The account may not be able to read this Python's own folder.
                    for encoding in ("ascii", "idna", "latin-1"):
                        codecs.lookup(encoding)
                    become(identity_of(server_account()))
                _listen(heard_in, also)
                module.main()
            except SystemExit:
                pass
            except BaseException:
                os.write(1, traceback.format_exc().encode())
                status = 1
            finally:
                os._exit(status)
        _pid, status = os.waitpid(child, 0)
        seconds = time.monotonic() - began
        with contextlib.suppress(ProcessLookupError):
            # What it may have left behind.
            os.killpg(child, signal.SIGKILL)
        said = output.read_text(encoding="utf-8", errors="replace")
        events = [Event(*json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in said.splitlines() if line.startswith("{")]
        result = json.loads(lines[-1]) if lines and status == 0 else {"exception": f"{status}: {said}"}
        return Ran(result, said, events, seconds)


# --- the place ---


class Roots(t.NamedTuple):
    """A folder in which root alone can write, with what must stay as it is."""

    folder: Path

    def seen(self) -> dict[str, tuple[int, int, int, str]]:
        found = {}
        for path in [self.folder, *sorted(self.folder.rglob("*"))]:
            status = path.lstat()
            text = path.read_text() if stat.S_ISREG(status.st_mode) else ""
            found[str(path)] = (status.st_uid, status.st_gid, status.st_mode, text)
        return found


@pytest.fixture(scope="module")
def roots() -> t.Iterator[Roots]:
    folder = Path(tempfile.mkdtemp(prefix="pgt-roots-", dir="/var/lib"))
    folder.chmod(0o755)
    (folder / "canary").write_text(CANARY)
    (folder / "canary").chmod(0o600)
    (folder / "readable").write_text("no rule at all\n")
    (folder / "empty").mkdir()
    (folder / "full").mkdir(mode=0o700)
    for name in ("PG_15_1", "archive_status"):
        (folder / "full" / name).mkdir()
        (folder / "full" / name / "file").write_text(CANARY)
    yield Roots(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster("embedded")
    made.psql("CREATE ROLE replica LOGIN REPLICATION")
    return made


def own(path: Path) -> None:
    entry = pwd.getpwnam(server_account())
    os.lchown(path, entry.pw_uid, entry.pw_gid)


def plant_pipe(path: Path, _roots: Roots) -> None:
    os.mkfifo(path, 0o600)


def plant_device(path: Path, _roots: Roots) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("no devices can be made here")


def plant_huge(path: Path, _roots: Roots) -> None:
    path.touch(mode=0o600)
    os.truncate(path, 3 << 30)


def plant_folder(path: Path, _roots: Roots) -> None:
    path.mkdir(mode=0o700)


TRAPS: dict[str, t.Callable[[Path, Roots], None]] = {
    "a link to a file of root's": lambda path, roots: path.symlink_to(roots.folder / "canary"),
    "a dangling link into root's folder": lambda path, roots: path.symlink_to(roots.folder / "made"),
    "a link to an empty folder of root's": lambda path, roots: path.symlink_to(roots.folder / "empty"),
    "a link to an endless device": lambda path, _roots: path.symlink_to("/dev/zero"),
    "a pipe": plant_pipe,
    "a device": plant_device,
    "a huge file": plant_huge,
    "a folder": plant_folder,
}


@contextlib.contextmanager
def trapped(path: Path, trap: str, roots: Roots) -> t.Iterator[None]:
    """A trap in place of a path, which is as it was afterwards."""
    away = path.with_name(path.name + ".away")
    held = os.path.lexists(path)
    if held:
        path.rename(away)
    for folder in (path.parent.parent, path.parent):
        if not folder.exists():
            folder.mkdir(mode=0o700)
            own(folder)
    TRAPS[trap](path, roots)
    own(path)
    try:
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if held and away.exists():
            away.rename(path)


# --- what is run ---


def instance(cluster: Cluster) -> dict[str, t.Any]:
    rules = [
        {"type": "local", "database": "all", "user": "all", "method": "peer"},
        {"type": "host", "database": "replication", "user": "replica", "address": "127.0.0.1/32", "method": "auto"},
    ]
    return {
        **cluster.options,
        "parameters": {"work_mem": "5MB"},
        "hba_rules": rules,
        "peers": [{"host": "127.0.0.1", "port": 1}],
        "replication_password": "a word",
    }


def claim(cluster: Cluster) -> dict[str, t.Any]:
    return {**cluster.options, "target": "pg2", "timeline": 1, "system_identifier": "7"}


DOORS: dict[str, tuple[str, t.Callable[[Cluster], dict[str, t.Any]]]] = {
    "status": ("pg_replication_status", lambda cluster: cluster.options),
    "instance": ("pg_instance", instance),
    "claim": ("pg_claim", claim),
    "restored": ("pg_set_aside", lambda cluster: {**cluster.options, "state": "restored"}),
    "absent": ("pg_set_aside", lambda cluster: {**cluster.options, "state": "absent"}),
}

#: From the data directory on, what each of them opens or writes: test_the_paths_are_these looks.
PATHS: dict[str, tuple[str, ...]] = {
    "status": (
        "/postmaster.pid",
        "/PG_VERSION",
        "/postgresql.conf",
        "/postgresql.auto.conf",
        "/pgtandem.conf",
        ".pgtandem-aside.json",
        ".pgtandem-claim.json",
    ),
    "instance": (
        "/PG_VERSION",
        "/global/pg_control",
        "/pg_hba.conf",
        "/pg_ident.conf",
        "/pgtandem.conf",
        "/postgresql.auto.conf",
        "/postgresql.conf",
        "/postmaster.pid",
        ".pgpass",
    ),
    "claim": (".pgtandem-claim.json",),
    "restored": (".pgtandem-aside.json",),
    "absent": (".pgtandem-aside.json",),
}
#: Made by a program that runs as the account, or a name of the moment.
MOMENTARY = (".away", "-incoming", "/.")


def run(door: str, cluster: Cluster, *, as_account: bool = False) -> Ran:
    name, arguments = DOORS[door]
    return run_door(name, arguments(cluster), as_account=as_account)


def touched(ran: Ran, cluster: Cluster) -> set[str]:
    """The files that a run opened in the account's folder, from the data directory on."""
    start = str(cluster.data_directory)
    return {
        event.path[len(start) :]
        for event in ran.events
        if event.path.startswith(start) and event.name == "open" and not any(part in event.path for part in MOMENTARY)
    }


def with_roots_ids(ran: Ran, cluster: Cluster) -> list[Event]:
    """What a run did as root where the account can write."""
    return [event for event in ran.events if event.path.startswith(f"{cluster.folder}/") and event.uid == 0]


def assert_root_kept(ran: Ran, cluster: Cluster, roots: Roots, before: t.Mapping[str, t.Any]) -> None:
    """What is root's is as it was and nowhere shown, and the run ended in time, with a result or one message."""
    assert roots.seen() == before
    assert CANARY not in ran.output
    assert with_roots_ids(ran, cluster) == []
    assert ran.ended_well(), ran.output
    assert ran.seconds < SECONDS


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_done_with_roots_ids(cluster: Cluster, door: str) -> None:
    ran = run(door, cluster)
    assert ran.ended_well(), ran.output
    assert with_roots_ids(ran, cluster) == []


@pytest.mark.parametrize("door", DOORS)
def test_the_paths_are_these(cluster: Cluster, door: str) -> None:
    """A path that is new in the code belongs into the table, so that it becomes a trap as well."""
    run("instance", cluster)
    seen = {path for path in touched(run(door, cluster), cluster) if path and not path.startswith("/pg_wal")}
    assert sorted(seen - set(PATHS[door])) == []


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize(("door", "path"), [(door, path) for door, paths in PATHS.items() for path in paths])
def test_a_trap_is_refused_or_passed_by(cluster: Cluster, roots: Roots, door: str, path: str, trap: str) -> None:
    before = roots.seen()
    with trapped(Path(f"{cluster.data_directory}{path}"), trap, roots):
        ran = run(door, cluster)
    assert_root_kept(ran, cluster, roots, before)


@pytest.mark.parametrize("trap", TRAPS)
def test_a_status_asks_no_server_about_a_trap(cluster: Cluster, roots: Roots, trap: str) -> None:
    """The server opens its rules itself when it is asked what it makes of them."""
    before = roots.seen()
    with trapped(cluster.data_directory / "pg_hba.conf", trap, roots):
        ran = run("status", cluster)
    assert_root_kept(ran, cluster, roots, before)
    assert ran.result["replication"]["running"], ran.output


@pytest.mark.parametrize("name", ["pg_hba.conf", "pg_ident.conf"])
def test_no_server_is_made_to_read_a_pipe(make_cluster: MakeCluster, roots: Roots, name: str) -> None:
    """A reload of what only the server reads."""
    cluster = make_cluster("embedded")
    arguments = {**cluster.options, "parameters": {"work_mem": "5MB"}, "only_parameters": True}
    before = roots.seen()
    with trapped(cluster.data_directory / name, "a pipe", roots):
        ran = run_door("pg_instance", arguments)
    assert_root_kept(ran, cluster, roots, before)
    assert ran.result.get("failed") and "a named pipe" in ran.result["msg"], ran.output
    assert not run_door("pg_instance", arguments).result.get("failed")


#: By the same way to files, so that the traps take turns, a path after the other.
_AS_ACCOUNT = [
    pytest.param(door, path, trap, marks=() if place == turn % 8 else pytest.mark.repetition("one way to files"))
    for turn, (door, path) in enumerate((door, path) for door, paths in PATHS.items() for path in paths)
    for place, trap in enumerate(TRAPS)
]


@pytest.mark.parametrize(("door", "path", "trap"), _AS_ACCOUNT)
def test_a_run_that_is_the_account_itself_ends_as_well(
    cluster: Cluster, roots: Roots, door: str, path: str, trap: str
) -> None:
    """C(become_user) is the account, and root has no part in it."""
    before = roots.seen()
    with trapped(Path(f"{cluster.data_directory}{path}"), trap, roots):
        ran = run(door, cluster, as_account=True)
    assert roots.seen() == before
    assert CANARY not in ran.output
    assert ran.ended_well(), ran.output
    assert ran.seconds < SECONDS


#: What the account writes into a text that is read: bytes that no path and no number holds, and far too much of them.
TEXTS = {
    "a NUL": "x\0y",
    "no UTF-8": "x\udcff\udcfey",
    "control characters": "x\x1b]0;title\x07\r\x85y",
    "a megabyte": "x" * (1 << 20),
    "many folders": "x/" * 5000,
    "detours": "../" * 20 + "root/canary",
}
#: Where such a text stands, from the data directory on, and what around it.
WITH_TEXT = {
    "an include": ("/postgresql.conf", "{before}\ninclude_if_exists = '{text}'\n"),
    "an included folder": ("/postgresql.conf", "{before}\ninclude_dir = '{text}'\n"),
    "hba_file": ("/postgresql.conf", "{before}\nhba_file = '{text}'\n"),
    "a rule's file": ("/pg_hba.conf", "{before}\nlocal @{text} all peer\n"),
    "the version": ("/PG_VERSION", "{text}\n"),
    "the socket's folder": ("/postmaster.pid", "{lines[0]}\n{lines[1]}\n{lines[2]}\n{lines[3]}\n{text}\n"),
    "the process": ("/postmaster.pid", "{text}\n{lines[1]}\n"),
    "a claim": (".pgtandem-claim.json", '{{"target": "{text}", "timeline": 1, "system_identifier": "7"}}'),
    "an alteration": ("/postgresql.auto.conf", "primary_conninfo = '{text}'\n"),
    "the log": ("/current_logfiles", "stderr {text}\n"),
}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, marks=() if text in ("a NUL", "no UTF-8") else pytest.mark.repetition("one way to files"))
        for text in TEXTS
    ],
)
@pytest.mark.parametrize("place", WITH_TEXT)
@pytest.mark.parametrize("door", ["status", "instance"])
def test_a_hostile_text_ends_in_a_message_or_in_nothing(
    cluster: Cluster, roots: Roots, door: str, place: str, text: str
) -> None:
    suffix, pattern = WITH_TEXT[place]
    path = Path(f"{cluster.data_directory}{suffix}")
    before = path.read_text() if path.exists() else ""
    before_roots = roots.seen()
    words = pattern.format(before=before, text=TEXTS[text], lines=[*before.splitlines(), *[""] * 5])
    path.write_text(words, encoding="utf-8", errors="surrogateescape")
    own(path)
    try:
        ran = run(door, cluster)
    finally:
        # A server that is reloaded removes some itself.
        path.unlink(missing_ok=True) if not before else path.write_text(before)
    assert roots.seen() == before_roots
    assert with_roots_ids(ran, cluster) == []
    assert ran.ended_well(), ran.output[-3000:]
    assert ran.seconds < SECONDS


# --- while a module is at work ---


class Paused(t.NamedTuple):
    """A server's programs, of which C(postgres -C) waits until something was done."""

    folder: Path

    @contextlib.contextmanager
    def during(self, act: t.Callable[[str], object]) -> t.Iterator[None]:
        """Act each time, with the words of the call."""
        done = threading.Event()

        def serve() -> None:
            while not done.wait(0.005):
                if (self.folder / "paused").exists():
                    act((self.folder / "paused").read_text())
                    (self.folder / "paused").unlink()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@pytest.fixture(scope="module")
def paused(cluster: Cluster, make_folder: MakeFolder) -> Paused:
    folder = make_folder()
    own(folder)
    for program in cluster.bin_directory.iterdir():
        (folder / program.name).symlink_to(program)
    (folder / "postgres").unlink()
    (folder / "postgres").write_text(
        f"""#!/bin/sh
case "$*" in *"-C max_connections"*)
    echo "$*" > {folder}/writing && mv {folder}/writing {folder}/paused
    n=0; while [ -e {folder}/paused ] && [ $n -lt 100 ]; do sleep 0.05; n=$((n + 1)); done;;
esac
exec {cluster.bin_directory}/postgres "$@"
"""
    )
    (folder / "postgres").chmod(0o755)
    return Paused(folder)


def test_no_other_account_reads_the_settings_that_are_judged(cluster: Cluster, paused: Paused) -> None:
    seen: list[subprocess.CompletedProcess[str]] = []

    def look(words: str) -> None:
        folder = re.search(r"-D (\S*/pgtandem-\S+)", words)
        if folder:
            command = ["/bin/sh", "-c", f"ls -ld {folder[1]}; cat {folder[1]}/postgresql.conf"]
            seen.append(subprocess.run(
                command, text=True, capture_output=True, check=False, user=STRANGER, group=STRANGER, extra_groups=[]
            ))  # fmt: skip

    secret = {"archive_command": "/bin/true --key=a-secret-of-the-archive", "work_mem": "7MB"}
    with paused.during(look):
        ran = run_door("pg_instance", {**instance(cluster), "bin_directory": str(paused.folder), "parameters": secret})
    assert not ran.result.get("failed"), ran.output
    assert seen and not [done.stdout for done in seen if "a-secret-of-the-archive" in done.stdout]


@pytest.mark.parametrize(("door", "path"), [(door, path) for door, paths in PATHS.items() for path in paths])
def test_a_path_is_exchanged_at_each_step(cluster: Cluster, roots: Roots, door: str, path: str) -> None:
    """What lies there and a link to a file of root's change places before everything that is done with the path."""
    run("instance", cluster)
    place = Path(f"{cluster.data_directory}{path}")
    link, third = (place.with_name(f"{place.name}.{name}") for name in ("link", "third"))
    held = place.exists()
    kept = place.read_bytes() if held else b"{}"
    mode = place.stat().st_mode if held else 0o600

    def exchange(_event: str, paths: list[str]) -> None:
        if place.name in [os.path.basename(name) for name in paths]:
            with contextlib.suppress(OSError):
                for one, other in ((place, third), (link, place), (third, link)):
                    one.rename(other)

    before = roots.seen()
    try:
        place.write_bytes(kept)
        own(place)
        link.symlink_to(roots.folder / "canary")
        name, arguments = DOORS[door]
        ran = run_door(name, arguments(cluster), exchange)
        texts = [file.read_bytes() for file in place.parent.glob(f"{place.name}*") if not file.is_symlink()]
    finally:
        for file in (place, link, third):
            file.unlink(missing_ok=True)
        if held:
            place.write_bytes(kept)
            place.chmod(mode)
            own(place)
    assert [event for event in ran.events if event.path == str(third)], "they never changed places"
    assert_root_kept(ran, cluster, roots, before)
    assert not [text for text in texts if CANARY.encode() in text]


#: What lies there first, and what from the moment on when it was read, or when it was written.
EXCHANGES = [("link", "file", "open"), ("file", "link", "open"), ("file", "link", "os.rename")]


@pytest.mark.parametrize(("first", "second", "moment"), EXCHANGES)
def test_a_file_is_exchanged_before_it_is_put_back(
    cluster: Cluster, roots: Roots, first: str, second: str, moment: str
) -> None:
    """The server refuses this pg_hba.conf, and so does it one with the text of root's file."""
    path = cluster.data_directory / "pg_hba.conf"
    away, link, file = (path.with_name(f"pg_hba.conf.{name}") for name in ("away", "link", "file"))
    # The server is to read on and refuse it where it has been written.
    link.symlink_to(roots.folder / ("readable" if moment == "os.rename" else "canary"))
    file.write_text("local all all peer\nlocal replication all peer\nno rule at all\n")
    file.chmod(0o600)
    own(file)
    own(link)
    before = roots.seen()
    step = 0

    def exchange(event: str, paths: list[str]) -> None:
        nonlocal step
        if step == 0 and event == moment and "pg_hba.conf" in [os.path.basename(path) for path in paths]:
            step = 1
        elif step == 1:
            step = 2
            path.with_name(f"pg_hba.conf.{second}").rename(path)

    path.rename(away)
    path.with_name(f"pg_hba.conf.{first}").rename(path)
    try:
        ran = run_door("pg_instance", instance(cluster), exchange)
        held = [name for name in cluster.data_directory.glob("pg_hba.conf*") if not name.is_symlink()]
        texts = [name.read_text() for name in held]
    finally:
        for name in (link, file, path):
            name.unlink(missing_ok=True)
        away.rename(path)
    assert roots.seen() == before
    assert not [text for text in texts if CANARY in text], "root read for the account"
    assert CANARY not in ran.output
    assert ran.ended_well() and ran.result.get("failed"), ran.output


# --- the doors that change what a host is: each begins with a scene, which is put up again before every trap ---


class Scene:
    """A data directory in a state, and what is done to it."""

    def __init__(self, cluster: Cluster, snapshot: Path | None, arguments: dict[str, t.Any]) -> None:
        self.cluster, self._snapshot, self.arguments = cluster, snapshot, arguments

    def end(self) -> None:
        """Stop what was started, whatever lies where its files were."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(folder / "cwd") == str(self.cluster.data_directory):
                    os.kill(int(folder.name), signal.SIGKILL)

    def put_up(self) -> None:
        self.end()
        for path in self.cluster.folder.iterdir():
            if path.name.startswith("data"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if self._snapshot is not None:
            session_cache.copy(self._snapshot, self.cluster.data_directory)


class Scenes(t.NamedTuple):
    """One for each door, around a primary that runs."""

    demote: Scene
    rewind: Scene
    promote: Scene
    arm: Scene
    basebackup: Scene


def _kept(cluster: Cluster, name: str) -> Path:
    """A copy of a stopped server's data directory beside it."""
    place = cluster.folder / name
    session_cache.copy(cluster.data_directory, place)
    return place


def _stop_cleanly(cluster: Cluster) -> None:
    cluster.run("pg_ctl", "-w", "-D", cluster.data_directory, "-m", "fast", "-s", "stop")


@pytest.fixture(scope="module")
def scenes(make_cluster: MakeCluster, make_folder: MakeFolder) -> Scenes:
    old = make_cluster("embedded", hot_standby="on", wal_log_hints="on")
    hba = "local all all peer\nlocal replication all peer\nhost all,replication replica 127.0.0.1/32 trust\n"
    (old.data_directory / "pg_hba.conf").write_text(hba, encoding="utf-8")
    old.reload()
    old.psql("CREATE ROLE replica LOGIN REPLICATION SUPERUSER; SELECT pg_create_physical_replication_slot('old', true)")
    new = old.standby(make_folder())
    make_cluster.adopt(new)  # type: ignore[attr-defined]
    new.configure(listen_addresses="127.0.0.1")
    new.start()
    wait_until(lambda: old.psql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"), "the standby to stream")
    _stop_cleanly(old)
    stopped = _kept(old, "kept-stopped")
    new.run("pg_ctl", "-w", "-D", new.data_directory, "-s", "promote")
    new.psql("SELECT pg_create_physical_replication_slot('old', true); CHECKPOINT")
    old.start()
    old.psql("CREATE TABLE apart AS SELECT 1; CHECKPOINT")
    _stop_cleanly(old)
    diverged = _kept(old, "kept-diverged")
    follower = new.standby(make_folder())
    make_cluster.adopt(follower)  # type: ignore[attr-defined]
    follower.configure(listen_addresses="127.0.0.1")
    follower.start()
    empty = Cluster(make_folder(), new.bin_directory, free_port(), new.superuser)
    make_cluster.adopt(empty)  # type: ignore[attr-defined]
    upstream = {"host": "127.0.0.1", "port": new.port, "application_name": "old", "slot": "old"}
    source = {"source_host": "127.0.0.1", "source_port": new.port, "source_password": "a word"}
    waiting = {"after": "shutdown", "phase": "arm", "token": "0123456789abcdef", "patience": 3, "timeout": 3}
    return Scenes(
        demote=Scene(old, stopped, {**old.options, "upstream": upstream, "timeout": 10}),
        rewind=Scene(old, diverged, {**old.options, **source, "timeout": 10}),
        promote=Follower(follower, {**follower.options, "minimum_lsn": "FFFFFFFF/0", "timeout": 5}),
        arm=Follower(follower, {**follower.options, **waiting}),
        basebackup=Scene(
            empty,
            None,
            {**empty.options, "upstream_host": "127.0.0.1", "upstream_port": new.port, "upstream_password": "a word"},
        ),
    )


class Follower(Scene):
    """A standby that goes on: what is asked of it is refused, or ended."""

    def __init__(self, cluster: Cluster, arguments: dict[str, t.Any]) -> None:
        super().__init__(cluster, None, arguments)

    def end(self) -> None:
        note = self.cluster.data_directory / "pgtandem-promote.json"
        if note.is_file() and not note.is_symlink() and note.stat().st_size < 10_000:
            with contextlib.suppress(ProcessLookupError, ValueError, KeyError):
                os.kill(json.loads(note.read_text())["pid"], signal.SIGKILL)
            note.unlink()

    def put_up(self) -> None:
        self.end()


#: From the data directory on, what each of them opens or writes, and where a trap stands in the way of a copy.
SCENE_PATHS: dict[str, tuple[str, ...]] = {
    "demote": (
        "/PG_VERSION",
        "/current_logfiles",
        "/global/pg_control",
        "/pgtandem.conf",
        "/postgresql.auto.conf",
        "/postgresql.conf",
        "/postmaster.pid",
        "/standby.signal",
        ".pgpass",
    ),
    "rewind": (
        "/PG_VERSION",
        "/pg_hba.conf",
        "/pg_ident.conf",
        "/postgresql.auto.conf",
        "/postgresql.conf",
        "/postgresql.conf.pgtandem-copy",
        "/postmaster.pid",
        "/standby.signal",
        ".pgtandem-rewind",
        ".pgtandem-rewind/entries",
        ".pgtandem-rewind/pass",
        ".pgtandem-rewind/state.json",
        ".pgtandem-rewind/wal",
        ".pgtandem-trial",
    ),
    "promote": ("/postmaster.pid", "/postgresql.conf", "/postgresql.auto.conf"),
    "arm": ("/pgtandem-promote.json", "/postgresql.auto.conf", "/postgresql.conf", "/postmaster.pid"),
    "basebackup": (
        "",
        "/PG_VERSION",
        "/pgtandem-incoming",
        "/pgtandem-incoming.json",
        "/pgtandem-job",
        "/pgtandem-job/progress.json",
        "/postmaster.pid",
        ".pgtandem-aside.json",
    ),
}
#: PostgreSQL's own trees, and one name for what a rewind keeps.
_OWN_TREES = re.compile(r"/(base|global|pg_[a-z]+)(/.*)?")
_SHORTER = re.compile(r"(/(entries|wal))/.*|\.pgtandem-copy$")


def kinds_of(paths: t.Iterable[str]) -> set[str]:
    """Paths as the table has them."""
    return {_SHORTER.sub(r"\1", path) for path in paths if path and not _OWN_TREES.fullmatch(path)}


def run_scene(door: str, scenes: Scenes) -> Ran:
    module = {"arm": "pg_promote"}.get(door, f"pg_{door}")
    return run_door(module, getattr(scenes, door).arguments)


@pytest.mark.parametrize("door", SCENE_PATHS)
def test_a_change_does_nothing_with_roots_ids(scenes: Scenes, door: str) -> None:
    """And the paths are those of the table; another one belongs into it."""
    scene: Scene = getattr(scenes, door)
    scene.put_up()
    ran = run_scene(door, scenes)
    assert ran.ended_well(), ran.output
    assert bool(ran.result.get("failed")) is (door == "promote"), ran.output
    assert with_roots_ids(ran, scene.cluster) == []
    assert sorted(kinds_of(touched(ran, scene.cluster)) - set(SCENE_PATHS[door])) == []


#: All traps are tried on the doors above, by the same way to files; here these take turns, a path after the other.
_TURNS = ("a dangling link into root's folder", "a link to an empty folder of root's", "a pipe")
_CHANGES = [
    pytest.param(
        door, path, trap, marks=() if trap == _TURNS[turn % 3] else pytest.mark.repetition("one way to files")
    )
    for turn, (door, path) in enumerate((door, path) for door, paths in SCENE_PATHS.items() for path in paths)
    for trap in TRAPS
]  # fmt: skip


@pytest.mark.parametrize(("door", "path", "trap"), _CHANGES)
def test_a_change_refuses_a_trap_or_passes_it_by(scenes: Scenes, roots: Roots, door: str, path: str, trap: str) -> None:
    if path.endswith(".pgtandem-copy") and trap == "a huge file":
        pytest.skip("a file of the user's in that folder is kept, as long as it takes to copy it")
    scene: Scene = getattr(scenes, door)
    scene.put_up()
    before = roots.seen()
    with trapped(Path(f"{scene.cluster.data_directory}{path}"), trap, roots):
        ran = run_scene(door, scenes)
        scene.end()
    assert_root_kept(ran, scene.cluster, roots, before)


@pytest.mark.parametrize(("kind", "phase"), [("files", "rewound"), ("folders", "rewound"), ("folders", "rewinding")])
def test_a_forged_state_of_a_rewind_moves_nothing(scenes: Scenes, roots: Roots, kind: str, phase: str) -> None:
    """Names that lead through a link of the account's into root's folder, there and back."""
    scene = scenes.rewind
    scene.put_up()
    before = roots.seen()
    data = scene.cluster.data_directory
    folder = data.with_name(data.name + ".pgtandem-rewind")
    place = folder / "entries" / "link"
    place.mkdir(parents=True)
    (place / "canary").write_text("planted by the account")
    if phase == "rewound":
        (place / "full").mkdir()
    (data / "link").symlink_to(roots.folder)
    noted = {"files": [], "folders": [], kind: ["link/canary" if kind == "files" else "link/full"]}
    (folder / "state.json").write_text(json.dumps({"phase": phase, "mode": 0o700, "source": "x:1", **noted}))
    for path in [folder, *folder.rglob("*"), data / "link"]:
        own(path)
    ran = run_scene("rewind", scenes)
    (data / "link").unlink(missing_ok=True)
    assert roots.seen() == before
    assert with_roots_ids(ran, scene.cluster) == []
    assert ran.ended_well(), ran.output


#: What the hook hears before the copy is made, and before it takes its name.
_OF_A_COPY = {"made": "open", "named": "os.rename"}


@pytest.mark.parametrize(
    "trap", ["a link to a file of root's", "a dangling link into root's folder", "a pipe", "a folder"]
)
@pytest.mark.parametrize("moment", _OF_A_COPY)
@pytest.mark.parametrize("turn", [1, 2], ids=["put away", "brought back"])
def test_a_copy_is_exchanged_while_a_rewind_keeps_it(
    scenes: Scenes, roots: Roots, moment: str, trap: str, turn: int
) -> None:
    """The copy of postgresql.conf, on its way out of the data directory, and on its way back."""
    scene = scenes.rewind
    scene.put_up()
    before = roots.seen()
    met = 0

    def exchange(event: str, paths: list[str]) -> None:
        nonlocal met
        name = "postgresql.conf.pgtandem-copy"
        if event != _OF_A_COPY[moment] or os.path.basename(paths[0]) != name:
            return
        met += 1
        if met == turn:
            path = Path(paths[0])
            path.unlink(missing_ok=True)
            TRAPS[trap](path, roots)

    ran = run_door("pg_rewind", scene.arguments, exchange)
    scene.end()
    assert_root_kept(ran, scene.cluster, roots, before)
    kept = [path for path in scene.cluster.folder.glob("data*/**/*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]


class Stopped(t.NamedTuple):
    """A server that does not run, which is why its log is read."""

    cluster: Cluster

    def asked(self) -> Ran:
        return run_door("pg_replication_status", {**self.cluster.options, "expect": {"state": ["running"]}})


@pytest.fixture(scope="module")
def stopped(make_cluster: MakeCluster) -> Stopped:
    return Stopped(make_cluster("embedded", start=False))


@pytest.mark.parametrize("text", [*TEXTS, "root's file", "root's pipe"])
def test_the_log_that_is_named_is_read_as_the_account(stopped: Stopped, roots: Roots, text: str) -> None:
    """Any path may stand in current_logfiles."""
    pipe = roots.folder / "pipe"
    os.mkfifo(pipe, 0o666)
    named = {"root's file": str(roots.folder / "canary"), "root's pipe": str(pipe)}.get(text) or TEXTS[text]
    path = stopped.cluster.data_directory / "current_logfiles"
    path.write_text(f"stderr {named}\njsonlog ../{named}\n", encoding="utf-8", errors="surrogateescape")
    own(path)
    try:
        ran = stopped.asked()
    finally:
        path.unlink()
        pipe.unlink()
    assert CANARY not in ran.output
    assert ran.ended_well() and ran.result.get("failed"), ran.output
    assert ran.seconds < SECONDS


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_place_of_the_name_of_the_log(stopped: Stopped, roots: Roots, trap: str) -> None:
    before = roots.seen()
    with trapped(stopped.cluster.data_directory / "current_logfiles", trap, roots):
        ran = stopped.asked()
    assert roots.seen() == before
    assert CANARY not in ran.output
    # Without it the rest of the status is told all the same.
    assert ran.result.get("status") or "running" in ran.result["msg"], ran.output


def test_a_log_elsewhere_gives_the_cause(make_cluster: MakeCluster, make_folder: MakeFolder) -> None:
    """log_directory is absolute, and the name holds a folder."""
    folder = make_folder()
    (folder / "below").mkdir()
    own(folder / "below")
    cluster = make_cluster(
        "embedded",
        start=False,
        logging_collector="on",
        log_directory=str(folder),
        log_filename="below/server.log",
        log_statement="none",
        log_min_duration_statement="-1",
        primary_conninfo="host=127.0.0.1 port=1",
        hot_standby="on",
    )
    signal_file = cluster.data_directory / "standby.signal"
    signal_file.touch(mode=0o600)
    own(signal_file)
    cluster.start()
    wait_until(lambda: "Connection refused" in (folder / "below" / "server.log").read_text(), "a refused connection")
    ran = run_door("pg_replication_status", {**cluster.options, "expect": {"streaming": True}, "timeout": 1})
    assert ran.result.get("failed") and "Connection refused" in ran.result["msg"], ran.output
