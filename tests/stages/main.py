# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stages of a test run: which there are, how they are run, and their summary."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from . import processes
from .counts import Counts, count_files, count_stage
from .jobs import Job, run_all, show
from .preflight import preflight, required
from .runs import ROOT, Stop, clear_earlier, own_children
from .scenarios import reasons_in

LOGS = ROOT / ".cache" / "stages"
#: What keeps a processor busy and has no eye on the clock comes first, the longest before the others; then servers and
#: hosts side by side.
CHECKS = ("sanity", "unit", "ansible-lint", "docs", "types", "licence", "changelog", "yamllint", "ruff", "shellcheck")
SERVERS = ("molecule", "integration")
EVERYTHING = ("galaxy", "controllers")
#: nox's name where it is another one.
SESSIONS = {"licence": "license-check"}
#: Stages that run pytest, and so take its arguments.
PYTEST = ("unit", "integration")
#: How long a stage may take to clear up when the run is stopped; nothing is waited for that is not needed.
PATIENCE_SECONDS = 25.0


@dataclasses.dataclass
class Stage:
    """A stage, and what came of it."""

    name: str
    arguments: tuple[str, ...] = ()
    job: Job | None = None
    counts: Counts = dataclasses.field(default_factory=Counts)
    #: Why it was not run.
    skipped: str = ""
    #: How it ended.
    word: str = "not run"

    @property
    def folder(self) -> Path:
        """Where its test runners leave their results."""
        return LOGS / self.name

    def make_job(self) -> Job:
        """The command that runs it."""
        nox = ROOT / ".venv/bin/nox"
        argv = [str(nox), "--session", SESSIONS.get(self.name, self.name), "--", *self.arguments]
        paths = [str(ROOT / "tests/plugins"), os.environ.get("PYTHONPATH", "")]
        environment = {"NOX_SCRIPT_MODE": "none", "PGTANDEM_RESULTS": str(self.folder)}
        if self.name in (*PYTEST, "molecule"):
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            environment["PYTEST_PLUGINS"] = "junit_results"
        self.job = Job(self.name, argv, LOGS / f"{self.name}.log", environment, own_group=True)
        return self.job

    def finish(self) -> None:
        """Count what it did."""
        assert self.job is not None
        status = self.job.status
        if status is None:
            self.word = "stopped"
            status = 130
        else:
            self.word = "ok" if status == 0 else "FAILED"
        reason = reasons_in(self.job.text)[0] if status else ""
        counted = count_files(self.folder.glob("*.xml"))
        self.counts = count_stage(counted, status, self.name, "stopped" if self.word == "stopped" else reason)

    @property
    def row(self) -> str:
        """Its line of the summary."""
        if self.skipped:
            word = "FAILED" if self.counts.failed else "skipped"
            return f"{self.name:14}      -  {word}: {self.skipped}"
        if self.job is None:
            return f"{self.name:14}      -  {self.word}"
        counts = self.counts
        numbers = f"{counts.passed:5} passed {counts.failed:4} failed {sum(counts.skipped.values()):4} skipped"
        return f"{self.name:14} {self.job.seconds:6.0f} s {numbers}  {self.word}"


def summary(stages: t.Sequence[Stage], seconds: float, stopped: str = "") -> list[str]:
    """The lines that close a run; the last one counts."""
    total = Counts()
    for stage in stages:
        total.add(stage.counts)
        if stage.skipped and not stage.counts.failed:
            total.skipped[f"the whole stage {stage.name}: {stage.skipped}"] += 1
    lines = ["", f"==> in {seconds:.0f} s; what each stage printed is in {LOGS.relative_to(ROOT)}"]
    lines += [stage.row for stage in stages]
    if total.skipped:
        lines += ["", "Skipped, by reason:"]
        lines += [f"{number:6}  {reason}" for reason, number in total.skipped.most_common()]
    if total.flaky:
        lines += ["", "Passed at the second try, by what makes them flaky:"]
        lines += [f"{number:6}  {reason}" for reason, number in total.flaky.most_common()]
    if total.failures:
        lines += ["", "Failed:", *(f"  {line[:300]}" for line in total.failures[:40])]
        if len(total.failures) > 40:
            lines.append(f"  and {len(total.failures) - 40} more")
    if stopped:
        total.failed = total.failed or 1
        lines += ["", f"Stopped by {stopped}: what came after it has not run."]
    return [*lines, "", total.closing_line]


