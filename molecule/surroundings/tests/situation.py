# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of situations/ mean, and the hosts that they are tried on."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

SCENARIO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(SCENARIO.parent / "shared"))

from steps import Said, inventories, on, playbook, wait_until  # noqa: E402

MAJOR = os.environ.get("PGTANDEM_VERSION") or "15"
#: Where the good state of a host is kept there.
TEMPLATES = "/var/lib/surroundings"
#: Pairs by name: variables that all hosts get on top of the inventory's. C({major}) is replaced in them.
PAIRS: dict[str, dict[str, t.Any]] = {
    "usual": {},
    # The custom layout with the unit that the collection writes.
    "own-unit": {
        "pgtandem_layout": "custom",
        "pgtandem_bin_directory": "{bin}",
        "pgtandem_data_directory": "/var/lib/own/data",
        "pgtandem_port": 5440,
        "pgtandem_service": "own",
        "pgtandem_manage_packages": False,
    },
}


@functools.lru_cache(maxsize=None)
def hostvars() -> dict[str, dict[str, t.Any]]:
    """The inventory's variables of each host."""
    done = subprocess.run(
        ["ansible-inventory", *inventories(), "--list"], check=True, capture_output=True, text=True, stdin=-3
    )
    # A value that was computed is marked as one that is no template.
    said = json.loads(done.stdout, object_hook=lambda value: value.get("__ansible_unsafe", value))
    return t.cast("dict[str, dict[str, t.Any]]", said["_meta"]["hostvars"])


