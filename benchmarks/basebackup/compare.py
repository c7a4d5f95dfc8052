# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's copy beside a bare pg_basebackup, on the same server in the same run."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/integration"))
from conftest import BIN_DIRECTORIES, Cluster, free_port, run_module, server_account  # noqa: E402


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", default="embedded", choices=sorted(BIN_DIRECTORIES))
    parser.add_argument("--directory", type=Path, help="where the data goes; by default the system's folder for it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pgt-", dir=options.directory) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, server_account())
        cluster = Cluster(folder, BIN_DIRECTORIES[options.server], free_port(), server_account())
        cluster.initialise()
        cluster.configure(log_statement="none", log_min_duration_statement="-1", max_wal_size="8GB")
        cluster.start()
        try:
            cluster.psql("SET password_encryption = 'md5'; CREATE ROLE replica LOGIN REPLICATION PASSWORD 'replica'")
            rows = int(options.gigabytes * 1e9 / 1024)
            cluster.psql(
                "CREATE TABLE big AS SELECT g, repeat(md5(g::text), 29) AS x "
                f"FROM generate_series(1, {rows}) g; CHECKPOINT"
            )
            measure(cluster, options.rounds)
        finally:
            cluster.stop()


def measure(cluster: Cluster, rounds: int) -> None:
    """Rounds of both in turn, the first of each unmeasured."""
    bare, job, task = [], [], []
    print("round    bare     job    task  (s)")
    for number in range(rounds + 1):
        times = (copy_bare(cluster), *copy_by_module(cluster))
        if number:
            for values, value in zip((bare, job, task), times):
                values.append(value)
            print(f"{number:5}" + "".join(f"{value:8.2f}" for value in times), flush=True)
    medians = [statistics.median(values) for values in (bare, job, task)]
    print("median" + "".join(f"{value:8.2f}"[1 if not index else 0 :] for index, value in enumerate(medians)))
    print(f"the job takes {100 * (medians[1] / medians[0] - 1):+.1f} % of the bare program's time")


def copy_bare(cluster: Cluster) -> float:
    """Seconds of pg_basebackup by itself."""
    target = cluster.folder / "bare"
    start = time.monotonic()
    cluster.run(
        "pg_basebackup", f"--pgdata={target}", "--format=plain", "--wal-method=stream", "--checkpoint=fast",
        "--no-password", "--progress", "--verbose", "--no-manifest",
        f"--dbname=host=127.0.0.1 port={cluster.port} user=replica", PGPASSWORD="replica",
    )  # fmt: skip
    seconds = time.monotonic() - start
    shutil.rmtree(target)
    return seconds


def copy_by_module(cluster: Cluster) -> tuple[float, float]:
    """Seconds of the job, and of the whole ansible-playbook."""
    target = dataclasses.replace(cluster, folder=cluster.folder / "module", port=free_port())
    target.folder.mkdir()
    start = time.monotonic()
    result = run_module(
        "pg_basebackup",
        {**target.options, "upstream_host": "127.0.0.1", "upstream_port": cluster.port, "upstream_password": "replica"},
    )
    seconds = time.monotonic() - start
    assert not result["failed"], result
    shutil.rmtree(target.folder)
    return result["seconds"], seconds


if __name__ == "__main__":
    main()
