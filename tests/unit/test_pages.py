# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one can paste from a page: inventories pass the gate's checks, variables and modules their specifications, and
every command is run somewhere.

tests/integration/test_commands.py has those of ansible-playbook.
"""

from __future__ import annotations

import copy
import html
import re
import typing as t

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import node_from
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.inventory_checks import (
    inventory_problems,
    problems_between,
)
from test_collection import COLLECTION, MODULES, module_arguments, tasks_in, without_templates
from test_documentation import OPTIONS, PAGES, PATRONI_OPTIONS, ROOT, YAML_BLOCKS, Fence, Loader, fences, shown, text_of

Values = dict[str, t.Any]
DEMO = ROOT / "docs/recording/demo.svg"


def content_of(fence: Fence) -> t.Any:
    return yaml.load(fence.text, Loader)


def variables_in(content: t.Any) -> t.Iterator[Values]:
    """Every mapping that has variables of ours, at whatever depth: of all, of a group, of a host."""
    if isinstance(content, dict):
        own = {name: value for name, value in content.items() if str(name).startswith("pgtandem_")}
        if own:
            yield own
        for name, value in content.items():
            if name not in own:
                yield from variables_in(value)


MAPPINGS = [fence for fence in YAML_BLOCKS if isinstance(content_of(fence), dict)]
WITH_VARIABLES = [fence for fence in MAPPINGS if list(variables_in(content_of(fence)))]
INVENTORIES = [fence for fence in MAPPINGS if {"primary", "standby"} <= set(content_of(fence))]
WITH_MODULES = [
    fence for fence in YAML_BLOCKS if isinstance(content_of(fence), list) and f"{COLLECTION}.pg_" in fence.text
]


def named(fence: Fence) -> str:
    return f"{shown(fence.page)}:{fence.line}"


@pytest.mark.parametrize("fence", WITH_VARIABLES, ids=named)
def test_variables_have_the_types_and_choices_of_the_roles(fence: Fence) -> None:
    options = {**OPTIONS, **PATRONI_OPTIONS}
    for variables in variables_in(content_of(fence)):
        # The validator fills defaults into what it is given.
        spec = copy.deepcopy({name: options[name] for name in variables})
        result = ArgumentSpecValidator(spec).validate(without_templates(variables, spec))
        assert result.error_messages == [], variables


def hosts_of(inventory: Values) -> dict[str, Values]:
    """Each host's variables, as Ansible merges them."""
    everywhere = dict((inventory.get("all") or {}).get("vars") or {})
    hosts: dict[str, Values] = {}
    for group in inventory.values():
        for name, own in (group.get("hosts") or {}).items():
            hosts[name] = {**everywhere, **(group.get("vars") or {}), **(own or {})}
    return hosts


@pytest.mark.parametrize("fence", INVENTORIES, ids=named)
def test_the_gate_has_nothing_against_an_inventory(fence: Fence) -> None:
    content = content_of(fence)
    groups = {group: list(content[group]["hosts"]) for group in ("primary", "standby")}
    nodes = []
    for name, variables in hosts_of(content).items():
        variables.setdefault("pgtandem_replication_password", "a long password")
        nodes.append(node_from(name, variables.get, groups))
    for cluster in sorted({node["cluster"] for node in nodes}):
        members = [node for node in nodes if node["cluster"] == cluster]
        assert inventory_problems(cluster, members, {node["name"]: "" for node in members}) == []
    assert problems_between(nodes) == []


@pytest.mark.parametrize("fence", WITH_MODULES, ids=named)
def test_options_of_a_module_fit_its_arguments(fence: Fence, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"{COLLECTION}.{name}": name for name in MODULES}
    used = [(names[key], task[key]) for task in tasks_in(content_of(fence)) for key in task if key in names]
    assert used
    for name, options in used:
        spec = module_arguments(name, monkeypatch)["argument_spec"]
        assert ArgumentSpecValidator(spec).validate(without_templates(options, spec)).error_messages == []


