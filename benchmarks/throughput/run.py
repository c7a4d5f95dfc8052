# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits cost by how far they wait for the standby: pgbench on a pair's primary and on a lone server."""

from __future__ import annotations

import argparse
import functools
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))
from figures import Figures, in_rounds, shown, table, times, write_section
from hosts import cluster, on_host, on_hosts, play

PAIR = ("pg1", "pg2")
#: Port of the pair's primary, and of a server that nobody follows on the same host.
PAIRED, ALONE = 5461, 5462
LEVELS = {
    "standalone": (ALONE, "on"),
    "one standby, asynchronous (`local`)": (PAIRED, "local"),
    "`remote_write`": (PAIRED, "remote_write"),
    "`on`": (PAIRED, "on"),
    "`remote_apply`": (PAIRED, "remote_apply"),
}
RESET = """
for name in throughput alone; do
    systemctl disable --now --quiet postgresql@15-$name 2>/dev/null || true
    pg_dropcluster --stop 15 $name 2>/dev/null || true
    rm -rf /etc/postgresql/15/$name /var/lib/postgresql/15/$name*
done
"""
AS_POSTGRES = "cd /tmp && runuser -u postgres -- env PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin "


def main() -> None:
    """Make both servers, fill them, and let pgbench run on each level in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after so long")
    parser.add_argument("--seconds", type=int, default=10, help="of each run of pgbench")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--scale", type=int, default=20)
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args()
    figures = Figures()

    def bench(level: str) -> None:
        port, commit = LEVELS[level]
        words = f"pgbench -n -T {options.seconds} -c {options.clients} -j 2 -p {port} postgres"
        output = on_host(PAIR[0], f"{AS_POSTGRES} PGOPTIONS='-c synchronous_commit={commit}' {words}")
        match = re.search(r"tps = ([\d.]+)", output)
        assert match is not None, output
        figures.add(level, value=float(match[1]))

    def show(_number: int) -> None:
        rows = [
            [level, shown(figures.median(level), 0), times(figures.ratio((level,), ("standalone",)))]
            for level in LEVELS
        ]
        text = table(["commits wait for", "transactions a second", "to standalone"], rows)
        print(text) if options.no_page else write_section("throughput", text)

    with tempfile.TemporaryDirectory(prefix="pgt-") as folder:
        on_hosts(PAIR, RESET)
        try:
            settings = {"max_connections": 60, "shared_buffers": "256MB", "max_wal_size": "4GB"}
            inventory = cluster(
                Path(folder),
                PAIR,
                pgtandem_version="15",
                pgtandem_instance="throughput",
                pgtandem_port=PAIRED,
                pgtandem_replication_password="bench",
                pgtandem_parameters=settings,
            )
            play("pgtandem.replication.site", inventory, PAIR)
            more = "".join(f" --pgoption {name}={value}" for name, value in settings.items())
            on_host(PAIR[0], f"pg_createcluster --start -p {ALONE} {more} 15 alone -- --data-checksums >&2")
            for port in (PAIRED, ALONE):
                on_host(PAIR[0], f"{AS_POSTGRES} pgbench -q -i -s {options.scale} -p {port} postgres 2>&1")
            # The level of each run says whether its commits wait; local does not.
            waits = "ALTER SYSTEM SET synchronous_standby_names = '*'"
            on_host(PAIR[0], f'{AS_POSTGRES} psql -p {PAIRED} -qc "{waits}" -c "SELECT pg_reload_conf()"')
            in_rounds(
                options.rounds, {level: functools.partial(bench, level) for level in LEVELS}, show, options.minutes
            )
        finally:
            on_hosts(PAIR, RESET)


if __name__ == "__main__":
    main()
