# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The write pause of a switchover as a client sees it: pgtandem, patronictl and repmgr on the same hosts in one run.

    molecule/run switchover create && molecule/run switchover converge
    molecule/run switchover bench --set-up
    molecule/run switchover bench --rounds 10

A client (writer.py) on this machine commits one row after the other and finds the primary through libpq's multi-host
string with target_session_attrs=read-write. The pause of a round is the longest time between two answers while the
switchover goes on, the usual hiccup the longest one in the seconds before it. The other tools get clusters of their own
on pg1 and pg2 (Debian's packages), and pg3 has etcd and pgbench.
"""

from __future__ import annotations

import abc
import argparse
import functools
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "shared"))
from figures import in_rounds, machine, table, write_section
from writer import acknowledged, longest_gap

HERE = pathlib.Path(__file__).resolve().parent
BIN = "/usr/lib/postgresql/15/bin"
#: Seconds that the client writes before a switchover, and after it.
SETTLE, AFTER = 3.0, 1.5
APP = "DO $$ BEGIN CREATE ROLE app LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
TABLE = "CREATE TABLE IF NOT EXISTS written (n bigint PRIMARY KEY); TRUNCATE written; GRANT ALL ON written TO app"


class Failed(Exception):
    """A command on a host failed."""


def on(host: str, command: str, *, user: str = "root", check: bool = True) -> str:
    """Run a command of the shell on a host."""
    config = os.path.join(os.environ["PGTANDEM_LAB_DIRECTORY"], "ssh_config")
    words = ["ssh", "-F", config, host, shlex.join(["sudo", "-Hu", user, "sh", "-c", f"cd; {command}"])]
    done = subprocess.run(words, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise Failed(f"{host}: {command[:200]}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return done.stdout.strip()


def addresses() -> dict[str, str]:
    """Where the hosts are."""
    words = ["ansible-inventory", "--list"]
    for source in os.environ["PGTANDEM_LAB_INVENTORY"].split(":"):
        words += ["--inventory", source]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    variables = json.loads(done.stdout)["_meta"]["hostvars"]
    # A value that came out of a template is wrapped.
    said = {name: variables[name]["ansible_host"] for name in ("pg1", "pg2", "pg3")}
    return {name: place["__ansible_unsafe"] if isinstance(place, dict) else place for name, place in said.items()}


class Tool(abc.ABC):
    """A cluster, and how its primary is changed."""

    name = ""
    port = 5432

    def __init__(self, places: dict[str, str]) -> None:
        self.places = places

    @abc.abstractmethod
    def set_up(self) -> None:
        """Make the cluster, or take what is there."""

    @abc.abstractmethod
    def switch(self, old: str, new: str) -> None:
        """Change the primary."""

    def psql(self, host: str, sql: str) -> str:
        """Ask a server."""
        words = ["psql", "-XAtq", "-h", "/tmp", "-p", str(self.port), "-d", "postgres", "-c", sql]
        return on(host, shlex.join(words), user="postgres")

    def primary(self) -> str:
        """The host that can write."""
        for host in ("pg1", "pg2"):
            try:
                if self.psql(host, "SELECT pg_is_in_recovery()") == "f":
                    return host
            except Failed:
                continue
        raise Failed(f"{self.name} has no primary")

    def ready(self) -> None:
        """Wait until the other one streams again."""
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                if int(self.psql(self.primary(), "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")):
                    return
            except Failed:
                pass
            time.sleep(1)
        raise Failed(f"{self.name}: nothing streams")

    def conninfo(self, hosts: t.Sequence[str] = ("pg1", "pg2")) -> str:
        """What the client connects with."""
        return (
            f"host={','.join(self.places[host] for host in hosts)} port={self.port} user=app dbname=postgres "
            "target_session_attrs=read-write connect_timeout=2 sslmode=disable"
        )


class Pgtandem(Tool):
    """The playbook."""

    name = "pgtandem switchover.yml"

    def set_up(self) -> None:
        """The scenario has made it, but for the client's role."""
        self.psql(self.primary(), APP)

    def psql(self, host: str, sql: str) -> str:
        return on(host, shlex.join(["psql", "-XAtq", "-d", "postgres", "-c", sql]), user="postgres")

    def switch(self, old: str, new: str) -> None:
        words = ["ansible-playbook", "pgtandem.replication.switchover", "-e", f"pgtandem_target={new}"]
        for source in os.environ["PGTANDEM_LAB_INVENTORY"].split(":"):
            words += ["--inventory", source]
        environment = dict(os.environ, ANSIBLE_CONFIG=str(HERE.parents[1] / "molecule/shared/ansible.cfg"))
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise Failed(done.stdout[-3000:] + done.stderr[-1000:])


HBA = "local all all trust\nhost all all 0.0.0.0/0 trust\nhost replication all 0.0.0.0/0 trust\n"


class Repmgr(Tool):
    """repmgr standby switchover."""

    name = "repmgr standby switchover"
    port = 7432

    def set_up(self) -> None:
        key = ""
        for number, host in enumerate(("pg1", "pg2"), 1):
            on(
                host,
                "command -v repmgr || { apt-get update -qq; "
                "apt-get install -y -qq --no-install-recommends postgresql-15-repmgr rsync >/dev/null; }",
            )
            on(host, "install -d -o postgres -m 700 /srv/repmgr ~postgres/.ssh")
            on(host, "[ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519", user="postgres")
            key += on(host, "cat .ssh/id_ed25519.pub", user="postgres") + "\n"
            text = (
                f"node_id={number}\nnode_name='{host}'\ndata_directory='/srv/repmgr/data'\n"
                f"conninfo='host={self.places[host]} port={self.port} user=repmgr dbname=repmgr connect_timeout=2'\n"
                f"pg_bindir='{BIN}'\nuse_replication_slots=yes\nssh_options='-q -o StrictHostKeyChecking=no'\n"
                "log_level=NOTICE\n"
            )
            on(host, f"printf %s {shlex.quote(text)} > /srv/repmgr/repmgr.conf", user="postgres")
        for host in ("pg1", "pg2"):
            on(
                host,
                f"printf %s {shlex.quote(key)} > .ssh/authorized_keys; chmod 600 .ssh/authorized_keys",
                user="postgres",
            )
        if on("pg1", "test -e /srv/repmgr/data/PG_VERSION && echo there", check=False):
            return
        settings = (
            f"port={self.port}\nlisten_addresses='*'\nunix_socket_directories='/tmp'\nwal_log_hints=on\n"
            "shared_preload_libraries='repmgr'\nhot_standby=on\nlogging_collector=off\n"
        )
        on(
            "pg1",
            f"{BIN}/initdb -D /srv/repmgr/data >/dev/null && "
            f"printf %s {shlex.quote(settings)} >> /srv/repmgr/data/postgresql.conf && "
            f"printf %s {shlex.quote(HBA)} > /srv/repmgr/data/pg_hba.conf && "
            f"{BIN}/pg_ctl -D /srv/repmgr/data -l /srv/repmgr/log -w start >/dev/null 2>&1",
            user="postgres",
        )
        self.psql("pg1", "CREATE ROLE repmgr SUPERUSER REPLICATION LOGIN")
        self.psql("pg1", "CREATE DATABASE repmgr OWNER repmgr")
        self.psql("pg1", APP)
        on("pg1", "repmgr -f /srv/repmgr/repmgr.conf primary register", user="postgres")
        on(
            "pg2",
            f"repmgr -h {self.places['pg1']} -p {self.port} -U repmgr -d repmgr -f /srv/repmgr/repmgr.conf "
            "standby clone --fast-checkpoint && "
            f"{BIN}/pg_ctl -D /srv/repmgr/data -l /srv/repmgr/log -w start >/dev/null 2>&1 && "
            "repmgr -f /srv/repmgr/repmgr.conf standby register",
            user="postgres",
        )

    def switch(self, old: str, new: str) -> None:
        on(new, "repmgr -f /srv/repmgr/repmgr.conf standby switchover", user="postgres")


class Patroni(Tool):
    """patronictl switchover."""

    name = "patronictl switchover"
    port = 6432

    def set_up(self) -> None:
        on(
            "pg3",
            "command -v etcd || { apt-get update -qq; "
            "apt-get install -y -qq --no-install-recommends etcd-server >/dev/null; systemctl stop etcd; }",
        )
        url = f"http://{self.places['pg3']}:2379"
        if not on("pg3", "systemctl is-active --quiet bench-etcd && echo yes", check=False):
            on(
                "pg3",
                f"systemctl reset-failed bench-etcd 2>/dev/null; systemd-run --quiet --unit=bench-etcd etcd "
                f"--data-dir /srv/etcd --enable-v2 --listen-client-urls {url} --advertise-client-urls {url}",
            )
        for host in ("pg1", "pg2"):
            on(
                host,
                "command -v patroni || { apt-get update -qq; "
                "apt-get install -y -qq --no-install-recommends patroni python3-etcd >/dev/null; }",
            )
            on(host, "systemctl stop patroni 2>/dev/null; install -d -o postgres -m 700 /srv/patroni")
            place = self.places[host]
            configuration = {
                "scope": "bench",
                "name": host,
                "restapi": {"listen": f"{place}:8008", "connect_address": f"{place}:8008"},
                "etcd": {"host": f"{self.places['pg3']}:2379"},
                "bootstrap": {
                    "dcs": {
                        "ttl": 30,
                        "loop_wait": 10,
                        "retry_timeout": 10,
                        "postgresql": {"use_slots": True, "use_pg_rewind": True},
                    },
                    "initdb": [{"encoding": "UTF8"}, "data-checksums"],
                    "pg_hba": HBA.splitlines(),
                },
                "postgresql": {
                    "listen": f"{place}:{self.port}",
                    "connect_address": f"{place}:{self.port}",
                    "data_dir": "/srv/patroni/data",
                    "bin_dir": BIN,
                    "authentication": {
                        "replication": {"username": "replicator", "password": "x"},
                        "superuser": {"username": "postgres", "password": "x"},
                    },
                    "parameters": {"unix_socket_directories": "/tmp"},
                },
            }
            text = json.dumps(configuration)
            on(host, f"printf %s {shlex.quote(text)} > /srv/patroni/patroni.yml", user="postgres")
            if not on(host, "systemctl is-active --quiet bench-patroni && echo yes", check=False):
                on(
                    host,
                    "systemctl reset-failed bench-patroni 2>/dev/null; systemd-run --quiet --unit=bench-patroni "
                    "--uid=postgres --working-directory=/srv/patroni --setenv=HOME=/var/lib/postgresql "
                    "patroni /srv/patroni/patroni.yml",
                )
            if host == "pg1":
                time.sleep(5)
        self.ready()
        self.psql(self.primary(), APP)

    def switch(self, old: str, new: str) -> None:
        on(new, f"patronictl -c /srv/patroni/patroni.yml switchover --candidate {new} --force", user="postgres")


TOOLS: dict[str, type[Tool]] = {"pgtandem": Pgtandem, "repmgr": Repmgr, "patroni": Patroni}


class Load:
    """pgbench on pg3, which finds the primary as the client does and begins anew where its connections end."""

    def __init__(self, tool: Tool, clients: int) -> None:
        self._tool, self._clients = tool, clients
        self._unit = f"bench-load-{time.monotonic_ns()}"

    @property
    def _where(self) -> str:
        return shlex.quote(self._tool.conninfo().replace("dbname=postgres", "dbname=bench"))

    def prepare(self) -> None:
        """Make its tables."""
        primary = self._tool.primary()
        if self._clients and "bench" not in self._tool.psql(primary, "SELECT datname FROM pg_database").split():
            self._tool.psql(primary, "CREATE DATABASE bench OWNER app")
            on("pg3", f"{BIN}/pgbench -iq -s 10 {self._where} 2>/dev/null", user="postgres")

    def __enter__(self) -> Load:
        if self._clients:
            loop = f"while :; do {BIN}/pgbench -n -c {self._clients} -T 3600 {self._where}; sleep 0.1; done"
            # In a container of a host with cgroups of version 1, systemd does not see that a unit is empty.
            on(
                "pg3",
                f"systemd-run --quiet --collect --unit={self._unit} --uid=postgres --property=TimeoutStopSec=1 "
                f"sh -c {shlex.quote(loop)}",
            )
        return self

    def __exit__(self, *_unused: object) -> None:
        if self._clients:
            on("pg3", f"systemctl stop {self._unit}", check=False)


def one_round(tool: Tool, clients: int) -> dict[str, t.Any]:
    """Switch over once beside a client that writes, and see that it has lost nothing."""
    tool.ready()
    with tempfile.TemporaryDirectory() as folder, Load(tool, clients):
        notes = pathlib.Path(folder, "acknowledged")
        old = tool.primary()
        tool.psql(old, TABLE)
        with subprocess.Popen([sys.executable, str(HERE / "writer.py"), str(notes), tool.conninfo()]) as client:
            try:
                time.sleep(SETTLE)
                began = time.monotonic()
                tool.switch(old, "pg2" if old == "pg1" else "pg1")
                done = time.monotonic()
                time.sleep(AFTER)
            finally:
                client.terminate()
        rows = acknowledged(notes)
        new = tool.primary()
        if new == old:
            raise Failed(f"{tool.name}: {old} is still the primary")
        there = set(map(int, tool.psql(new, "SELECT n FROM written").split()))
        lost = [row.number for row in rows if row.number not in there]
        if lost:
            raise Failed(f"{tool.name} lost {len(lost)} rows that were acknowledged")
    return {
        "pause_ms": round(1000 * longest_gap(rows, began - 0.5)),
        "hiccup_ms": round(1000 * longest_gap(rows, began - SETTLE + 1, began)),
        "command_s": round(done - began, 1),
        "rows": len(rows),
        "load": round(os.getloadavg()[0], 1),
    }


Results = t.Dict[str, t.Dict[int, t.List[t.Dict[str, t.Any]]]]


def earlier(path: pathlib.Path | None) -> Results:
    """The rounds that a file has already; on a machine that is quiet only now and then they are taken bit by bit."""
    if path is None or not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {name: {int(clients): rounds for clients, rounds in loads.items()} for name, loads in kept.items()}


def rows_of(results: Results) -> list[list[str]]:
    """Medians, and the best and the worst."""
    lines = []
    for clients in sorted({clients for loads in results.values() for clients in loads}):
        for name, loads in results.items():
            found = loads.get(clients) or []
            pauses = [one["pause_ms"] for one in found]
            if not pauses:
                continue
            hiccup = statistics.median(one["hiccup_ms"] for one in found)
            command = statistics.median(one["command_s"] for one in found)
            lines.append(
                [
                    f"`{name}`, {f'{clients} pgbench clients' if clients else 'idle'}",
                    str(len(found)),
                    f"{statistics.median(pauses):.0f}",
                    f"{min(pauses)} to {max(pauses)}",
                    f"{hiccup:.0f}",
                    f"{command:.1f}",
                    f"{min(one['load'] for one in found)} to {max(one['load'] for one in found)}",
                ]
            )
    return lines


HEAD = ["way", "rounds", "median pause, ms", "least to most, ms", "usual hiccup, ms", "command, s", "load"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, nargs="+", default=[0, 8])
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS))
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after so long")
    parser.add_argument("--set-up", action="store_true", help="only install the other tools and make their clusters")
    parser.add_argument("--no-page", action="store_true", help="print only")
    parser.add_argument("--json", type=pathlib.Path, help="keep every round in this file, beside those that it has")
    arguments = parser.parse_args()
    places = addresses()
    tools = [TOOLS[name](places) for name in arguments.tools]
    for tool in tools:
        tool.set_up()
        for clients in arguments.clients:
            Load(tool, clients).prepare()
    if arguments.set_up:
        return
    results = earlier(arguments.json)

    def contender(tool: Tool, clients: int) -> None:
        found = one_round(tool, clients)
        print(f"{tool.name}, {clients} pgbench clients: {found}", file=sys.stderr, flush=True)
        results.setdefault(tool.name, {}).setdefault(clients, []).append(found)
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    contenders = {
        f"{tool.name}, {clients} clients": functools.partial(contender, tool, clients)
        for clients in arguments.clients
        for tool in tools
    }
    in_rounds(arguments.rounds, contenders, lambda _number: None, arguments.minutes)
    text = table(HEAD, rows_of(results))
    if arguments.no_page:
        print(f"\n{text}\n\n{machine()}")
    else:
        write_section("switchover", text)


if __name__ == "__main__":
    main()
