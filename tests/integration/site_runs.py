# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts on loopback that share one folder, and site.yml run on them as a user runs it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import session_cache
from conftest import COLLECTIONS, ROOT, Cluster, _yaml, server_account
from ports import free_port

T = t.TypeVar("T")
PASSWORD = "repl!cation 1"
#: Small and quick; nothing here is to survive a power cut. A standby would ask again only 5 s after its upstream's end.
PARAMETERS: dict[str, t.Any] = {
    "shared_buffers": "16MB",
    "fsync": False,
    "jit": False,
    "min_wal_size": "2MB",
    "wal_retrieve_retry_interval": "200ms",
}
INITDB = ["--no-sync", "--encoding=UTF8", "--locale=C", "--wal-segsize=1"]
#: Identifiers of reasons to stop that runs gave since a test began; conftest.py holds tests to what they say.
STOPPED: set[str] = set()
#: What is in the tables of roles, settings and slots, and a statement for the rows of every table of a user.
CATALOGUE = """
SELECT pg_is_in_recovery(),
 (SELECT jsonb_agg(slot_name ORDER BY slot_name) FROM pg_replication_slots),
 (SELECT jsonb_agg(row(rolname, rolpassword) ORDER BY rolname) FROM pg_authid),
 (SELECT jsonb_agg(row(setdatabase, setrole, setconfig) ORDER BY 1) FROM pg_db_role_setting);
SELECT format('SELECT %L, count(*), sum(hashtextextended(t::text, 0)) FROM %s t', oid::regclass, oid::regclass)
 FROM pg_class WHERE relkind = 'r' AND oid >= 16384 ORDER BY oid
"""
_RECAP = re.compile(
    r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)\s+skipped=\d+\s+rescued=\d+\s+ignored=\d+",
    re.MULTILINE,
)


class Run(t.NamedTuple):
    """How a run of site.yml ended."""

    status: int
    output: str
    #: Number of changed tasks of each host.
    changed: dict[str, int]
    failed: dict[str, int]

    @property
    def flat(self) -> str:
        """The output as one line: a message may be folded."""
        return re.sub(r"\s+", " ", self.output)

    @property
    def stops(self) -> set[str]:
        """The identifiers of the gate's reasons to stop."""
        _before, found, after = self.flat.partition('"reasons": ')
        return {reason["id"] for reason in json.JSONDecoder().raw_decode(after)[0]} if found else set()


def run_from(status: int, output: str) -> Run:
    rows = _RECAP.findall(output)
    return Run(
        status, output, {row[0]: int(row[1]) for row in rows}, {row[0]: int(row[2]) + int(row[3]) for row in rows}
    )


class Node(Cluster):
    """One host of the inventory, with its server's programs at hand."""

    name: str
    #: What site.yml's inventory says of it besides the common variables.
    variables: dict[str, t.Any]

    @property
    def data_directory(self) -> Path:
        return self.folder / self.name

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def passfile(self) -> Path:
        return self.folder / f"{self.name}.pgpass"

    @property
    def settings_file(self) -> Path:
        return self.data_directory / "pgtandem.conf"

    @property
    def pid(self) -> int | None:
        """The running server's process."""
        try:
            pid = int((self.data_directory / "postmaster.pid").read_text().split("\n")[0])
            return pid if Path(f"/proc/{pid}/cwd").resolve() == self.data_directory else None
        except (OSError, ValueError):
            return None

    @property
    def serves(self) -> bool:
        """Whether its server runs and is not shutting down, when it lets nobody in."""
        return self.pid is not None and "stopping" not in (self.data_directory / "postmaster.pid").read_text()

    def psql(self, sql: str, *, dbname: str = "postgres") -> str:
        port = (self.data_directory / "postmaster.pid").read_text().split("\n")[3]
        done = self.run(
            "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", port, "-d", dbname, "-c", sql
        )
        return done.stdout.strip()

    def setting(self, name: str) -> str:
        return self.psql(f"SHOW {name}")

    def start(self) -> None:
        self.run("pg_ctl", "-w", "-D", self.data_directory, "-l", self.log_file, "-s", "start")

    def stop(self, mode: str = "fast") -> None:
        if self.pid is not None:
            self.run("pg_ctl", "-w", "-D", self.data_directory, "-m", mode, "-s", "stop", check=False)

    def own(self, path: Path) -> None:
        """Give a file that a test made to the server's account."""
        if os.geteuid() == 0:
            shutil.chown(path, self.superuser, pwd.getpwnam(self.superuser).pw_gid)

    def write(self, name: str, text: str, *, append: bool = False) -> None:
        path = self.data_directory / name
        with open(path, "a" if append else "w", encoding="utf-8") as stream:
            stream.write(text)
        self.own(path)