def test_there_is_something_to_validate() -> None:
    assert len(WITH_VARIABLES) > 15
    assert len(INVENTORIES) >= 4
    assert len(WITH_MODULES) >= 2


# --- Commands ---

#: Commands that something else runs: how they begin, where that is, and its words for them.
ELSEWHERE = {
    "ansible-galaxy collection build": ("tests/run-galaxy-importer", "collection build"),
    "ansible-galaxy collection install": ("tests/run-galaxy-importer", "collection install"),
    "ansible-galaxy collection publish": ("docs/releasing.md", "to Galaxy, which nobody does for a test"),
    "ANSIBLE_COLLECTIONS_PATH=collections ansible-playbook": ("tests/run-galaxy-importer", "--syntax-check"),
    "ansible-vault create": ("ansible-core", "opens an editor"),
    "ansible-vault edit": ("ansible-core", "opens an editor"),
    "cat > changelogs/fragments/": ("CONTRIBUTING.md", "a first change"),
    "minor_changes:": ("CONTRIBUTING.md", "a first change"),
    "- site.yml - ": ("CONTRIBUTING.md", "a first change"),
    "END": ("CONTRIBUTING.md", "a first change"),
    "cd ": ("", ""),
    "git ": ("", ""),
    # tests/unit/test_documentation.py looks whether the targets exist.
    "make": ("tests/unit/test_documentation.py", "test_make_targets_in_a_page_exist"),
    # With a scenario that is there; below.
    "molecule/run ": ("molecule/run", "molecule test of the scenario"),
    "patronictl ": ("molecule/patroni/tests/test_handover.py", "patronictl -c /etc/patroni/15-main.yml"),
    # tests/integration/test_commands.py, test_the_readmes_look_at_the_demo
    "psql=": ("", ""),
    "$psql ": ("", ""),
    "ps -e ": ("", ""),
}


def commands() -> list[tuple[str, str]]:
    """Each line that is for a shell, with its page; what a backslash continues is one."""
    blocks = [fence for page in PAGES for fence in fences(page) if fence.language == "sh"]
    lines = [
        (shown(block.page), line.strip()) for block in blocks for line in block.text.replace("\\\n", " ").splitlines()
    ]
    return [(page, line) for page, line in lines if line]


def test_every_command_is_run_somewhere() -> None:
    for page, line in commands():
        if line.startswith(("ansible-playbook ", "cd playbooks && ")):
            continue
        begin = next((begin for begin in ELSEWHERE if line.startswith(begin)), None)
        assert begin is not None, f"{page}: say in ELSEWHERE what runs `{line}`"
        place, words = ELSEWHERE[begin]
        if place and (ROOT / place).suffix != ".md" and (ROOT / place).exists():
            assert words in text_of(ROOT / place), f"{place} does not run `{line}` any more"
        for scenario in re.findall(r"molecule/run (\w+)", line):
            assert (ROOT / "molecule" / scenario / "molecule.yml").exists(), f"{page}: there is no scenario {scenario}"


def terminal_lines(text: str) -> list[str]:
    """The lines of a run that say who follows whom, and what changed, without what the terminal's width makes."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if re.search(r"^(cluster main|demo1|└─ demo2|demo2) ", line)]


def test_the_picture_of_the_demo_shows_what_the_pages_quote() -> None:
    """docs/recording/record.py draws it."""
    rows: dict[str, str] = {}
    for place, words in re.findall(r'<text [^>]*y="([\d.]+)"[^>]*>([^<]*)</text>', text_of(DEMO)):
        rows[place] = rows.get(place, "") + html.unescape(words)
    drawn = terminal_lines("\n".join(rows.values()))
    # The first run's three lines and recap, and the second run's recap.
    assert len(drawn) == 7 and all("changed=0" in line for line in drawn[-2:]), drawn
    assert terminal_lines(text_of(ROOT / "README.md")) == drawn[:5]
    assert terminal_lines(text_of(ROOT / "docs/quickstart.md")) == drawn[:3]
