# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/versions.md is what the table of versions makes of it."""

from __future__ import annotations

import importlib.util
import re
import typing as t
from pathlib import Path

from ansible_collections.pgtandem.replication.plugins.module_utils._versions import FEATURES

SCRIPT = Path(__file__).resolve().parents[1] / "versions_page.py"


def script() -> t.Any:
    spec = importlib.util.spec_from_file_location("versions_page", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    made = script()
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run make versions-page"


def test_every_capability_has_a_place() -> None:
    """A new entry of FEATURES gets a caption in tests/versions_page.py, or is INTERNAL there."""
    made = script()
    captioned = {name for captions in made.CAPTIONS.values() for name in captions}
    assert captioned & made.INTERNAL == set()
    assert captioned | made.INTERNAL == set(FEATURES)


def test_every_internal_capability_is_asked() -> None:
    """What no page tells and no code asks is dead."""
    plugins = SCRIPT.parents[1] / "plugins"
    asked = {
        name for path in plugins.rglob("*.py") for name in re.findall(r'"(\w+)"(?!: Span)', path.read_text("utf-8"))
    }
    assert script().INTERNAL - asked == set()
