# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits cost by how far they wait for the standby: benchmark.yml on a pair, and on a server that is alone."""

from __future__ import annotations

import argparse
import functools
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))
from figures import Figures, in_rounds, shown, table, times, write_section
from hosts import cluster, on_hosts, play

PAIR = ("pg1", "pg2")
WHAT = {
    "alone": "nobody: a server without a standby",
    "local": "nobody: one standby, asynchronous (`local`)",
    "remote_write": "`remote_write`",
    "on": "`on`",
    "remote_apply": "`remote_apply`",
}
RESET = """
for name in throughput alone; do
    systemctl disable --now --quiet postgresql@15-$name 2>/dev/null || true
    pg_dropcluster --stop 15 $name 2>/dev/null || true
    rm -rf /etc/postgresql/15/$name /var/lib/postgresql/15/$name*
done
"""


def main() -> None:
    """Set up both with the collection, and let its benchmark run on each in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after so long")
    parser.add_argument("--seconds", type=int, default=8, help="of each run of pgbench")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--scale", type=int, default=20)
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    figures = Figures()
    words = [f"-epgtandem_benchmark_{name}={getattr(options, name)}" for name in ("seconds", "clients", "scale")]

    def show(_number: int) -> None:
        rows = [
            [what, shown(figures.median(key), 0), times(figures.ratio((key,), ("alone",)))]
            for key, what in WHAT.items()
        ]
        text = table(["commits wait for", "transactions a second", "to a server alone"], rows)
        print(text) if options.no_page else write_section("throughput", text)

    with tempfile.TemporaryDirectory(prefix="pgt-") as folder:
        on_hosts(PAIR, RESET)
        try:
            inventories = {}
            for names, instance, port in ((PAIR, "throughput", 5461), (PAIR[:1], "alone", 5462)):
                inventories[instance] = cluster(
                    Path(folder),
                    names,
                    pgtandem_version="15",
                    pgtandem_instance=instance,
                    pgtandem_port=port,
                    pgtandem_replication_password="bench",
                    pgtandem_parameters={"max_connections": 60, "shared_buffers": "256MB", "max_wal_size": "4GB"},
                )
                play("pgtandem.replication.site", inventories[instance], names)

            def bench(instance: str) -> None:
                levels = ["-e", '{"pgtandem_benchmark_levels": ["local"]}'] if instance == "alone" else []
                cost = play("pgtandem.replication.benchmark", inventories[instance], PAIR, *words, *levels)
                for level, rate in re.findall(r"(?m)^(\w+)(?: \(asynchronous\))? +(\d+) +\d+%", cost.output):
                    figures.add("alone" if instance == "alone" else level, value=float(rate))

            turns = {instance: functools.partial(bench, instance) for instance in inventories}
            in_rounds(options.rounds, turns, show, options.minutes)
        finally:
            on_hosts(PAIR, RESET)


if __name__ == "__main__":
    main()
