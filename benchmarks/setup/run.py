# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From nothing to streaming, and the run after it: the collection beside others, a pair of hosts, in turn."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))
from figures import Figures, goals, in_rounds, shown, table, times, write_section
from hosts import (
    BIN,
    LAB,
    SETTINGS,
    Cost,
    addresses,
    changed,
    cluster,
    measured,
    mitogen,
    on_hosts,
    play,
    round_trips,
)

HERE = Path(__file__).resolve().parent
PAIR = ("pg1", "pg2")
WHAT = {
    "bare": "bare commands, over SSH",
    "collection": "the collection",
    "mitogen": "the collection, with Mitogen",
    "handwritten": "hand-written, community.postgresql",
    "debops": "DebOps' `postgresql_server`",
}
#: Minutes a run, so that one round has to do.
SLOW = ("debops",)
#: Stops and removes the cluster of one contender, of which nothing is left.
RESET = """
systemctl disable --now --quiet postgresql@15-{name} 2>/dev/null || true
bin=/usr/lib/postgresql/15/bin
runuser -u postgres -- $bin/pg_ctl -s -m immediate -D /var/lib/postgresql/{name} stop 2>/dev/null || true
pg_dropcluster --stop 15 {name} 2>/dev/null || true
rm -rf /etc/postgresql/15/{name} /var/lib/postgresql/15/{name}* /var/lib/postgresql/{name}*
"""


def variables(name: str) -> dict[str, t.Any]:
    """The inventory's variables of one contender; each has a cluster of its own on the same two hosts."""
    port = 5451 + list(WHAT).index(name)
    mine = {
        "pgtandem_version": "15",
        "pgtandem_instance": name,
        "pgtandem_port": port,
        "pgtandem_replication_password": "bench",
        "pgtandem_parameters": {"max_connections": 60, "shared_buffers": "32MB"},
    }
    own: dict[str, t.Any] = {"port": port, "instance": name, "password": "bench"}
    if name == "debops":
        own.update(
            {
                "secret__root": str(LAB / "debops"),
                "postgresql_server__autopostgresqlbackup": False,
                "postgresql_server__locale": "C.UTF-8",
                "postgresql_server__listen_addresses": ["*"],
                "postgresql_server__allow": [],
                "postgresql_server__hba_replication": [
                    {
                        "type": "host",
                        "database": "replication",
                        "user": "replica",
                        "address": [f"{addresses()[host]}/32" for host in PAIR],
                        "method": "scram-sha-256",
                    }
                ],
            }
        )
    return mine if name in ("collection", "mitogen") else own


def contender(name: str, folder: Path) -> t.Callable[..., Cost]:
    """A function that runs it; its first argument is `first` or `again`."""
    if name == "bare":
        ends = [addresses()[host] for host in PAIR]
        return lambda mode, *words: measured([HERE / "bare.sh", mode, LAB / "ssh_config", *ends], PAIR)
    inventory = cluster(folder, PAIR, **variables(name))
    more: dict[str, str] = {}
    playbook: str | Path = HERE / f"{name}.yml"
    if name in ("collection", "mitogen"):
        playbook = "pgtandem.replication.site"
    if name == "mitogen":
        more = mitogen()
    if name in ("handwritten", "debops"):
        packages = next((BIN.parent / "lib").glob("python3*/site-packages"))
        places = [packages, packages / "debops/_data/ansible/collections"]
        more = {
            "ANSIBLE_COLLECTIONS_PATH": ":".join([SETTINGS["ANSIBLE_COLLECTIONS_PATH"], *map(str, places)]),
            "ANSIBLE_ALLOW_BROKEN_CONDITIONALS": "1" if name == "debops" else "0",
        }
    return lambda mode, *words: play(playbook, inventory, PAIR, *words, **more)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after so long")
    parser.add_argument("--only", nargs="+", default=list(WHAT), choices=list(WHAT))
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    figures, trips, left = Figures(), {}, {}
    tried: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="pgt-") as name:
        contenders = {one: contender(one, Path(name)) for one in options.only}

        def one_round(who: str) -> None:
            on_hosts(PAIR, RESET.format(name=who))
            contenders[who]("first").keep(figures, who, "first")
            again = contenders[who]("again", *([] if who == "bare" else ["-vvv"]))
            again.keep(figures, who, "again")
            left[who] = changed(again)
            trips[who] = "1" if who == "bare" else str(max(round_trips(again).values(), default="-"))

        def attempt(who: str) -> None:
            if who in SLOW and who in tried:
                return
            tried.add(who)
            try:
                one_round(who)
            except SystemExit as error:
                # One that cannot be run here is a dash in the table, not the end of the others.
                print(error, file=sys.stderr)

        def show(_number: int) -> None:
            text = report(figures, trips, left)
            print(text) if options.no_page else write_section("setup", text)

        try:
            turns = {who: functools.partial(attempt, who) for who in contenders}
            in_rounds(options.rounds, turns, show, options.minutes)
        finally:
            for who in contenders:
                on_hosts(PAIR, RESET.format(name=who))


def report(figures: Figures, trips: t.Mapping[str, str], left: t.Mapping[str, int]) -> str:
    """The section."""
    rows = []
    for who in trips:
        row = [WHAT[who]]
        for mode in ("first", "again"):
            row += [
                shown(figures.median(who, mode, "seconds")),
                times(figures.ratio(("collection", mode, "seconds"), (who, mode, "seconds"))),
                shown(figures.median(who, mode, "processor")),
                times(figures.ratio(("collection", mode, "processor"), (who, mode, "processor"))),
            ]
        rows.append([*row, trips[who], str(left[who])])
    head = ["way", "first run, s", "the collection's to it", "processor, s", "ratio"]
    head += ["no-change run, s", "the collection's to it", "processor, s", "ratio", "SSH calls", "changed"]

    def to(mine: str, other: str, mode: str) -> float:
        return figures.ratio((mine, mode, "seconds"), (other, mode, "seconds"))

    return table(head, rows) + goals(
        [
            ("first run to the bare commands", 4, to("collection", "bare", "first")),
            ("the same with Mitogen", 2.5, to("mitogen", "bare", "first")),
            ("first run to the hand-written playbook", 1 / 3, to("collection", "handwritten", "first")),
            ("no-change run to the hand-written playbook", 1 / 4, to("collection", "handwritten", "again")),
            ("the same with Mitogen", 1 / 4, to("mitogen", "handwritten", "again")),
            ("remote module runs a host, no change", 5, float(trips.get("collection", "nan"))),
        ]
    )


if __name__ == "__main__":
    main()
