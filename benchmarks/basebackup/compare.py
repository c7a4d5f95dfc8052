# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a second standby costs that is seeded at the same time: `molecule/run basebackup bench`, after its prepare.

Both runs are the playbook site from an empty standby, on the hosts of that scenario, with copies of a limited rate, so
that two of them are no slower than one. The controller's part is the processor time of ansible-playbook and of all that
it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "shared")]

from figures import ROOT, machine, shown, table, times

WIPE = """systemctl stop postgresql@15-main
rm -rf /var/lib/postgresql/15/main* /srv/wal /srv/other* /srv/fast /srv/slow /srv/small/*
"""
SETTINGS = {"pgtandem_basebackup": {
    "max_rate": "100M",
    "tablespace_mapping": {"/srv/fast": "/srv/fast", "/srv/slow": "/srv/slow"},
}}  # fmt: skip


class Seeding(t.NamedTuple):
    """One run."""

    seconds: float
    processor: float
    copies: tuple[float, ...]


def seed(names: t.Sequence[str], folder: Path) -> Seeding:
    """Empty the standbys and have site.yml seed them."""
    for name in names:
        argv = [sys.executable, ROOT / "molecule/shared/lab.py", "ssh", name, "--", "sudo", "bash", "-s"]
        subprocess.run(argv, input=WIPE, text=True, check=False, capture_output=True)
    inventory = folder / "seeded.yml"
    inventory.write_text(json.dumps({"seeded": {"hosts": dict.fromkeys(names, {})}}), encoding="utf-8")
    argv = ["ansible-playbook", "pgtandem.replication.site", f"--inventory={inventory}"]
    argv += [f"--inventory={path}" for path in os.environ["PGTANDEM_LAB_INVENTORY"].split(":")]
    argv += ["-e", "pgtandem_standby_group=seeded", "-e", json.dumps(SETTINGS)]
    start = time.monotonic()
    with open(folder / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        )  # fmt: skip
        _pid, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    output = (folder / "log").read_text(encoding="utf-8")
    if status:
        raise SystemExit(output)
    print("\n".join(re.findall(r"(?m)^pg\d: .*", output)), file=sys.stderr)
    copies = tuple(float(found) for found in re.findall(r"(?m)^pg\d: copied .* in (\d+) s", output))
    assert len(copies) == len(names), output
    return Seeding(seconds, used.ru_utime + used.ru_stime, copies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    sizes = (("pg2",), ("pg2", "pg3"))
    found: dict[int, list[Seeding]] = {len(names): [] for names in sizes}
    with tempfile.TemporaryDirectory() as folder:
        for _round in range(rounds):
            for names in sizes:
                found[len(names)].append(seed(names, Path(folder)))
                print(f"{len(names)}: {found[len(names)][-1]}", file=sys.stderr, flush=True)

    def middle(count: int, pick: t.Callable[[Seeding], float]) -> float:
        return statistics.median(map(pick, found[count]))

    rows = []
    for count in found:
        wall, processor = middle(count, lambda one: one.seconds), middle(count, lambda one: one.processor)
        rows.append([
            str(count), shown(wall), times(wall / middle(1, lambda one: one.seconds)), shown(processor),
            times(processor / middle(1, lambda one: one.processor)), shown(middle(count, lambda one: max(one.copies))),
        ])  # fmt: skip
    print(table(["standbys seeded", "s", "to 1", "controller's processor, s", "to 1", "longest copy, s"], rows))
    print(machine())


if __name__ == "__main__":
    main()