class Site:
    """The hosts of an inventory in one folder."""

    def __init__(self, folder: Path, bin_directory: Path) -> None:
        self.folder, self.bin_directory = folder, bin_directory
        self.nodes: dict[str, Node] = {}
        self.groups: dict[str, list[str]] = {"primary": [], "standby": []}
        self.variables: dict[str, t.Any] = {}
        self.playbook = "site.yml"
        #: More variables of ansible-playbook's environment.
        self.environment: dict[str, str] = {}
        #: What runs modules; by a run to its end a quicker one, unless C(watched).
        self.python = os.environ.get("PGTANDEM_TEST_PYTHON", sys.executable)
        self.watched = False
        # The server's account has to enter the folders of the tests; others may, so that what they see can be tested.
        folder.chmod(0o755)
        self.private = folder / "run"
        self.private.mkdir(mode=0o755)
        self.temporary = folder / "tmp"
        self.temporary.mkdir(mode=0o1777)
        self.temporary.chmod(0o1777)

    def add(self, name: str, group: str, **variables: t.Any) -> Node:
        """A host of one of the two groups."""
        node = Node(self.folder, self.bin_directory, free_port(), server_account())
        node.name, node.variables = name, variables
        self.nodes[name] = node
        if group:
            self.groups[group].append(name)
        return node

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __iter__(self) -> t.Iterator[Node]:
        return iter(self.nodes.values())

    def _common(self) -> dict[str, t.Any]:
        return {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": self.python,
            "pgtandem_address": "127.0.0.1",
            "pgtandem_listen_addresses": "127.0.0.1",
            "pgtandem_manage_packages": False,
            "pgtandem_layout": "custom",
            "pgtandem_service": "none",
            "pgtandem_os_user": server_account(),
            "pgtandem_bin_directory": str(self.bin_directory),
            "pgtandem_client_bin_directory": os.environ.get("PGTANDEM_TEST_CLIENTS", ""),
            "pgtandem_initdb_options": INITDB,
            "pgtandem_replication_password": PASSWORD,
            "pgtandem_timeout": 60,
            "pgtandem_proof_timeout": 20,
        }

    def _variables_of(self, node: Node) -> dict[str, t.Any]:
        own = {
            "pgtandem_instance": node.name,
            "pgtandem_port": node.port,
            "pgtandem_data_directory": str(node.data_directory),
            "pgtandem_login_unix_socket": "",
            "pgtandem_parameters": {**PARAMETERS, "unix_socket_directories": str(self.folder)},
        }
        merged = {**self._common(), **own, **self.variables, **node.variables}
        if "parameters" in merged:
            merged["pgtandem_parameters"] = {**own["pgtandem_parameters"], **merged.pop("parameters")}
        return {name: value for name, value in merged.items() if value is not None}

    def inventory(self, **overrides: dict[str, t.Any]) -> Path:
        """Write the inventory; C(overrides) are more variables of hosts, for this one time."""
        lines = []
        for group, names in self.groups.items():
            lines += [f"{group}:", "  hosts:" if names else "  hosts: {}"]
            for name in names:
                variables = self._variables_of(self.nodes[name])
                more = dict(overrides.get(name, {}))
                if "parameters" in more:
                    more["pgtandem_parameters"] = {**variables["pgtandem_parameters"], **more.pop("parameters")}
                variables.update(more)
                values = {key: value for key, value in variables.items() if value is not None}
                lines += [f"    {name}:"] + [f"      {key}: {_yaml(value)}" for key, value in values.items()]
        path = self.private / "inventory.yml"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def command(self, *arguments: str, **overrides: dict[str, t.Any]) -> dict[str, t.Any]:
        """What subprocess needs to run site.yml."""
        return {
            "args": [
                str(Path(sys.executable).with_name("ansible-playbook")),
                str(ROOT / "playbooks" / self.playbook),
                "-i",
                str(self.inventory(**overrides)),
                *arguments,
            ],
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
            "cwd": self.private,
            "env": {
                **{name: value for name, value in os.environ.items() if not name.startswith(("PG", "ANSIBLE_"))},
                "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
                "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_LOCALHOST_WARNING": "0",
                **session_cache.environment(),
                "TMPDIR": str(self.temporary),
                "LC_ALL": "C.UTF-8",
                **self.environment,
            },
        }

    @property
    def _has_own_configuration(self) -> bool:
        """Whether Ansible or Python starts otherwise than in most tests."""
        own = any(name.startswith(("ANSIBLE_", "PYTHON", "LANG", "LC_")) for name in self.environment)
        return own or (self.private / "ansible.cfg").exists()

    def run(self, *arguments: str, **overrides: dict[str, t.Any]) -> Run:
        """Run site.yml to its end."""
        python = self.python
        if not self.watched and "mitogen" not in self.environment.get("ANSIBLE_STRATEGY", ""):
            self.python = session_cache.forking_python()
        try:
            command = self.command(*arguments, **overrides)
        finally:
            self.python = python
        if not self.watched and not self._has_own_configuration:
            command["args"].insert(0, session_cache.forking_controller(command["env"]))
        done = subprocess.run(**command, check=False)
        assert "Traceback" not in done.stdout, done.stdout
        left = sorted(os.listdir(self.temporary))
        assert left == [], f"left in the folder for temporary files: {left}"
        return run_from(done.returncode, done.stdout)

    @contextlib.contextmanager
    def playing(self, playbook: str) -> t.Iterator[None]:
        """Meanwhile runs are runs of another playbook of the collection."""
        before, self.playbook = self.playbook, playbook
        try:
            yield
        finally:
            self.playbook = before

    def play(self, playbook: str, *arguments: str, **overrides: dict[str, t.Any]) -> Run:
        """Run another playbook of the collection to its end, whatever that is."""
        with self.playing(playbook):
            return self.run(*arguments, **overrides)

    def played(self, playbook: str, *arguments: str, **overrides: dict[str, t.Any]) -> Run:
        """A run of another playbook of the collection that has to end well."""
        with self.playing(playbook):
            return self.converge(*arguments, **overrides)

    def converge(self, *arguments: str, **overrides: dict[str, t.Any]) -> Run:
        """A run that has to end well."""
        run = self.run(*arguments, **overrides)
        assert run.status == 0 and not any(run.failed.values()), run.output
        return run

    def settled(self, *arguments: str, **overrides: dict[str, t.Any]) -> Run:
        """A run that has nothing to do."""
        run = self.converge(*arguments, **overrides)
        assert set(run.changed.values()) == {0}, run.output
        return run

    def refused(
        self, *words: str, arguments: t.Sequence[str] = (), check: bool = True, **overrides: dict[str, t.Any]
    ) -> Run:
        """A run that stops with each of these words in its output, having changed nothing: in check mode first."""
        before = self.fingerprint()
        runs = []
        for mode in (["--check"], []) if check and "--check" not in arguments else ([],):
            run = self.run(*arguments, *mode, **overrides)
            assert run.status != 0, run.output
            missing = [word for word in words if word not in run.flat]
            assert not missing, f"{missing} not in:\n{run.output}"
            assert self.fingerprint() == before
            assert set(run.changed.values()) <= {0}, run.output
            runs.append(run)
        # What only one of the two was stopped for counts for neither.
        STOPPED.update(set.intersection(*(run.stops for run in runs)))
        return runs[-1]

    def fingerprint(self) -> dict[str, str]:
        """Everything that a run must not change when it refuses: of a running server's directory its files' names at
        the top and its configuration, of all else each file's content; which process each server is, and its rows."""
        found: dict[str, str] = {}
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder).parts
            node = self.nodes.get(inside[0])
            if inside[0] in ("run", "tmp") or path.suffix in (".log", ".lock") or inside[0].startswith(".s.PGSQL"):
                continue
            running = node is not None and node.pid is not None
            if running and len(inside) > 2:
                continue
            name = "/".join(inside)
            if path.is_symlink() or not path.is_file():
                found[name] = "there"
                continue
            telling = path.suffix in (".conf", ".signal", ".pgpass") or path.name == "postmaster.pid"
            if running and not telling:
                found[name] = "there"
            else:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] += f" {path.stat().st_mode:o} {path.stat().st_uid}"
        for name, node in self.nodes.items():
            found[f"process of {name}"] = str(node.pid)
            if node.serves:
                catalogue, *tables = node.psql(CATALOGUE).splitlines()
                found[f"rows of {name}"] = catalogue + (node.psql("; ".join(tables)) if tables else "")
        return found

    def streaming(self, upstream: str) -> str:
        """Who streams from a host."""
        return self[upstream].psql(
            "SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_replication "
            "WHERE state = 'streaming'"
        )

    def lose_slot(self) -> str:
        """Stop pg2 and have pg1 write so much that it loses the slot of it; the settings have to allow that.

        Returns the query that says of the slot how it is.
        """
        self["pg2"].stop()
        primary = self["pg1"]
        primary.psql("CREATE TABLE filled AS SELECT repeat(n::text, 100) AS line FROM generate_series(1, 100000) n")
        state = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'pg2'"

        def is_lost() -> bool:
            primary.psql("SELECT pg_switch_wal()")
            primary.psql("CHECKPOINT")
            return primary.psql(state) == "lost"

        wait_until(is_lost, "the loss of the slot")
        return state

    # --- Snapshots: a run from nothing takes ten times as long as a copy of its result. ---

    def build_once(self, name: str, build: t.Callable[[Site], T]) -> T:
        """Have these hosts as C(build) makes them, which it does once in a session; the servers run."""

        def make(folder: Path) -> None:
            result = build(self)
            self.stop()
            state = {"folder": self.folder, "nodes": [(node.name, node.port, node.variables) for node in self],
                     "groups": self.groups, "variables": self.variables, "result": result}  # fmt: skip
            (folder / "state").write_bytes(pickle.dumps(state))
            session_cache.copy(self.folder, folder / "site")
            self.empty()

        programs = hashlib.sha256(str(self.bin_directory).encode()).hexdigest()[:8]
        kept = session_cache.once(f"site-{name}-{programs}", make)
        state = pickle.loads((kept / "state").read_bytes())
        self.nodes.clear()
        self.groups, self.variables = state["groups"], state["variables"]
        moved = {str(state["folder"]): str(self.folder)}
        added = [self.add(one, "", **variables) for one, _port, variables in state["nodes"]]
        old_ports = [port for _one, port, _variables in state["nodes"]]
        # In the same order as those that they take the place of: a password file has its lines sorted.
        places = dict(zip(sorted(old_ports), sorted(node.port for node in added)))
        for node, port in zip(added, old_ports):
            node.port = places[port]
            moved[str(port)] = str(node.port)
        self._take(kept / "site")
        old = re.compile("|".join(rf"\b{word}\b" if word.isdigit() else re.escape(word) for word in moved))
        for path in self.folder.rglob("*"):
            if path.suffix in (".conf", ".pgpass", ".json", ".opts") and path.is_file():
                text = path.read_text(encoding="utf-8")
                if old.search(text):
                    path.write_text(old.sub(lambda match: moved[match[0]], text), encoding="utf-8")
        self.start()
        return t.cast("T", state["result"])

    def _take(self, kept: Path) -> None:
        """Put the files of a stopped site in the place of this one's."""
        for path in self.folder.iterdir():
            if path.name not in ("run", "tmp"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        copied = [path for path in kept.iterdir() if path.name not in ("run", "tmp")]
        subprocess.run(["cp", "-a", "--reflink=auto", *copied, self.folder], check=True)

    def stop(self, mode: str = "fast") -> None:
        """Stop every server, standbys before what they follow."""
        for node in reversed(self.nodes.values()):
            node.stop(mode)

    def start(self) -> None:
        for node in self.nodes.values():
            node.start()

    def save(self) -> None:
        """Keep the stopped servers' folders for C(restore)."""
        self.stop()
        kept = self.folder.with_name(self.folder.name + ".kept")
        session_cache.copy(self.folder, kept)
        self.start()

    def restore(self) -> None:
        """Bring every file back to what it was, and start."""
        self.stop("immediate")
        self._take(self.folder.with_name(self.folder.name + ".kept"))
        self.start()

    def empty(self) -> None:
        """Bring every host back to nothing."""
        self.stop("immediate")
        for path in self.folder.iterdir():
            if path.name not in ("run", "tmp"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def forget(self, *names: str) -> None:
        """Take hosts that a test added out of the inventory, with their servers and folders."""
        for name in names:
            node = self.nodes.pop(name)
            node.stop("immediate")
            for group in self.groups.values():
                if name in group:
                    group.remove(name)
            for path in self.folder.glob(f"{name}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.folder.with_name(self.folder.name + ".kept"), ignore_errors=True)


def descendants(pid: int) -> list[int]:
    """A process and all that it started, also what has left its group."""
    below: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(Path(f"/proc/{name}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        below.setdefault(parent, []).append(int(name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def kill_all(pids: t.Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def children(pid: int | None) -> list[str]:
    """The titles of a process's own processes, as ps prints them."""
    assert pid is not None
    titles = []
    for one in descendants(pid)[1:]:
        try:
            titles.append(Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return titles


class Sampler:
    """Watches every process's words and environment for a text while it is entered."""

    def __init__(self, word: str) -> None:
        self._word, self._stop = word.encode(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seen: list[str] = []

    def _watch(self) -> None:
        while not self._stop.wait(0.03):
            for name in filter(str.isdigit, os.listdir("/proc")):
                for part in ("cmdline", "environ"):
                    try:
                        if self._word in Path(f"/proc/{name}/{part}").read_bytes():
                            self.seen.append(f"{part} of {name}")
                    except OSError:
                        continue

    def __enter__(self) -> list[str]:
        self._thread.start()
        return self.seen

    def __exit__(self, *_unused: object) -> None:
        self._stop.set()
        self._thread.join()


def wait_until(condition: t.Callable[[], object], what: str, *, every: float = 0.05) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(every)
