# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's copy beside a bare pg_basebackup, on the same server in the same run."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / name) for name in ("tests/integration", "benchmarks/shared")]
from conftest import BIN_DIRECTORIES, Cluster, free_port, run_module, server_account
from figures import Figures, goals, in_rounds, shown, table, times, write_section


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=8.0, help="of the database; three times as much is used")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no round after so long")
    parser.add_argument("--no-page", action="store_true", help="print only")
    parser.add_argument("--silent", action="store_true", help="one module run that waits, without progress")
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
            measure(cluster, options)
        finally:
            cluster.stop()


def measure(cluster: Cluster, options: argparse.Namespace) -> None:
    """Rounds of each in turn, the first of each unmeasured."""
    figures = Figures()

    def by_module() -> None:
        job, task = copy_by_module(cluster, silent=options.silent)
        figures.add("job", value=job)
        figures.add("task", value=task)

    turns = {
        "raw": lambda: figures.add("raw", value=copy_raw(cluster)),
        "bare": lambda: figures.add("bare", value=copy_bare(cluster)),
        "module": by_module,
    }
    for warm_up in turns.values():
        warm_up()
    figures.clear()
    what = {
        "raw": "`cp -r` of the data directory",
        "bare": "`pg_basebackup` by itself",
        "job": "the module's job on the host, from its start to the copy being whole",
        "task": "the whole `ansible-playbook` with that one task",
    }

    def show(_number: int) -> None:
        rows = [
            [text, shown(figures.median(key), 2), times(figures.ratio((key,), ("bare",)))] for key, text in what.items()
        ]
        text = f"{options.gigabytes:g} GB, the same options, loopback.\n\n" + table(["way", "s", "to bare"], rows)
        text += goals([("the module's job to the bare program", 1.03, figures.ratio(("job",), ("bare",)))])
        print(text) if options.no_page else write_section("basebackup", text)

    in_rounds(options.rounds, turns, show, options.minutes)


def copy_raw(cluster: Cluster) -> float:
    """Seconds of copying the files as they lie there, which is no backup."""
    target = cluster.folder / "raw"
    start = time.monotonic()
    subprocess.run(["cp", "-r", "--reflink=never", cluster.data_directory, target], check=False, capture_output=True)
    subprocess.run(["sync", "-f", target], check=True)
    seconds = time.monotonic() - start
    shutil.rmtree(target)
    return seconds


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


def copy_by_module(cluster: Cluster, *, silent: bool) -> tuple[float, float]:
    """Seconds of the job, and of the whole ansible-playbook."""
    target = dataclasses.replace(cluster, folder=cluster.folder / "module", port=free_port())
    target.folder.mkdir()
    start = time.monotonic()
    result = run_module(
        "pg_basebackup",
        {
            **target.options,
            "upstream_host": "127.0.0.1",
            "upstream_port": cluster.port,
            "upstream_password": "replica",
            **({"wait_timeout": 86400} if silent else {}),
        },
    )
    seconds = time.monotonic() - start
    assert not result["failed"], result
    shutil.rmtree(target.folder)
    return result["seconds"], seconds


if __name__ == "__main__":
    main()
