# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the cost of a first run and of a run that changes nothing grows with the number of standbys."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))
from figures import Figures, goals, in_rounds, shown, table, times, write_section
from hosts import addresses, changed, cluster, on_hosts, play

SITE = "pgtandem.replication.site"
RESET = """
systemctl disable --now --quiet postgresql@15-grow{size} 2>/dev/null || true
pg_dropcluster --stop 15 grow{size} 2>/dev/null || true
rm -rf /etc/postgresql/15/grow{size} /var/lib/postgresql/15/grow{size}*
"""


def main() -> None:
    """Make a cluster of each size beside the others, then run on each in turn, so that ratios are of one time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after so long")
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    names = sorted(addresses(), key=lambda name: int(name[2:]))
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="pgt-") as folder:
        inventories = {
            size: cluster(
                Path(folder),
                names[: size + 1],
                pgtandem_version="15",
                pgtandem_instance=f"grow{size}",
                pgtandem_port=5600 + size,
                pgtandem_replication_password="bench",
                pgtandem_parameters={"max_connections": 60, "shared_buffers": "16MB"},
            )
            for size in options.sizes
        }

        def run(size: int, mode: str) -> None:
            cost = play(SITE, inventories[size], names[: size + 1])
            cost.keep(figures, size, mode)
            if mode == "again" and changed(cost):
                raise SystemExit(f"The run on {size} standbys changed something:\n{cost.output[-4000:]}")

        def show(_number: int) -> None:
            text = report(figures, options.sizes)
            print(text) if options.no_page else write_section("growth", text)

        try:
            for mode, rounds in (("first", 1), ("again", options.rounds)):
                turns = {f"{size} standbys, {mode}": functools.partial(run, size, mode) for size in options.sizes}
                in_rounds(rounds, turns, show, options.minutes)
        finally:
            for size in options.sizes:
                on_hosts(names, RESET.format(size=size))


def report(figures: Figures, sizes: list[int]) -> str:
    """The section."""
    rows = []
    for size in sizes:
        row = [str(size)]
        for mode in ("first", "again"):
            row += [
                shown(figures.median(size, mode, "seconds")),
                times(figures.ratio((size, mode, "seconds"), (sizes[0], mode, "seconds"))),
                shown(figures.median(size, mode, "processor")),
                shown(figures.median(size, mode, "controller")),
            ]
        rows.append([*row, shown(max(figures[size, "again", "memory"], default=float("nan")), 0)])
    head = ["standbys", "first run, s", f"to {sizes[0]}", "processor, s", "of it the controller"]
    head += ["no-change run, s", f"to {sizes[0]}", "processor, s", "of it the controller", "controller's memory, MB"]
    least, most = sizes[0], sizes[-1]
    wall = figures.ratio((most, "again", "seconds"), (least, "again", "seconds"))
    memory = figures.ratio((most, "again", "memory"), (least, "again", "memory"))
    return table(head, rows) + goals(
        [
            (f"no-change run on {most} standbys to {least}", 3, wall),
            (f"the controller's memory with {most} to {least}", 1.25, memory),
        ]
    )


if __name__ == "__main__":
    main()
