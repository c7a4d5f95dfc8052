# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option that is a number has a range, and a default within it."""

from __future__ import annotations

import math
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.pgtandem.replication.plugins.module_utils._values.ranges import RANGES, range_problems

ROOT = Path(__file__).resolve().parents[5]


def numbers(options: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, t.Any]]:
    for name, option in options.items():
        if option.get("type") in ("int", "float"):
            yield name, option.get("default")
        yield from numbers(option.get("suboptions") or {})


def documented() -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for path in [*(ROOT / "plugins/modules").glob("pg_*.py"), *(ROOT / "plugins/doc_fragments").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        page = yaml.safe_load(text.split('DOCUMENTATION = r"""', 1)[1].split('"""', 1)[0])
        found.update(numbers(page.get("options") or {}))
    return found


def test_every_number_has_a_range() -> None:
    found = documented()
    assert set(found) == set(RANGES)
    assert range_problems({name: default for name, default in found.items() if default is not None}) == []


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("timeout", -1.0, True),
        ("timeout", math.nan, True),
        ("timeout", math.inf, True),
        ("timeout", 0, False),
        ("samples", 0, True),
        ("samples", True, False),
        ("sample_interval", -3, True),
        ("port", 65536, True),
        ("port", None, False),
        ("connection_limit", -1, False),
        ("unknown", -5, False),
    ],
)
def test_one_value(name: str, value: object, wrong: bool) -> None:
    assert bool(range_problems({name: value})) is wrong
    assert bool(range_problems({"peers": [{name: value}]})) is wrong
