# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/security.md promises and code alone can show."""

from __future__ import annotations

import ast
import importlib
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import node_from
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted((ROOT / "plugins").rglob("*.py"))
YAML = [
    path
    for room in ("roles", "playbooks")
    for path in sorted((ROOT / room).rglob("*.yml"))
    # The demo is not in what is released.
    if not path.name.startswith("demo_")
]
#: What makes code of texts, or hands them to a shell.
DANGEROUS = re.compile(
    r"^(pickle|marshal|shelve|dill)\b|^os\.(system|popen|spawn\w*)$|^(eval|exec|compile|__import__)$"
    r"|^yaml\.(load|full_load|unsafe_load|load_all|unsafe_load_all)$|^jinja2\.Template$"
)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_no_text_becomes_code(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [name for name in (ast.unparse(call.func) for call in calls) if DANGEROUS.match(name)] == []
    shells = [key for call in calls for key in call.keywords if key.arg in ("shell", "use_unsafe_shell")]
    assert shells == []


@pytest.mark.parametrize("path", YAML, ids=shown)
def test_no_task_has_a_shell(path: Path) -> None:
    assert not re.search(r"ansible\.builtin\.(shell|raw|script|expect)\b", path.read_text(encoding="utf-8"))


SECRET = re.compile(r"password|passphrase|secret|^tls_(client_)?key$")


class Captured(Exception):
    """Carries what a module gave to AnsibleModule."""


MODULES = sorted(
    path.stem for path in (ROOT / "plugins/modules").glob("[!_]*.py") if "def main" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_secrets_are_not_logged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, dict[str, t.Any]] = {}

    def capture(_self: AnsibleModule, argument_spec: dict[str, t.Any], **_others: t.Any) -> t.NoReturn:
        found.update(argument_spec)
        raise Captured

    monkeypatch.setattr(AnsibleModule, "__init__", capture)
    with pytest.raises(Captured):
        importlib.import_module(f"ansible_collections.pgtandem.replication.plugins.modules.{name}").main()
    texts = {option: spec for option, spec in found.items() if SECRET.search(option) and spec.get("type") == "str"}
    words = {option for option, spec in texts.items() if not spec.get("no_log") and "choices" not in spec}
    assert words == set()


@pytest.mark.parametrize("tls", [None, {"mode": "verify-full"}], ids=["plain", "tls"])
def test_rules_let_single_hosts_in_for_replication_alone(tls: t.Any) -> None:
    addresses = {"pg1": "10.0.0.1", "pg2": "fe80::2", "pg3": "pg3.example.com"}
    groups = {"primary": ["pg1"], "standby": ["pg2", "pg3"]}
    nodes = []
    for name, address in addresses.items():
        values = {
            "pgtandem_address": address,
            "pgtandem_replication_password": "x",
            "pgtandem_version": "15",
            "pgtandem_tls": tls,
            "inventory_dir": "/nowhere",
        }
        nodes.append(node_from(name, values.get, groups))
    # Nothing was read: the gate has something against that, and the plan is made all the same.
    plans = settle(nodes, dict.fromkeys(addresses, "x"), accept=["primary-unread"])["nodes"]
    for plan in plans.values():
        for rule in plan["hba_rules"]:
            assert rule["user"] == "replica"
            if rule["method"] == "reject":
                continue
            assert rule["database"] in ("replication", "postgres")
            assert rule["address"] in ("10.0.0.1/32", "fe80::2/128", "pg3.example.com")
            assert rule["method"] in ("auto", "cert")
            assert rule.get("type", "host") == ("hostssl" if tls else "host")
        rejected = [rule for rule in plan["hba_rules"] if rule["method"] == "reject"]
        assert [rule["type"] for rule in rejected] == (["hostnossl"] * 2 if tls else [])


def test_the_defaults_hold_no_secret() -> None:
    values = yaml.safe_load((ROOT / "roles/primary/defaults/main.yml").read_text(encoding="utf-8"))
    assert {name for name, value in values.items() if SECRET.search(name) and value} == set()
