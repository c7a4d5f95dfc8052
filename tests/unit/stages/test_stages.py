# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a test run counts and says, and that it leaves nothing behind."""

from __future__ import annotations

import doctest
import os
import signal
import subprocess
import sys
import textwrap
import time
import types
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
from stages import counts, jobs, main, processes, runs, scenarios  # noqa: I001

# Or pytest would take the other files' folders for packages of that one.
sys.path.remove(str(ROOT / "tests"))

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=."]
TESTS = """
    import pytest
    seen = []

    @pytest.mark.flaky(reruns=1, reason="meets a moment")
    def test_passes_at_the_second_try():
        seen.append(1)
        assert len(seen) > 1

    @pytest.mark.flaky(reruns=1, reason="meets a moment")
    def test_never_passes():
        assert False, "why"

    def test_passes():
        pass

    @pytest.mark.skip("no such server")
    @pytest.mark.parametrize("number", [1, 2])
    def test_is_skipped(number):
        pass

    @pytest.fixture
    def broken():
        yield
        raise OSError("in the end")

    def test_fails_twice(broken):
        assert False

    def test_fails_in_the_end(broken):
        pass
"""


@pytest.mark.parametrize("module", [jobs, processes, runs, scenarios], ids=lambda module: module.__name__)
def test_examples(module: types.ModuleType) -> None:
    tried = doctest.testmod(module)
    assert tried.attempted and not tried.failed


