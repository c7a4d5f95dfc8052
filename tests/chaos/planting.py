# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The situations of the scenario `surroundings`, planted on hosts that have any roles, and cleared again."""

from __future__ import annotations

import functools
import json
import pathlib
import typing as t

import yaml
from steps import on
from world import World, hosts_in

SITUATIONS = pathlib.Path(__file__).resolve().parents[2] / "molecule/surroundings/situations"
#: What makes another state of a whole host than the one that a playbook is tried in here, or plants nothing.
NOT_PLANTED = ("pg_promote", "rm -rf", "systemctl stop", "sql 'SELECT 1'", "apt", "dpkg")
#: What a script of a situation may use.
WORDS = r"""
MAJOR={major} BIN={bin} DATA={data} SERVICE={service} PORT={port} LAYOUT={layout} KEPT=/var/lib/chaos-kept
CONFIG=$DATA LOG=$DATA.log
if [ $LAYOUT = debian ]; then
    CONFIG=/etc/postgresql/$MAJOR/{instance}
    LOG=/var/log/postgresql/postgresql-$MAJOR-{instance}.log
fi
cd /
as_postgres() {{ runuser -u {user} -- env PATH=$BIN:$PATH "$@"; }}
socket() {{ s=$(sed -n 5p $DATA/postmaster.pid 2>/dev/null); echo ${{s:-/var/run/postgresql}}; }}
sql() {{ as_postgres $BIN/psql -XAtq -v ON_ERROR_STOP=1 -h $(socket) -p $PORT -d postgres -c "$1"; }}
setting() {{
    if [ $LAYOUT = debian ]; then
        echo "$1" >> $CONFIG/conf.d/20-user.conf; chown {user}: $CONFIG/conf.d/20-user.conf
    else
        sed -i "1i $1" $CONFIG/postgresql.conf
    fi
}}
"""
KEEP = """
rm -rf $KEPT; mkdir -p $KEPT
cp -a $DATA/postgresql.auto.conf $CONFIG/postgresql.conf $KEPT/
for file in pg_ctl.conf start.conf conf.d/20-user.conf; do test ! -e $CONFIG/$file || cp -a $CONFIG/$file $KEPT/; done
"""
#: The collection's own files are left as they are: roles may have changed meanwhile.
PUT_BACK = """
cp -a $KEPT/postgresql.auto.conf $DATA/; cp -a $KEPT/postgresql.conf $CONFIG/
if [ $LAYOUT = debian ]; then
    rm -f $CONFIG/conf.d/20-user.conf; test ! -e $KEPT/20-user.conf || cp -a $KEPT/20-user.conf $CONFIG/conf.d/
    for file in pg_ctl.conf start.conf; do test ! -e $KEPT/$file || cp -a $KEPT/$file $CONFIG/; done
    systemctl daemon-reload
fi
systemctl reset-failed; systemctl restart $SERVICE
"""


@functools.lru_cache(maxsize=None)
def situations() -> dict[str, dict[str, t.Any]]:
    """Those that can be planted in any state and cleared again, by name."""
    found = {}
    for path in sorted(SITUATIONS.glob("*.yml")):
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        shells = json.dumps([planting["shell"] for planting in said["plant"]])
        down = any(step.get("after", {}).get("down") for step in said["run"])
        whole = said["plant"] and said.get("pair", "usual") == "usual" and "others" not in said and not down
        if whole and not any(word in shells for word in NOT_PLANTED):
            found[path.stem] = said
    return found


class Planting:
    """A situation on the hosts as they are: pg1 stands for the primary, pg2 and pg3 for standbys."""

    def __init__(self, world: World, name: str) -> None:
        """Take the situation's name."""
        self.world, self.name, self.situation = world, name, situations()[name]
        standbys = world.standbys()
        self.hosts = {"pg1": world.newest() or world.members[0], "pg2": standbys[0], "pg3": standbys[-1]}
        self.concerned = sorted({host for host, _script in self._scripts("plant")})

    @property
    def restarts(self) -> bool:
        """Whether it ends servers itself."""
        return "restart" in json.dumps(self.situation["plant"])

    def plant(self) -> None:
        """Make it so."""
        for host in self.concerned:
            self._run(host, KEEP)
        for host, script in self._scripts("plant"):
            self._run(host, script)

    def clear(self) -> None:
        """Undo it, and have the servers take that up."""
        for host, script in self._scripts("clear"):
            self._run(host, script)
        for host in self.concerned:
            if host not in self.world.down:
                self._run(host, PUT_BACK)

    def _scripts(self, part: str) -> list[tuple[str, str]]:
        found = []
        for one in self.situation.get(part, []):
            for host in [one["host"]] if isinstance(one["host"], str) else one["host"]:
                if self.hosts[host] not in self.world.down:
                    found.append((self.hosts[host], hosts_in(one["shell"], self.hosts)))
        return found

    def _run(self, host: str, script: str) -> None:
        node = self.world.nodes[host]
        debian = node.data_directory.startswith("/var/lib/postgresql/")
        words = WORDS.format(
            major=node.major, bin=node.bin_directory, data=node.data_directory, service=node.service, port=node.port,
            layout="debian" if debian else "custom", instance=node.instance, user=node.os_user,
        )  # fmt: skip
        # As surroundings runs it: on the command line a script would match its own patterns of pkill -f.
        on(host, f"{words}\n{script}\ntrue\n")