def skip(stages: t.Sequence[Stage], reasons: t.Mapping[str, str], needed: t.Collection[str]) -> None:
    """Leave out what cannot run here; where it is required that is a failure."""
    for stage in stages:
        reason = reasons.get(stage.name, "")
        stage.skipped = reason
        if reason and stage.name in needed:
            stage.counts = Counts(failed=1, failures=[f"{stage.name}: required, and it cannot run here: {reason}"])


@contextlib.contextmanager
def only_run() -> t.Iterator[None]:
    """One test run of a checkout at a time: they would count each other's results."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("Another test run of this checkout is at work. Wait for it, or use another clone.")
        yield


def end_stages(running: t.Sequence[Job]) -> None:
    """Interrupt what runs, let it clear up, and end what remains."""
    for job in running:
        with contextlib.suppress(ProcessLookupError):
            job.signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and own_children():
        processes.reap()
        time.sleep(0.1)
    processes.end(own_children)


def run_stages(groups: t.Sequence[t.Sequence[Stage]], stop: Stop, at_once: int) -> None:
    """Run groups one after the other, and the stages of a group side by side."""
    for group in groups:
        by_job = {id(stage.make_job()): stage for stage in group if not stage.skipped}

        def before(job: Job) -> None:
            show(f"==> {job.name}")

        def after(job: Job, by_job: dict[int, Stage] = by_job) -> None:
            stage = by_job[id(job)]
            stage.finish()
            show(f"\n==> {job.name}: what it printed")
            show(job.text.rstrip())
            show(f"==> {stage.row}")

        jobs = [stage.job for stage in group if stage.job is not None]
        running = run_all(jobs, at_once=at_once, before=before, after=after, stopped=lambda: bool(stop.number))
        if stop.number:
            end_stages(running)
            for job in running:
                job.status = None
                by_job[id(job)].finish()
            return


def parse(argv: t.Sequence[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is for pytest."""
    words = list(argv)
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="tests/run-stages",
        description="Run checks and tests, and sum up. All that make test runs, unless stages are named.",
        epilog="Arguments after -- go to pytest; with them only the stages that run pytest are run.",
    )
    known = sorted({*CHECKS, *SERVERS, *EVERYTHING})
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(known))
    parser.add_argument("--all", action="store_true", help="every scenario and version as well; hours")
    chosen = parser.parse_args(words[:cut])
    unknown = sorted(set(chosen.stages) - set(known))
    if unknown:
        parser.error(f"there is no stage {', '.join(unknown)}; there are {', '.join(known)}")
    chosen.pytest = tuple(words[cut + 1 :])
    return chosen


def make_groups(chosen: argparse.Namespace) -> list[list[Stage]]:
    """The stages that a command line asks for, in groups."""
    names = set(chosen.stages or (PYTEST if chosen.pytest else (*CHECKS, *SERVERS)))
    checks: tuple[str, ...] = CHECKS
    if chosen.all:
        names.update(EVERYTHING)
    checks = (*checks, *EVERYTHING)
    arguments = {name: chosen.pytest for name in PYTEST}
    if chosen.all:
        arguments["molecule"] = ("--all",)
        # With the repetitions, which the session leaves out.
        arguments["integration"] = ("-m", "", *chosen.pytest)
    return [[Stage(name, arguments.get(name, ())) for name in group if name in names] for group in (checks, SERVERS)]


def main(argv: t.Sequence[str]) -> int:
    """Run what a command line asks for."""
    chosen = parse(argv)
    os.chdir(ROOT)
    groups = make_groups(chosen)
    stages = [stage for group in groups for stage in group]
    with only_run():
        started = time.monotonic()
        stop = Stop()
        processes.adopt_orphans()
        clear_earlier()
        for stage in stages:
            shutil.rmtree(stage.folder, ignore_errors=True)
            stage.folder.mkdir(parents=True)
        found = preflight([stage.name for stage in stages], show)
        skip(stages, found.skips, required(os.environ.get("REQUIRE", "")))
        if found.stops:
            stages[0].counts.add(Counts(failed=1, failures=found.stops))
        elif not stop.number and subprocess.run(["tests/make-venv", "test"], check=False).returncode:
            stages[0].counts.add(Counts(failed=1, failures=[".venv could not be made: see above"]))
        elif not stop.number:
            run_stages(groups, stop, at_once=max(2, os.cpu_count() or 2))
        lines = summary(stages, time.monotonic() - started, stop.name)
        for line in lines:
            show(line)
    if stop.number:
        return 128 + stop.number
    return int(any(stage.counts.failed for stage in stages))