# --- counting ---


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "with workers"])
def test_pytest_is_counted_by_what_it_wrote(tmp_path: Path, workers: tuple[str, ...]) -> None:
    (tmp_path / "test_it.py").write_text(textwrap.dedent(TESTS), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests/plugins"), "PYTEST_PLUGINS": "junit_results"}
    environment["PGTANDEM_RESULTS"] = str(tmp_path / "results")
    done = subprocess.run(
        [*PYTEST, *workers, "test_it.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout
    found = counts.count_files((tmp_path / "results").glob("*.xml"))
    assert (found.passed, found.failed) == (2, 3)
    assert found.skipped == {"no such server": 2}
    assert found.flaky == {"meets a moment": 1}
    assert sorted(line.partition(":: ")[0].split("::")[1].split(":")[0] for line in found.failures) == [
        "test_fails_in_the_end",
        "test_fails_twice",
        "test_never_passes",
    ]


def test_each_pytest_of_a_stage_is_counted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        counts.write_cases(tmp_path / f"{name}.xml", name, {"a": None, "b": "it broke"})
    found = counts.count_files(tmp_path.glob("*.xml"))
    assert (found.passed, found.failed) == (2, 2)
    assert found.failures == ["one::b: it broke", "two::b: it broke"]


def test_a_file_that_breaks_off_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "half.xml").write_text("<testsuite><testcase name='a'>", encoding="utf-8")
    assert counts.count_files(tmp_path.glob("*.xml")).failed == 1


def test_sanity_is_counted() -> None:
    """As ansible-test writes it."""
    text = """<testsuites disabled="0" errors="0" failures="1" tests="2"><testsuite name="ansible-test">
        <testcase classname="sanity" name="pep8"><failure message="one" type="f">a.py:1:1: E501</failure></testcase>
        <testcase classname="sanity" name="yamllint"/></testsuite></testsuites>"""
    found = counts.count_cases(ElementTree.fromstring(text))
    assert (found.passed, found.failed) == (1, 1)


STAGES = [
    pytest.param(counts.Counts(passed=3), 0, (3, 0), id="tests that passed"),
    pytest.param(counts.Counts(passed=3), 1, (3, 1), id="failed outside of its tests"),
    pytest.param(counts.Counts(passed=3, failed=2), 1, (3, 2), id="failed in its tests"),
    pytest.param(counts.Counts(), 0, (1, 0), id="no test runner"),
    pytest.param(counts.Counts(), 1, (0, 1), id="no test runner, failed"),
]


@pytest.mark.parametrize(("counted", "status", "expected"), STAGES)
def test_what_a_stage_adds(counted: counts.Counts, status: int, expected: tuple[int, int]) -> None:
    found = counts.count_stage(counted, status, "stage", "reason")
    assert (found.passed, found.failed) == expected


# --- the summary ---


def stage(name: str, **values: t.Any) -> main.Stage:
    return main.Stage(name, job=jobs.Job(name, ["true"], Path("log")), **values)


def test_the_summary_closes_with_the_counts() -> None:
    one, two = counts.Counts(passed=2, failed=1, failures=["a::b: why"]), counts.Counts(passed=1)
    one.skipped["no such server"] = 4
    two.flaky["meets a moment"] = 1
    stages = [stage("unit", counts=one), stage("integration", counts=two), main.Stage("molecule", skipped="no podman")]
    lines = main.summary(stages, 12.3)
    assert lines[-1] == "3 passed, 1 failed, 5 skipped"
    text = "\n".join(lines)
    assert "     4  no such server" in text and "no podman" in text and "a::b: why" in text
    assert "     1  meets a moment" in text


def test_a_run_that_was_stopped_has_failed() -> None:
    lines = main.summary([stage("unit", counts=counts.Counts(passed=1))], 1.0, "SIGTERM")
    assert lines[-1] == "1 passed, 1 failed, 0 skipped"


REASONS = [
    pytest.param("\x1b[0;31m  stderr: 'lab: no podman'\x1b[0m\nCRITICAL", "lab: no podman", id="lab"),
    pytest.param("  fatal: [pg1]: FAILED! =>\n    changed: false\n    msg: It stops.\n", "It stops.", id="a task"),
    pytest.param("  fatal: [pg1]: FAILED! =>\n    msg: |-\n        It stops\n        here\n", "It stops", id="a block"),
    pytest.param("FAILED ../tests/test_x.py::test_y - assert 1\n", "FAILED ../tests/test_x.py::test_y", id="a test"),
    pytest.param("one\ntwo\nnox > Session x failed.\n", "two", id="anything"),
    pytest.param("", "it printed nothing", id="nothing"),
]


@pytest.mark.parametrize(("log", "reason"), REASONS)
def test_why_a_scenario_failed(log: str, reason: str) -> None:
    assert scenarios.reasons_in(log)[0].startswith(reason)


def test_all_scenarios_are_run_before_a_release() -> None:
    """But the one for benchmarks."""
    there = {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")} - {"bench"}
    assert there == {name.partition("-")[0] for name in scenarios.ALL}


def test_arguments_go_to_pytest() -> None:
    groups = main.make_groups(main.parse(["--", "-k", "role"]))
    assert [(s.name, s.arguments) for group in groups for s in group] == [
        ("unit", ("-k", "role")),
        ("integration", ("-k", "role")),
    ]


# --- nothing stays ---

LEAVES = "touch $TMPDIR/file; setsid sleep 3333 & (setsid sh -c 'cd $TMPDIR; exec env -i sleep 3333' &); echo $TMPDIR"


def keep_clean(script: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != runs.VARIABLE}
    argv = [str(ROOT / "tests/keep-clean"), "sh", "-c", script]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_clean(folder: Path) -> bool:
    busy = [row for row in processes.all_processes() if processes.belongs_to(row.pid, "no mark", str(folder))]
    return not folder.exists() and not busy


def test_a_command_leaves_nothing_behind() -> None:
    done = keep_clean(LEAVES + "; exit 7")
    printed, said = done.communicate(timeout=30)
    assert done.returncode == 7
    # The command may have ended before those that it started are `sleep`.
    assert "ended what was left running: " in said
    assert is_clean(Path(printed.strip()))


@pytest.mark.parametrize("number", processes.STOPS, ids=lambda number: signal.Signals(number).name)
def test_a_signal_leaves_nothing_behind(number: int) -> None:
    run = keep_clean(LEAVES + "; sleep 3333")
    assert run.stdout is not None
    folder = Path(run.stdout.readline().strip())
    run.send_signal(number)
    run.communicate(timeout=30)
    assert run.returncode == 128 + number
    assert is_clean(folder)


def test_the_next_run_clears_what_a_killed_one_left() -> None:
    run = keep_clean(LEAVES + "; sleep 3333")
    assert run.stdout is not None
    folder = Path(run.stdout.readline().strip())
    time.sleep(0.2)
    run.kill()
    run.wait()
    assert folder.exists()
    keep_clean("true").communicate(timeout=30)
    assert is_clean(folder)
