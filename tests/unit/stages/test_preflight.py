# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the preflight makes of a machine."""

from __future__ import annotations

import doctest
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
from stages import main, preflight

# Or pytest would take the other files' folders for packages of that one.
sys.path.remove(str(ROOT / "tests"))

GIB = preflight.GIB
STAGES = ("unit", "integration", "molecule")
GOOD = preflight.Machine(
    python=(3, 11),
    has_venv=True,
    checkout="",
    root="",
    apt=True,
    memory=8 * GIB,
    disk=50 * GIB,
    containers_disk=50 * GIB,
    missing={"molecule": [], "browser": []},
    namespaces="",
)


def test_examples() -> None:
    tried = doctest.testmod(preflight)
    assert tried.attempted and not tried.failed


def test_a_good_machine_runs_everything() -> None:
    found = preflight.judge(GOOD, STAGES)
    assert not found.skips and not found.stops


SKIPS: list[t.Any] = [
    pytest.param({"root": "sudo asks for a password"}, {"molecule"}, "sudo asks", id="ordinary account"),
    pytest.param({"namespaces": "unshare failed"}, {"molecule"}, "unshare failed", id="plain container"),
    pytest.param({"apt": False, "missing": {"molecule": ["podman"]}}, {"molecule"}, "apt-get", id="no apt"),
    pytest.param({"memory": GIB}, {"molecule"}, "memory", id="memory"),
    pytest.param({"containers_disk": GIB}, {"molecule"}, "disk", id="disk of containers"),
    pytest.param({"disk": GIB}, {"integration"}, "/tmp", id="disk"),
]


@pytest.mark.parametrize(("changes", "stages", "words"), SKIPS)
def test_what_cannot_run_is_skipped_with_its_reason(changes: dict[str, t.Any], stages: set[str], words: str) -> None:
    found = preflight.judge(GOOD._replace(**changes), STAGES)
    assert set(found.skips) == stages and not found.stops
    assert all(words in reason for reason in found.skips.values())


STOPS: list[t.Any] = [
    pytest.param({"python": (3, 9)}, "3.11", id="python"),
    pytest.param({"has_venv": False}, "python3-venv", id="venv"),
    pytest.param({"checkout": "The tests need git"}, "git", id="git"),
]


@pytest.mark.parametrize(("changes", "words"), STOPS)
def test_without_these_nothing_runs(changes: dict[str, t.Any], words: str) -> None:
    found = preflight.judge(GOOD._replace(**changes), STAGES)
    assert len(found.stops) == 1 and words in found.stops[0]


INSTALLS: list[t.Any] = [
    pytest.param({}, "will be installed", id="root"),
    pytest.param({"root": "there is no sudo here"}, "runs without chromium", id="ordinary account"),
    pytest.param({"apt": False}, "runs without chromium", id="no apt"),
]


@pytest.mark.parametrize(("changes", "words"), INSTALLS)
def test_what_will_be_installed_is_said(changes: dict[str, t.Any], words: str) -> None:
    machine = GOOD._replace(missing={"molecule": [], "browser": ["chromium"]}, **changes)
    assert any(words in line for line in preflight.judge(machine, STAGES).lines)


@pytest.mark.parametrize(("needed", "closing"), [((), "0 failed, 1 skipped"), (("molecule",), "1 failed, 0 skipped")])
def test_a_stage_that_is_required_may_not_be_missing(needed: tuple[str, ...], closing: str) -> None:
    stages = [main.Stage("molecule")]
    main.skip(stages, {"molecule": "no podman"}, needed)
    assert main.summary(stages, 1.0)[-1] == f"0 passed, {closing}"
