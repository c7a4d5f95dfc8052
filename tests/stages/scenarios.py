# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Molecule's scenarios, two at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

from .counts import write_cases
from .jobs import Job, plain, run_all, show

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".cache" / "molecule"
#: One of Debian's majors and one from elsewhere stand for all; the longest first.
SOME = ("faults", "default", "versions-13", "versions-18")
ALL = (
    *("switchover", "faults", "failover", "basebackup", "clusters", "tls", "tls-13", "unprivileged", "default"),
    *("status", "loopback", "existing", "projects", "surroundings", "hostile", "patroni", "chaos"),
    *(f"ordered-{major}" for major in (12, 13, 15)),
    *(f"versions-{major}" for major in (10, 11, 12, 13, 14, 15, 16, 17, 18, 19)),
)
#: Where a log says why a scenario failed, the plainest first.
REASONS = (
    re.compile(r"^.*?\b(lab: .+?)['\"]?$", re.MULTILINE),
    re.compile(r"^\s*((?:FAILED|ERROR) \S+::.+)$", re.MULTILINE),
    re.compile(r"^\s*fatal: \[[^\]]+\].*?^\s*msg: (?:[|>]-?\s*\n\s*)?(.+?)$", re.MULTILINE | re.DOTALL),
    re.compile(r"^\s*(fatal: \[[^\]]+\]: .+)$", re.MULTILINE),
    re.compile(r"^\s*((?:\[ERROR\]:|CRITICAL|ERROR) .+)$", re.MULTILINE),
)


def reasons_in(log: str, most: int = 3) -> list[str]:
    """Why a scenario failed, from what it printed.

    >>> reasons_in("  \\x1b[31mlab: 10.12.12.0/24 is taken\\x1b[0m\\nCRITICAL rc 1")
    ['lab: 10.12.12.0/24 is taken']
    """
    text = plain(log)
    for pattern in REASONS:
        found = list(dict.fromkeys(words.strip() for words in pattern.findall(text)))
        if found:
            return found[:most]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("nox >", "make"))]
    return lines[-1:] or ["it printed nothing"]


def main(scenarios: t.Sequence[str]) -> int:
    """Run scenarios and sum up."""
    if not scenarios:
        sys.exit("usage: tests/run-molecule SCENARIO... | --some | --all")
    scenarios = {"--some": SOME, "--all": ALL}.get(scenarios[0], scenarios)
    os.chdir(ROOT)
    # What all of them need is installed once.
    status = subprocess.run(["tests/install-system-packages", "molecule"], check=False).returncode
    if status:
        return status
    # What repeats another test is left to --all, and to a scenario that is run by its name.
    less = {"PYTEST_ADDOPTS": "-m 'not repetition'"} if scenarios is SOME else {}
    jobs = [Job(name, ["molecule/run", name], LOGS / f"{name}.log", less) for name in dict.fromkeys(scenarios)]

    def after(job: Job) -> None:
        show(f"\n==> what molecule/run {job.name} printed")
        show(job.text.rstrip())

    run_all(
        jobs,
        # They wait for each other's hosts less than they keep a core busy.
        at_once=int(os.environ.get("MOLECULE_JOBS") or 2),
        before=lambda job: show(f"==> molecule/run {job.name}"),
        after=after,
    )
    results: dict[str, str | None] = {}
    show()
    for job in jobs:
        log = job.log.relative_to(ROOT)
        found = reasons_in(job.text) if job.status else []
        results[job.name] = f"{found[0]} ({log})" if job.status else None
        show(f"{job.name:14} {job.seconds:6.0f} s  {f'FAILED, see {log}' if job.status else 'ok'}")
        for reason in found:
            show(f"    {reason[:300]}")
    folder = os.environ.get("PGTANDEM_RESULTS")
    if folder:
        write_cases(Path(folder) / "scenarios.xml", "molecule", results)
    return int(any(job.status for job in jobs))
