# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What test runners counted, read from the JUnit XML that they wrote."""

from __future__ import annotations

import collections
import dataclasses
import typing as t
from pathlib import Path
from xml.etree import ElementTree


@dataclasses.dataclass
class Counts:
    """Tests by their result. A skipped or flaky one counts under its reason."""

    passed: int = 0
    failed: int = 0
    skipped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    flaky: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Take another's counts in."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped.update(other.skipped)
        self.flaky.update(other.flaky)
        self.failures += other.failures

    @property
    def closing_line(self) -> str:
        """The plain line that ends a run, as test runners print it."""
        return f"{self.passed} passed, {self.failed} failed, {sum(self.skipped.values())} skipped"


def first_line(text: str | None) -> str:
    """The first line that says something."""
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), "no reason given")


def count_cases(root: ElementTree.Element) -> Counts:
    """Count the test cases of one file.

    A test may have several elements: one for each try, and one for what its fixtures failed with at the end. Those
    tries that another one followed hold no failure.
    """
    cases: dict[str, list[ElementTree.Element]] = {}
    for case in root.iter("testcase"):
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        cases.setdefault(name, []).extend(case)
    counts = Counts()
    for name, parts in cases.items():
        wrong = next((part for part in parts if part.tag in ("failure", "error")), None)
        skipped = next((part for part in parts if part.tag == "skipped"), None)
        if wrong is not None:
            counts.failed += 1
            counts.failures.append(f"{name}: {first_line(wrong.get('message') or wrong.text)}")
        elif skipped is not None:
            counts.skipped[first_line(skipped.get("message") or skipped.text)] += 1
        else:
            counts.passed += 1
            found = {prop.get("name"): prop.get("value") for part in parts for prop in part.iter("property")}
            if "flaky" in found:
                counts.flaky[found["flaky"] or "no reason given"] += 1
    return counts


def count_files(paths: t.Iterable[Path]) -> Counts:
    """Count over files; one that breaks off in the middle is a failure."""
    total = Counts()
    for path in sorted(paths):
        try:
            total.add(count_cases(ElementTree.parse(path).getroot()))
        except ElementTree.ParseError as error:
            total.add(Counts(failed=1, failures=[f"{path.name} is not whole: {error}"]))
    return total


def count_stage(counted: Counts, status: int, name: str, reason: str) -> Counts:
    """What a stage adds: its tests, or itself where it ran no test runner or failed outside of the tests."""
    total = Counts()
    total.add(counted)
    if status != 0 and not total.failed:
        total.add(Counts(failed=1, failures=[f"{name}: {reason}"]))
    elif status == 0 and not total.passed and not total.skipped:
        total.passed = 1
    return total


def write_cases(path: Path, suite: str, cases: t.Mapping[str, str | None]) -> None:
    """Write test cases of one's own: each one's name, and why it failed or None."""
    root = ElementTree.Element("testsuite", name=suite, tests=str(len(cases)))
    for name, reason in cases.items():
        case = ElementTree.SubElement(root, "testcase", classname=suite, name=name)
        if reason is not None:
            ElementTree.SubElement(case, "failure", message=reason)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