class Pair:
    """A primary, pg1, and its standbys, brought back to a good state before each situation."""

    def __init__(self, kind: str, hosts: int, others: t.Mapping[str, t.Mapping[str, t.Any]]) -> None:
        self.kind, self.hosts = kind, [f"pg{number}" for number in range(1, hosts + 1)]
        #: Hosts of the inventory that are not in the lab, by their groups, with their variables.
        self.others = others
        own = hostvars()["pg1"]
        layout = own.get("pgtandem_layout", "debian")
        folder = f"/usr/lib/postgresql/{MAJOR}/bin" if layout == "debian" else own["pgtandem_bin_directory"]
        self.variables = {
            name: value.format(bin=folder) if isinstance(value, str) else value for name, value in PAIRS[kind].items()
        }
        said = {**own, **self.variables}
        self.layout = said.get("pgtandem_layout", "debian")
        self.bin = folder
        self.port = said.get("pgtandem_port", 5432)
        self.data = said.get("pgtandem_data_directory") or f"/var/lib/postgresql/{MAJOR}/main"
        self.configuration = f"/etc/postgresql/{MAJOR}/main" if self.layout == "debian" else self.data
        self.service = said.get("pgtandem_service") or f"postgresql@{MAJOR}-main"
        #: Everything that a run writes on a host.
        self.kept = [os.path.dirname(self.data) if self.layout != "debian" else "/var/lib/postgresql"]
        self.kept += ["/etc/postgresql"] if self.layout == "debian" else []
        self.kept += ["/etc/systemd/system"]

    # --- runs and looks ---

    def on(self, host: str, script: str, *, check: bool = True) -> str:
        """What a script of root's prints there; README.md has what it may use."""
        names = {
            "MAJOR": MAJOR, "BIN": self.bin, "DATA": self.data, "CONFIG": self.configuration, "SERVICE": self.service,
            "PORT": self.port, "LAYOUT": self.layout, "LOG": f"{self.data}.log",
        }  # fmt: skip
        if self.layout == "debian":
            names["LOG"] = f"/var/log/postgresql/postgresql-{MAJOR}-main.log"
        head = "".join(f"{name}='{value}'\n" for name, value in names.items())
        # What is included sorts before the collection's own file, as a file of the user's does.
        head += (
            # Each build has a default of its own.
            "socket() { s=$(sed -n 5p $DATA/postmaster.pid 2>/dev/null); echo ${s:-/var/run/postgresql}; }\n"
            # A postmaster that was stopped by a signal never answers.
            # Where serializable is the default, a standby lets nobody ask.
            "sql() { runuser -u postgres -- env PGCONNECT_TIMEOUT=5 "
            "PGOPTIONS='-c default_transaction_isolation=read\\ committed' $BIN/psql -XAtq -v ON_ERROR_STOP=1 "
            '-h $(socket) -p $PORT -d postgres -c "$1"; }\n'
            'setting() { if [ "$LAYOUT" = debian ]; then echo "$1" >> $CONFIG/conf.d/20-user.conf; '
            "chown postgres: $CONFIG/conf.d/20-user.conf; "
            'else sed -i "1i $1" $CONFIG/postgresql.conf; fi; }\n'
            'as_postgres() { runuser -u postgres -- env PATH=$BIN:$PATH "$@"; }\n'
        )
        return on(host, head + script, check=check)

    def play(self, name: str, *words: str) -> Said:
        """Run a playbook of the collection on the hosts of this situation, and on the others that it names."""
        return self._play(self.others, name, *words)

    def _play(self, others: t.Mapping[str, t.Mapping[str, t.Any]], name: str, *words: str) -> Said:
        groups = {"primary": self.hosts[:1], "standby": self.hosts[1:]}
        inventory = {
            f"tried_{group}": {"hosts": {**dict.fromkeys(names, {}), **others.get(group, {})}}
            for group, names in groups.items()
        }
        path = Path(os.environ["PGTANDEM_LAB_DIRECTORY"]) / "tried.json"
        path.write_text(json.dumps(inventory))
        named = {"pgtandem_primary_group": "tried_primary", "pgtandem_standby_group": "tried_standby"}
        return playbook(name, f"--inventory={path}", "-e", json.dumps({**named, **self.variables}), *words)

    def role(self, host: str) -> str:
        """primary, standby or down."""
        said = self.on(host, "sql 'SELECT pg_is_in_recovery()'", check=False)
        return {"t": "standby", "f": "primary"}.get(said.strip().splitlines()[-1] if said.strip() else "", "down")

    def started(self, host: str) -> str:
        """When the server was started, and by which process; empty where none runs."""
        script = "cd $DATA && kill -0 $(head -1 postmaster.pid) && sed -n '1p;3p' postmaster.pid"
        return " ".join(self.on(host, script, check=False).split())

    def streams(self, host: str) -> bool:
        """Whether a standby receives WAL now."""
        return self.on(host, 'sql "SELECT status FROM pg_stat_wal_receiver"', check=False).endswith("streaming")

    # --- the good state ---

    def restore(self) -> None:
        """The state that site.yml made once, put back; made where it is not there yet."""
        place = f"{TEMPLATES}/{self.kind}-{len(self.hosts)}"
        if any(on(host, f"ls {place}/done 2>&1", check=False) != f"{place}/done" for host in self.hosts):
            self._make(place)
        for host in self.hosts:
            self._stop(host)
            self.on(host, f"set -e; rm -rf {' '.join(self._contents())}; tar -xpf {place}/files.tar -C /")
            self.on(host, "systemctl daemon-reload; systemctl reset-failed; systemctl start $SERVICE")
        roles = ["primary"] + ["standby"] * (len(self.hosts) - 1)
        wait_until(lambda: [self.role(host) for host in self.hosts] == roles)
        wait_until(lambda: all(self.streams(host) for host in self.hosts[1:]))

    def _contents(self) -> list[str]:
        return [f"{path}/*" for path in self.kept if path != "/etc/systemd/system"]

    def _make(self, place: str) -> None:
        for host in self.hosts:
            self._stop(host)
            self.on(host, f"rm -rf {' '.join(self._contents())}; systemctl daemon-reload")
        said = self._play({}, "site")
        assert said.returncode == 0, said.output
        for host in reversed(self.hosts):
            self._stop(host)
        for host in self.hosts:
            paths = " ".join(path[1:] for path in self.kept)
            self.on(host, f"set -e; rm -rf {place}; mkdir -p {place}; tar -cf {place}/files.tar -C / {paths}")
            self.on(host, f"touch {place}/done")

    def _stop(self, host: str) -> None:
        """Whatever runs, and whoever started it."""
        self.on(
            host,
            """
            systemctl stop $SERVICE
            for p in $(pgrep -x -u postgres postgres); do
                [ $(ps -o ppid= $p) != 1 ] || kill -INT $p
            done
            for i in $(seq 50); do pgrep -u postgres -x postgres || break; sleep 0.2; done
            pkill -KILL -u postgres -x postgres
            rm -f /var/run/postgresql/.s.* /tmp/.s.*
            """,
            check=False,
        )


# --- a situation ---


def _listed(said: t.Any) -> list[t.Any]:
    return said if isinstance(said, list) else [] if said is None else [said]


