# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of PostgreSQL as an inventory names them, looked at from outside.

Nothing here is shared with the collection: what a test knows it has from the inventory, the operating system's own
programs and psql.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import shlex
import subprocess
import time
import typing as t

import testinfra

DEBIAN_MAJOR = {"bullseye": 13, "bookworm": 15, "trixie": 17}
PATIENCE_SECONDS = float(os.environ.get("PGTANDEM_LAB_PATIENCE") or 20)


def plain(value: dict[str, t.Any]) -> t.Any:
    """Return what ansible-inventory wraps where a value must not be templated."""
    return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else value


@functools.lru_cache(maxsize=None)
def inventory() -> dict[str, t.Any]:
    """Return the scenario's inventory."""
    argv = ["ansible-inventory", "--list"]
    for source in os.environ["PGTANDEM_LAB_INVENTORY"].split(":"):
        argv += ["--inventory", source]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return t.cast("dict[str, t.Any]", json.loads(done.stdout, object_hook=plain))


def eventually(question: t.Callable[[], t.Any], *, seconds: float = PATIENCE_SECONDS) -> t.Any:
    """Ask until the answer is true, or for as long as there is patience; return the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(0.3)


class Process(t.NamedTuple):
    """A line of ps."""

    pid: int
    user: str
    title: str


class Node:
    """One instance of PostgreSQL."""

    def __init__(self, name: str) -> None:
        """Take the name that the inventory has for it."""
        self.name = name
        self.vars: dict[str, t.Any] = inventory()["_meta"]["hostvars"][name]
        config = os.path.join(os.environ["PGTANDEM_LAB_DIRECTORY"], "ssh_config")
        self.host = testinfra.get_host(f"ssh://{name}?ssh_config={config}&sudo=true")

    def __repr__(self) -> str:
        return self.name

    # --- where it lives ---

    @functools.cached_property
    def suite(self) -> str:
        """Return the distribution's codename."""
        return self.out(". /etc/os-release; echo $VERSION_CODENAME").strip()

    @property
    def major(self) -> int:
        """Return the major version."""
        return int(self.vars.get("pgtandem_version") or DEBIAN_MAJOR[self.suite])

    @property
    def address(self) -> str:
        """Return what the other hosts connect to."""
        return t.cast(str, self.vars.get("pgtandem_address") or self.vars["ansible_host"])

    @property
    def port(self) -> int:
        """Return the port."""
        return int(self.vars.get("pgtandem_port", 5432))

    @property
    def instance(self) -> str:
        """Return Debian's name of the cluster."""
        return t.cast(str, self.vars.get("pgtandem_instance", "main"))

    @property
    def data_directory(self) -> str:
        """Return the data directory."""
        return t.cast(
            str, self.vars.get("pgtandem_data_directory") or f"/var/lib/postgresql/{self.major}/{self.instance}"
        )

    @property
    def bin_directory(self) -> str:
        """Return where the programs are."""
        return t.cast(str, self.vars.get("pgtandem_bin_directory") or f"/usr/lib/postgresql/{self.major}/bin")

    @property
    def os_user(self) -> str:
        """Return the account that the server runs by."""
        return t.cast(str, self.vars.get("pgtandem_os_user", "postgres"))

    @property
    def service(self) -> str:
        """Return the systemd unit."""
        return t.cast(str, self.vars.get("pgtandem_service") or f"postgresql@{self.major}-{self.instance}")

    @property
    def replication_user(self) -> str:
        """Return the role that standbys use."""
        return t.cast(str, self.vars.get("pgtandem_replication_user", "replica"))

    @property
    def password(self) -> str:
        """Return that role's password."""
        return t.cast(str, self.vars["pgtandem_replication_password"])

    @property
    def cluster(self) -> str:
        """Return the cluster that the instance belongs to."""
        return t.cast(str, self.vars.get("pgtandem_cluster", "main"))

    @property
    def upstream(self) -> Node:
        """Return the instance that this one follows."""
        named = self.vars.get("pgtandem_upstream")
        if named:
            return Node(named)
        return next(node for node in map(Node, group("primary")) if node.cluster == self.cluster)

    @property
    def delayed(self) -> bool:
        """Return whether it replays late on purpose."""
        return bool(self.vars.get("pgtandem_apply_delay"))

    @property
    def downstream(self) -> list[Node]:
        """Return the instances that follow this one."""
        return [node for node in map(Node, group("standby")) if node.upstream.name == self.name]

    # --- what it says ---

    @property
    def telling_part(self) -> str:
        """Return the longest part of the password that no place would quote, so that it is found wherever it is."""
        part = max(re.findall(r"[A-Za-z0-9]+", self.password), key=len)
        assert len(part) >= 8, "the password of the scenario has no part that can be searched for"
        return part

    def out(self, command: str) -> str:
        """Run a command of the shell as root and return what it printed."""
        assert self.telling_part not in command, "sudo would write the password into the journal, see store_secret"
        return t.cast(str, self.host.check_output("sh -c %s", command))

    @property
    def postmaster(self) -> list[str]:
        """Return the lines of postmaster.pid: pid, directory, start, port, socket directory, address."""
        return self.out(f"cat {shlex.quote(self.data_directory)}/postmaster.pid").splitlines()

    def psql(self, sql: str, *, database: str = "postgres") -> str:
        """Return what a superuser on the host gets for a statement, by the socket."""
        done = self.try_psql(sql, database=database)
        assert done.rc == 0, f"{self.name}: {done.stderr}"
        return t.cast(str, done.stdout.strip())

    def try_psql(self, sql: str, *, database: str = "postgres") -> t.Any:
        """Return the outcome of a statement."""
        socket = self.postmaster[4] or "/run/postgresql"
        argv = [f"{self.bin_directory}/psql", "--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        argv += ["--host", socket, "--port", str(self.port), "--dbname", database, "--command", sql]
        return self.host.run("sh -c %s", f"cd / && sudo -u {self.os_user} {shlex.join(argv)}")

    def processes(self) -> list[Process]:
        """Return this instance's own processes: its postmaster and the children of it."""
        pid = self.postmaster[0]
        found = []
        for line in self.out("ps -e -ww -o pid=,ppid=,user:32=,args=").splitlines():
            number, parent, user, title = line.split(None, 3)
            if pid in (number, parent):
                found.append(Process(int(number), user, title))
        return found

    def titled(self, pattern: str) -> list[Process]:
        """Return this instance's processes whose titles match."""
        return [process for process in self.processes() if re.search(pattern, process.title)]

    @property
    def conninfo(self) -> str:
        """Return by what this instance connects to its upstream."""
        if self.major >= 12:
            return self.psql("show primary_conninfo")
        return self.out(f"grep -s ^primary_conninfo {shlex.quote(self.data_directory)}/recovery.conf || true")

    def store_secret(self, text: str, path: str) -> None:
        """Put something into a file that only root may read. As base64, since sudo writes commands into the journal."""
        encoded = base64.b64encode(text.encode()).decode()
        self.out(f"umask 077; echo {encoded} | base64 -d > {shlex.quote(path)}")

    def secret_file(self) -> str:
        """Put the password's telling part into a file of root's, and return its path."""
        self.store_secret(self.telling_part, "/root/lab-secret")
        return "/root/lab-secret"


def group(name: str) -> list[str]:
    """Return the hosts of a group that the inventory has, below whatever name it gives the group."""
    values: dict[str, t.Any] = next(iter(inventory()["_meta"]["hostvars"].values()), {})
    wanted = values.get(f"pgtandem_{name}_group", name)
    return t.cast("list[str]", inventory().get(wanted, {}).get("hosts", []))
