# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""pgbench on a cluster that others use: its own database, one session's setting a level, and nothing left behind.

What a session may choose for itself is set for pgbench's sessions alone. Only where nobody is waited for at all does
synchronous_standby_names have to be set meanwhile. Then synchronous_commit is set to local for everybody else with it,
so that their commits go on as before; both stand below a mark at the end of the managed file, and whoever comes next,
this job or the role, takes them out, whatever kept this one from doing so.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import (
    Login,
    find_postmaster,
    local_target,
    open_database,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import render_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._values.pgbench import (
    REMOTE,
    lag_of,
    parse_run,
    run_arguments,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import (
    passfile_line,
    quote_identifier,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.standby_names import (
    StandbyNames,
    render_names,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import supports

#: Everything from here on in the managed file is a benchmark's.
MARK = (
    "# A benchmark runs: from here on for its length alone. The next run of site.yml or benchmark.yml takes it out.\n"
)
#: What a database of a benchmark is told by; only such a one is ever dropped.
COMMENT = "pgtandem.replication: the database of a benchmark, to be dropped"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class BenchmarkRequest:
    """What to measure, and how."""

    levels: tuple[str, ...]
    database: str
    login: Login
    seconds: int = 10
    clients: int = 4
    threads: int = 1
    scale: int = 10
    #: The names that standbys give themselves, for the levels that wait for one.
    standbys: tuple[str, ...] = ()


class Interrupted(ReplicationError):
    """Somebody wants this to end."""


def without_mark(text: str) -> str:
    """The managed file as it is without a benchmark.

    >>> without_mark("port = '5432'\\n" + MARK + "synchronous_commit = 'local'\\n")
    "port = '5432'\\n"
    """
    return text.split(MARK, 1)[0]


class _Lag:
    """Looks at the WAL senders twice a second, in a session of its own."""

    def __init__(self, database: Database) -> None:
        self._database, self._stop = database, threading.Event()
        self.samples: list[dict[str, t.Any]] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            # A sample that cannot be had is one sample less.
            with contextlib.suppress(ReplicationError):
                row = self._database.row(
                    "SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) AS bytes,"
                    " max(extract(epoch FROM replay_lag)) AS seconds FROM pg_stat_replication WHERE state = 'streaming'"
                )
                if row is not None:
                    self.samples.append(row)

    def __enter__(self) -> _Lag:
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._stop.set()
        self._thread.join()


class Benchmark:
    """One run of all levels."""

    def __init__(self, host: Host, request: BenchmarkRequest, database: Database, folder: str) -> None:
        self._host, self._request, self._database, self._folder = host, request, database, folder
        self._target = local_target(host, request.login, find_postmaster(host))

    def _pgbench(self, words: t.Sequence[str], level: str | None = None) -> str:
        host, target = self._host, self._target
        environment = {"PGOPTIONS": f"-c synchronous_commit={level or 'local'}"}
        if target.password is not None:
            environment["PGPASSFILE"] = f"{self._folder}/pass"
        place = ["-h", target.host, "-p", str(target.port), "-U", target.user]
        argv = [_program(host), *place, *words, self._request.database]
        done = host.runner.run(argv, user=host.instance.os_user, environment=environment)
        return done.stdout + done.stderr

    def _write_passfile(self) -> None:
        target = self._target
        if target.password is not None:
            line = passfile_line(host=target.host, port=target.port, user=target.user, password=target.password)
            path = f"{self._folder}/pass"
            self._host.files.write_text(path, line + "\n", mode=0o600)

    def put_back(self) -> bool:
        """Take out what this or an earlier benchmark put into the managed file."""
        path = self._host.instance.settings_file
        text = self._host.files.read_text(path) or ""
        if MARK not in text:
            return False
        self._write(without_mark(text))
        return True

    def _write(self, text: str) -> None:
        path = self._host.instance.settings_file
        mode = self._host.files.mode(path) or 0o640
        before = self._database.value("SELECT pg_conf_load_time()::text")
        self._host.files.write_text(path, text, mode=mode)
        self._database.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and self._database.value("SELECT pg_conf_load_time()::text") == before:
            time.sleep(0.05)

    def drop(self) -> bool:
        """Drop the benchmark's database, with whoever still works in it; any other one is left."""
        name = self._request.database
        told = self._database.row(
            "SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = %s", [name]
        )
        if told is None:
            return False
        if told["comment"] != COMMENT:
            raise ReplicationError(
                f"There is a database {name!r} already, and it is not one that a benchmark made. Name another one in "
                "pgtandem_benchmark_database. Nothing was measured."
            )
        self._database.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name]
        ):
            time.sleep(0.1)
        self._database.execute(f"DROP DATABASE {quote_identifier(name)}")
        return True

    def _let_wait(self) -> None:
        """See that somebody is waited for where a level asks for it, without any harm to the commits of others."""
        if not set(self._request.levels) & set(REMOTE) or self._database.setting("synchronous_standby_names"):
            return
        streaming = [
            row["application_name"]
            for row in self._database.rows("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")
        ]
        names = tuple(name for name in self._request.standbys if name in streaming)
        if not names:
            raise ReplicationError(
                f"No standby of {', '.join(self._request.standbys) or 'this primary'} streams, so "
                f"{', '.join(level for level in self._request.levels if level in REMOTE)} cannot be measured. See "
                "status.yml, or leave these levels out."
            )
        text = self._host.files.read_text(self._host.instance.settings_file)
        if text is None:
            raise ReplicationError(
                f"There is no {self._host.instance.settings_file}: this server is not set up by site.yml. Run that "
                "first, or measure only local and off."
            )
        value = render_names(StandbyNames("any", 1, names), self._database.version)
        settings = {"synchronous_commit": "local", "synchronous_standby_names": value}
        self._write(text + MARK + render_settings(settings, ()))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self._database.value("SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"):
                return
            time.sleep(0.1)
        raise ReplicationError(
            f"synchronous_standby_names = {value} did not take effect: the server has "
            f"{self._database.setting('synchronous_standby_names') or 'none'}. A value of ALTER SYSTEM may win."
        )

    def measure(self) -> list[dict[str, t.Any]]:
        """Each level in turn, after a checkpoint, so that none pays for what another one wrote."""
        request = self._request
        self._write_passfile()
        name = quote_identifier(request.database)
        self._database.execute(f"CREATE DATABASE {name}")
        self._database.execute(f"COMMENT ON DATABASE {name} IS '{COMMENT}'")
        self._pgbench(["-i", "-q", "-s", str(request.scale)])
        self._let_wait()
        words = run_arguments(clients=request.clients, threads=request.threads, seconds=request.seconds)
        warm = run_arguments(clients=request.clients, threads=request.threads, seconds=min(2, request.seconds))
        self._pgbench(warm, "local")
        found = []
        for level in request.levels:
            self._database.execute("CHECKPOINT")
            with open_database(self._host, request.login, find_postmaster(self._host)) as own, _Lag(own) as lag:
                figures = parse_run(self._pgbench(words, level))
            found.append({"level": level, **figures, **lag_of(lag.samples)})
        return found


def _program(host: Host) -> str:
    for program in (host.instance.program("pgbench"), host.instance.client_program("pgbench")):
        if host.files.may_run(program):
            return program
    raise ReplicationError(
        f"There is no pgbench in {host.instance.bin_directory}. Install it (Debian: postgresql-{host.instance.major}, "
        f"Red Hat: postgresql{host.instance.major}-contrib), or name its folder in pgtandem_client_bin_directory."
    )


@contextlib.contextmanager
def _endings_told() -> t.Iterator[None]:
    """A signal ends the work as an error does, so that everything is put back; while it is, none disturbs."""

    def end(number: int, _frame: t.Any) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(
            f"The benchmark was interrupted by signal {number}. Its database and its settings were taken away again."
        )

    before = {one: signal.signal(one, end) for one in _SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def run_benchmark(host: Host, request: BenchmarkRequest, *, check_mode: bool) -> dict[str, t.Any]:
    """Measure all levels, and leave the cluster as it was."""
    _program(host)
    postmaster = find_postmaster(host)
    if postmaster is None:
        raise ReplicationError(f"No server runs on {host.instance.data_directory}, so there is nothing to measure.")
    with open_database(host, request.login, postmaster) as database, host.files.scratch() as folder:
        if not supports(database.version, "sender_lag"):
            raise ReplicationError("The benchmark needs PostgreSQL 10 or newer, which measures the lag of standbys.")
        if database.value("SELECT pg_is_in_recovery()"):
            raise ReplicationError("This server is a standby; a benchmark writes, so it runs on the primary.")
        if not database.value("SELECT pg_try_advisory_lock(hashtext('pgtandem.replication benchmark'))"):
            raise ReplicationError("Another benchmark runs on this server. Wait for its end.")
        # Nothing of this session waits for anybody.
        database.execute("SET synchronous_commit = local")
        benchmark = Benchmark(host, request, database, folder)
        result: dict[str, t.Any] = {"server_version": database.setting("server_version"), "levels": []}
        if check_mode:
            return result
        with _endings_told():
            cleared = benchmark.put_back()
            cleared = benchmark.drop() or cleared
            try:
                result["levels"] = benchmark.measure()
            finally:
                for one in _SIGNALS:
                    signal.signal(one, signal.SIG_IGN)
                benchmark.put_back()
                benchmark.drop()
        result["cleared"] = cleared
        return result