@dataclass(frozen=True)
class Step:
    """A playbook that runs, in check mode and in earnest, and what has to be true afterwards."""

    playbook: str
    arguments: tuple[str, ...] = ()
    #: both, only or never.
    check: str = "both"
    fails: bool = False
    says: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    after: t.Mapping[str, t.Any] = field(default_factory=dict)

    def run(self, pair: Pair) -> None:
        """Run it, and look."""
        before = {host: (pair.role(host), pair.started(host)) for host in pair.hosts}
        if self.check != "never":
            said = pair.play(self.playbook, "--check", *self.arguments)
            self._judge(said, "check mode")
            now = {host: (pair.role(host), pair.started(host)) for host in pair.hosts}
            assert now == before, f"check mode changed something: {before} became {now}\n{said.output}"
        if self.check == "only":
            return
        said = pair.play(self.playbook, *self.arguments)
        self._judge(said, "the run")
        self._look(pair, before, said)

    def _judge(self, said: Said, what: str) -> None:
        assert (said.returncode != 0) == self.fails, f"{what} ended with {said.returncode}:\n{said.output}"
        assert [word for word in self.says if word not in said.text] == [], f"{what} does not say so:\n{said.output}"
        assert [word for word in self.silent if word in said.text] == [], f"{what} says so:\n{said.output}"

    def _look(self, pair: Pair, before: t.Mapping[str, tuple[str, str]], said: Said) -> None:
        after = self.after
        primary = after.get("primary", "pg1")
        down = _listed(after.get("down"))
        roles = {host: "down" if host in down else "primary" if host == primary else "standby" for host in pair.hosts}
        seconds = float(after.get("within", 20))
        wait_until(
            lambda: {host: pair.role(host) for host in pair.hosts} == roles, seconds,
            what=lambda: f"{ {host: pair.role(host) for host in pair.hosts} } is not {roles}\n{said.output}",
        )  # fmt: skip
        for host in pair.hosts:
            if host not in down and host != primary and host not in _listed(after.get("not_streaming")):
                wait_until(
                    lambda host=host: pair.streams(host), seconds, what=lambda: f"does not stream\n{said.output}"
                )
        restarted = after.get("restarted", [] if self.fails else None)
        for host in pair.hosts if restarted is not None else ():
            same = pair.started(host) == before[host][1]
            assert same == (host not in restarted), f"{host} was {'not ' if same else ''}restarted\n{said.output}"
        for look in _listed(after.get("looks")):
            found = pair.on(look["host"], look["shell"], check=False)
            assert found == str(look["is"]), (
                f"{look['shell']} on {look['host']} says {found!r}, which is to be {look['is']!r}\n{said.output}"
            )


class Situation:
    """One file of situations/."""

    def __init__(self, path: Path) -> None:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = {"about", "case", "clear", "hosts", "layouts", "majors", "others", "pair", "plant", "reports", "run"}
        assert set(said) <= known and {"about", "case", "plant", "run"} <= set(said), f"{path.name}: {sorted(said)}"
        self.name = path.stem
        self.hosts: int = said.get("hosts", 2)
        self.pair: str = said.get("pair", "usual")
        self.others: dict[str, dict[str, t.Any]] = said.get("others", {})
        self.majors = [str(major) for major in said.get("majors", [])]
        self.layouts: list[str] = said.get("layouts", [])
        self.planted: list[dict[str, str]] = said["plant"]
        self.cleared: list[dict[str, str]] = said.get("clear", [])
        self.steps = [
            Step(**{name: tuple(value) if isinstance(value, list) else value for name, value in step.items()})
            for step in said["run"]
        ]

    def skip_unless_it_applies(self) -> None:
        """Skip it on another major or layout than it is about."""
        if self.majors and MAJOR not in self.majors:
            pytest.skip(f"it is about PostgreSQL {', '.join(self.majors)}")
        layout = Pair(self.pair, self.hosts, self.others).layout
        if self.layouts and layout not in self.layouts:
            pytest.skip(f"it is about the layout {', '.join(self.layouts)}")

    def plant(self, pair: Pair) -> None:
        """Make the situation."""
        for part in self.planted:
            for host in _listed(part["host"]):
                pair.on(host, "set -e\n" + part["shell"])

    def clear(self, pair: Pair) -> None:
        """Take away what restoring the pair would leave."""
        for part in self.cleared:
            for host in _listed(part["host"]):
                pair.on(host, part["shell"], check=False)


SITUATIONS = [Situation(path) for path in sorted((SCENARIO / "situations").glob("*.yml"))]
