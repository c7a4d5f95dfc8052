# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories of other clusters on the lab's hosts."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from steps import inventories

PASSWORD = "hunter2Tandem \"quoted\" 'single' back\\slash %d %% #hash :colon {{ braces }} $HOME `tick` ä€"


def plain(value: dict[str, t.Any]) -> t.Any:
    """What ansible-inventory wraps where a value must not be templated."""
    return value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else value


def addresses() -> dict[str, str]:
    """The lab's hosts."""
    listed = subprocess.run(["ansible-inventory", *inventories(), "--list"], check=True, capture_output=True, text=True)
    said = json.loads(listed.stdout, object_hook=plain)
    return {name: values["ansible_host"] for name, values in said["_meta"]["hostvars"].items()}


def written(
    path: Path,
    hosts: t.Mapping[str, t.Mapping[str, t.Any]],
    groups: t.Mapping[str, t.Sequence[str]] | None = None,
    **said: t.Any,
) -> Path:
    """An inventory of hosts with their variables, groups, and variables of all; the password is never a template."""
    children = {group: {"hosts": dict.fromkeys(names)} for group, names in (groups or {}).items()}
    # JSON is YAML, but for the tag.
    text = json.dumps({"all": {"hosts": hosts, "children": children, "vars": said}}, ensure_ascii=False)
    password = json.dumps(PASSWORD, ensure_ascii=False)
    path.write_text(text.replace(password, "!unsafe " + password), encoding="utf-8")
    return path
