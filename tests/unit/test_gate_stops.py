# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every reason to stop that the gate has is set up on servers by a test, and documented."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GATE = [
    ROOT / "plugins/plugin_utils" / f"{name}.py"
    for name in (
        "_gate/inventory_checks",
        "_gate/host_checks",
        "_gate/cluster_checks",
        "_cluster/listening",
        "_gate/primary",
        "_controller/tls_arguments",
        "_gate/settlement",
    )
]
#: Reasons that only a change of roles, or of parameters in order, has.
CHANGES = [
    ROOT / "plugins/plugin_utils" / f"{name}.py"
    for name in ("_role_change/failover", "_plan/rejoin", "_plan/removal", "_plan/parameter_order", "_plan/synchronous")
]
#: Where tests with real servers are.
REAL = [path for folder in ("tests/integration", "molecule/*/tests") for path in ROOT.glob(f"{folder}/test_*.py")]
#: What is told and does not stop.
NOTES = {"collation-versions", "primary-followed", "standby-unread", "upstream-unread", "cascade-moved"}
KEBAB = re.compile(r"[a-z]+(-[a-z]+)*")


def text_in(nodes: t.Iterable[ast.expr]) -> t.Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and KEBAB.fullmatch(node.value):
            yield node.value


def identifiers(source: str) -> set[str]:
    """What Problem is made with: told at once, or the first of a tuple that a check yields or lists."""
    tree = ast.parse(source)
    found: set[str] = set()
    compared = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Compare) for part in node.comparators}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
            found.update(text_in(node.args[:1]))
        elif isinstance(node, ast.Tuple) and len(node.elts) > 1 and id(node) not in compared:
            found.update(text_in(node.elts[:1]))
    return found


def marked(source: str) -> set[str]:
    """What the calls of C(stops) name, as a mark of pytest or by that name alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found.update(text_in(node.args) if name == "stops" else ())
    return found


def read(paths: t.Iterable[Path], words: t.Callable[[str], set[str]]) -> set[str]:
    return {word for path in paths for word in words(path.read_text(encoding="utf-8"))}


def made(source: str) -> set[str]:
    """What Problem is made with, told at once alone."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {
        word
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Problem"
        for word in text_in(call.args[:1])
    }


STOPS = read(GATE, identifiers) - NOTES
OTHER_STOPS = read(CHANGES, made) - STOPS - NOTES


def test_the_identifiers_are_found() -> None:
    assert {"two-primaries", "host-port", "block-sizes", "inventory-login", "diverged", "no-primary"} <= STOPS
    assert len(STOPS) > 25


def test_every_stop_is_set_up_on_servers() -> None:
    assert {"no-quorum", "wal-gone", "remove-upstream", "parameters-left-out", "inventory-synchronous"} <= OTHER_STOPS
    assert sorted((STOPS | OTHER_STOPS) - read(REAL, marked)) == []


def test_no_test_claims_a_stop_that_is_none() -> None:
    assert sorted(read(REAL, marked) - STOPS - OTHER_STOPS) == []


def test_every_stop_is_documented() -> None:
    page = (ROOT / "docs/status.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z-]+)`", page))
    assert sorted(stop for stop in STOPS | NOTES if stop not in documented) == []
