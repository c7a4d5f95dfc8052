# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the written documentation says of the code: variables, messages, files, playbooks, commands."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "pgtandem.replication"
PLUGINS = f"ansible_collections.{COLLECTION}.plugins"
README = ROOT / "README.md"
PAGES = sorted(
    [README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "roles").glob("*/README.md")]
)
SPECS = yaml.safe_load((ROOT / "roles/primary/meta/argument_specs.yml").read_text(encoding="utf-8"))
OPTIONS: dict[str, dict[str, t.Any]] = SPECS["argument_specs"]["main"]["options"]
PATRONI_SPECS = yaml.safe_load((ROOT / "roles/patroni/meta/argument_specs.yml").read_text(encoding="utf-8"))
PATRONI_OPTIONS: dict[str, dict[str, t.Any]] = PATRONI_SPECS["argument_specs"]["main"]["options"]
#: Action plugins that do all the work. One beside a real module is documented as that module.
ACTIONS = sorted(
    path.stem
    for path in (ROOT / "plugins/action").glob("[!_]*.py")
    if "def main" not in (ROOT / "plugins/modules" / path.name).read_text(encoding="utf-8")
)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


every_page = pytest.mark.parametrize("page", PAGES, ids=shown)


class Fence(t.NamedTuple):
    """A block of code in a page."""

    page: Path
    language: str
    line: int
    text: str


def fences(page: Path) -> list[Fence]:
    text = text_of(page)
    return [
        Fence(page, found[2], text[: found.start()].count("\n") + 1, textwrap.dedent(found[3]))
        for found in re.finditer(r"(?ms)^( *)```(\{?\w*\}?)[^\n]*\n(.*?)^\1```$", text)
    ]


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = text_of(page).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def code_in(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# --- Variables ---


def written_default(option: dict[str, t.Any]) -> str:
    if option.get("required"):
        return "required"
    value = option["default"]
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`"


def test_the_table_of_variables_equals_argument_specs() -> None:
    written = [(name.strip("`"), default) for name, default, _meaning in rows(README, "Variables")]
    assert written == [(name, written_default(option)) for name, option in OPTIONS.items()]


def test_the_table_of_variables_names_every_choice() -> None:
    for name, _default, meaning in rows(README, "Variables"):
        for choice in OPTIONS[name.strip("`")].get("choices", []):
            assert f"`{choice}`" in meaning, f"{name} does not explain {choice}"


def playbook_variables() -> set[str]:
    """What only the playbooks take, with -e."""
    files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles/node/tasks").glob("*.yml")]
    return set(re.findall(r"\bpgtandem_[a-z_]*[a-z]\b", "".join(text_of(path) for path in files)))


@every_page
def test_variables_in_a_page_exist(page: Path) -> None:
    # Facts that the roles keep, and the groups that site.yml makes.
    others = (
        {"pgtandem_node", "pgtandem_topology"}
        | status_variables()
        | metric_names()
        | playbook_variables()
        | set(PATRONI_OPTIONS)
    )
    # The benchmark's database has such a name as well.
    others |= benchmark_variables() | {"pgtandem_benchmark"}
    others |= switchover_variables()
    named = set(re.findall(r"\bpgtandem_[a-z_]*[a-z]\b", text_of(page)))
    assert sorted(name for name in named - set(OPTIONS) - others if not name.startswith("pgtandem_live")) == []


# --- Status ---

STATUS = ROOT / "docs/status.md"


def status_variables() -> set[str]:
    tasks = "".join(text_of(ROOT / f"roles/node/tasks/{name}.yml") for name in ("look", "report"))
    return set(re.findall(r"\bpgtandem_status_\w+", tasks))


def metric_names() -> set[str]:
    metrics = importlib.import_module(f"{PLUGINS}.plugin_utils._report.metrics")
    return {f"pgtandem_{name}" for name in metrics._FAMILIES}


def finding_names() -> set[str]:
    files = sorted((ROOT / "plugins/plugin_utils").rglob("*.py"))
    # Reasons of a playbook of their own are on its page.
    text = "".join(text_of(path) for path in files if path.stem not in ("rejoin", "failover", "removal"))
    found = set(re.findall(r'Problem\(\s*"([a-z-]+)"', text))
    found |= set(re.findall(r'"([a-z-]+)",\s*(?:ERROR|WARNING)\b', text))
    found |= set(re.findall(r'yield \(\s*"([a-z-]+)"', text))
    found |= set(re.findall(r'\(\s*"([a-z-]+s)",\s*"[^"]*",\s*(?:lambda|_control)', text))
    return found


def benchmark_variables() -> set[str]:
    return set(re.findall(r"\bpgtandem_benchmark_\w+", text_of(ROOT / "roles/primary/tasks/benchmark.yml")))


def test_the_page_about_the_benchmark_names_every_variable() -> None:
    page = ROOT / "docs/benchmark.md"
    assert {row[0].strip("`") for row in rows(page, "Variables")} == benchmark_variables()


def test_the_page_about_status_names_every_variable() -> None:
    assert {row[0].strip("`") for row in rows(STATUS, "Variables")} == status_variables()


def test_the_page_about_status_names_every_metric() -> None:
    assert {name for row in rows(STATUS, "Metrics") for name in code_in(row[0])} == metric_names()


def test_the_page_about_status_names_every_finding() -> None:
    told = {name for row in rows(STATUS, "Findings") for name in code_in(row[0])}
    # Notes of a run that goes on; what host- and inventory- are together is one row.
    apart = {"standby-unread", "primary-followed"}
    # What stops only a run that is about to change parameters is in docs/parameters.md.
    elsewhere = ("host-", "inventory-", "parameters-")
    named = {name for name in finding_names() if not name.startswith(elsewhere)} - apart
    assert told - {"host-...", "inventory-..."} == named


# --- Switchover ---

SWITCHOVER = ROOT / "docs/switchover.md"


def switchover_variables() -> set[str]:
    tasks = "".join(text_of(path) for path in (ROOT / "roles/node/tasks").glob("switchover_*.yml"))
    return set(re.findall(r"\bpgtandem_switchover_\w+", tasks)) | {"pgtandem_target"}


def test_the_page_about_switchover_names_every_variable() -> None:
    assert {row[0].strip("`") for row in rows(SWITCHOVER, "Variables")} == switchover_variables()


def test_messages_in_the_page_about_switchover_exist() -> None:
    texts = templates()
    messages = [message for row in rows(SWITCHOVER, "What it refuses") for message in code_in(row[1])]
    assert len(messages) > 20
    assert [message for message in messages if not any(message in text for text in texts)] == []


# --- Messages ---


def _is_documentation(node: ast.stmt) -> bool:
    names = {target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)}
    return bool(names & {"DOCUMENTATION", "EXAMPLES", "RETURN"})


def templates() -> list[str]:
    """Every text in the code, with an ellipsis where a value goes."""
    found = []
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        # A sample in a module's documentation is no message.
        told = [node for node in ast.parse(text_of(path)).body if not _is_documentation(node)]
        for node in (inner for part in told for inner in ast.walk(part)):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_messages_in_the_readme_exist() -> None:
    texts = templates()
    table = rows(README, "What it refuses, and why")
    messages = [message for row in table for message in code_in(row[1])]
    assert len(messages) > 20
    assert [message for message in messages if not any(message in text for text in texts)] == []
    said = ["Nothing was changed.", "create a cluster in", "copy "]
    assert [message for message in said if not any(message in text for text in texts)] == []


# --- Blocks of code ---


class Loader(yaml.SafeLoader):
    """YAML as Ansible reads it, as far as its own tags go."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(t.cast(yaml.ScalarNode, node)))
YAML_BLOCKS = [fence for page in PAGES for fence in fences(page) if fence.language == "yaml"]


@pytest.mark.parametrize("fence", YAML_BLOCKS, ids=lambda fence: f"{shown(fence.page)}:{fence.line}")
def test_yaml_in_a_page_is_yaml(fence: Fence) -> None:
    content = yaml.load(fence.text, Loader)
    assert isinstance(content, (dict, list))
    if isinstance(content, list):
        for play in content:
            assert {"name", "hosts"} <= set(play), "a play as one would write it"


def test_plays_in_pages_pass_ansibles_own_check(tmp_path: Path) -> None:
    plays = [fence.text for fence in YAML_BLOCKS if isinstance(yaml.load(fence.text, Loader), list)]
    assert plays
    playbook = tmp_path / "pages.yml"
    playbook.write_text("\n".join(plays), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--syntax-check", "-i", "localhost,", playbook],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_plays_in_pages_use_roles_and_modules_that_exist() -> None:
    kinds = {"roles": r"role: ", "plugins/modules": r"^ +(?=pgtandem\.replication\.\w+:)"}
    for fence in YAML_BLOCKS:
        for room, before in kinds.items():
            for name in re.findall(rf"(?m){before}{re.escape(COLLECTION)}\.(\w+)", fence.text):
                found = ROOT / room / (name if room == "roles" else f"{name}.py")
                assert found.exists(), f"{shown(fence.page)}:{fence.line} uses {name}"


@every_page
def test_blocks_say_their_language(page: Path) -> None:
    assert [fence.line for fence in fences(page) if not fence.language] == []


@every_page
def test_playbooks_in_a_page_exist(page: Path) -> None:
    names = re.findall(rf"ansible-playbook {re.escape(COLLECTION)}\.(\w+)", text_of(page))
    names += [name[: -len(".yml")] for name in re.findall(r"ansible-playbook (\w+\.yml)", text_of(page))]
    assert [name for name in names if not (ROOT / f"playbooks/{name}.yml").exists()] == []


@every_page
def test_make_targets_in_a_page_exist(page: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", text_of(ROOT / "Makefile")))
    named = re.findall(r"`make\s+([a-z-]+)", text_of(page))
    named += re.findall(r"(?m)^make ([a-z-]+)", "".join(f.text for f in fences(page) if f.language == "sh"))
    assert sorted(set(named) - targets) == []


def test_the_readme_installs_the_version_that_is_built() -> None:
    galaxy = yaml.safe_load(text_of(ROOT / "galaxy.yml"))
    assert f"{galaxy['namespace']}-{galaxy['name']}-{galaxy['version']}.tar.gz" in text_of(README)


def test_the_readme_says_how_to_run_the_tests() -> None:
    assert "`make test`" in text_of(README)


def test_the_readme_is_about_the_demo_of_this_checkout() -> None:
    inventory = yaml.safe_load(text_of(ROOT / "playbooks/inventory/hosts.yml"))
    text = text_of(README)
    for group in inventory.values():
        for name, variables in group["hosts"].items():
            assert f"{name}  127.0.0.1:{variables['pgtandem_port']}  " in text


# --- Links, files ---


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", text_of(page)))
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def addresses_in(page: Path) -> dict[str, str]:
    """Those that a page has at its end, for `[text][name]` and `[name]`."""
    return dict(re.findall(r"(?m)^\[([^\]]+)\]: (\S+)$", text_of(page)))


REPOSITORY = yaml.safe_load(text_of(ROOT / "galaxy.yml"))["repository"]
#: A page, and a picture, at its address.
ADDRESSES = (f"{REPOSITORY}/blob/main/", REPOSITORY.replace("github.com", "raw.githubusercontent.com") + "/main/")


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page)) + list(addresses_in(page).values())
    for target in targets:
        own = [address for address in ADDRESSES if target.startswith(address)]
        if own:
            target = os.path.relpath(ROOT, page.parent) + "/" + target[len(own[0]) :]
        if re.match(r"[a-z]+:", target):
            continue
        path, _hash, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert ROOT in found.parents, f"{target} leads out of the repository"
        if anchor:
            assert anchor in anchors(found), target


SHIPPED = [README, *(ROOT / "roles").glob("*/README.md")]


@pytest.mark.parametrize("page", SHIPPED, ids=shown)
def test_links_of_a_page_on_galaxy_have_whole_addresses(page: Path) -> None:
    """Galaxy shows these pages without the files beside them."""
    text, addresses = re.sub(r"(?ms)^```.*?^```$|`[^`\n]+`", "", text_of(page)), addresses_in(page)
    assert [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match("https:|#", target)] == []
    assert [address for address in addresses.values() if not address.startswith(ADDRESSES)] == []
    used = {name or words for words, name in re.findall(r"\[([^\[\]]+)\](?:\[([^\]]+)\])?(?![\[(:])", text)}
    used |= set(re.findall(r"\)\]\[([^\]]+)\]", text))
    assert {name for name in used if "/" in name or name.isupper() or "." in name} == set(addresses)


@every_page
def test_files_in_a_page_exist(page: Path) -> None:
    rooms = "changelogs|docs|meta|playbooks|plugins|roles|tests"
    named = [code for code in code_in(text_of(page)) if re.match(rf"(?:{rooms})/[\w./-]*$", code)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@every_page
def test_a_page_fits_the_house(page: Path) -> None:
    text = text_of(page)
    assert text.startswith("<!--\nCopyright") and "\n-->\n\n# " in text
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|") and "  " not in line]
    assert long == []


# --- The architecture names every package, and no file that is not there ---


def test_the_architecture_names_every_package() -> None:
    rooms = [ROOT / "plugins/module_utils", ROOT / "plugins/plugin_utils"]
    packages = {path.name for room in rooms for path in room.glob("_*") if path.is_dir()} - {"__pycache__"}
    files = {path.with_suffix("") for room in rooms for path in room.rglob("*.py")}
    named = {code.removesuffix(".py") for code in code_in(text_of(ROOT / "docs/architecture.md"))}
    assert sorted(packages - named) == []
    known = packages | {file.name for file in files} | {f"{file.parent.name}/{file.name}" for file in files}
    assert sorted(name for name in named if re.fullmatch(r"_[a-z_]+(/[a-z_]+)?", name) and name not in known) == []


def test_the_data_directory_page_names_every_state() -> None:
    states = importlib.import_module(f"{PLUGINS}.module_utils._values.data_directory").DirectoryState
    page = ROOT / "docs/data-directory.md"
    assert [row[0].strip("`") for row in rows(page, "States")] == [state.value for state in states]


# --- Secrets ---


def test_every_secret_option_is_kept_from_callback_plugins() -> None:
    """An option with no_log is known to the action plugins, and each module that has one has an action plugin."""
    # Options of a login and of TLS are shared.
    groups = {"login_options()": {"login_password"}, "tls_options()": {"tls_key", "tls_client_key"}}
    pattern = re.compile(r"""["']?(\w+)["']?\s*[:=]\s*\{[^{}]*"no_log": True""")
    secret: set[str] = set()
    for path in (ROOT / "plugins/modules").glob("*.py"):
        found = set(pattern.findall(text_of(path)))
        found |= {name for call, names in groups.items() if call in text_of(path) for name in names}
        assert not found or (ROOT / "plugins/action" / path.name).exists(), path.name
        secret |= found
    shared = set(pattern.findall(text_of(ROOT / "plugins/module_utils/_argspec.py")))
    assert shared == set().union(*groups.values())
    assert secret == importlib.import_module(f"{PLUGINS}.plugin_utils._controller.foreign").SECRET_OPTIONS


# --- Action plugins are documented by a module of the same name ---


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_plugin_is_documented(name: str) -> None:
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    action = importlib.import_module(f"{PLUGINS}.action.{name}").ActionModule
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert documentation["module"] == name
    assert set(documentation["options"]) == set(action._VALID_ARGS)
    assert f"{COLLECTION}.attributes.controller" in documentation["extends_documentation_fragment"]
    assert not hasattr(module, "main"), "the action plugin does the work"
    for task in yaml.safe_load(module.EXAMPLES):
        assert set(task[f"{COLLECTION}.{name}"] or {}) <= set(action._VALID_ARGS)


def test_a_node_is_documented_with_all_its_keys() -> None:
    variables = importlib.import_module(f"{PLUGINS}.plugin_utils._controller.variables")
    node = variables.node_from("pg1", lambda _key, default: default, {})
    returned = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.pg_node").RETURN)
    assert set(returned) - {"expected"} == set(node)


# --- Troubleshooting: the server's own lines ---


def test_every_line_that_has_a_remedy_is_in_the_page_about_trouble() -> None:
    log_lines = importlib.import_module(f"{PLUGINS}.module_utils._values.log_causes")
    quoted = [code_in(row[0])[0] for row in rows(ROOT / "docs/troubleshooting.md", "The server's own lines")]
    unknown = [line for line in quoted if log_lines.remedy_for(line) is None]
    assert unknown == [], "a line that the code does not know, or knows by other words"
    told = {log_lines.remedy_for(line) for line in quoted}
    assert sorted(pattern for pattern, remedy in log_lines.REMEDIES if remedy not in told) == []


# --- Patroni ---

PATRONI = ROOT / "docs/patroni.md"


def test_the_page_about_patroni_names_every_variable() -> None:
    assert [row[0].strip("`") for row in rows(PATRONI, "What has to be there before")] == list(PATRONI_OPTIONS)


def test_the_page_about_patroni_shows_the_play_that_is_tested() -> None:
    play = text_of(ROOT / "molecule/patroni/prepare.yml").split("\n\n", 1)[1].split("\n", 1)[1]
    assert textwrap.indent(play.strip(), "  ") in text_of(PATRONI)


# --- Badges ---


def test_the_badges_say_what_is_tested() -> None:
    text = text_of(README)
    cores = re.search(r"set -- ([\d. ]+)", text_of(ROOT / "tests/run-controllers"))
    assert cores is not None
    first, *_between, last = cores[1].split()
    assert f"badge/ansible--core-{first}_to_{last}-" in text
    runtime = yaml.safe_load(text_of(ROOT / "meta/runtime.yml"))
    assert runtime["requires_ansible"] == f">={first}.0"
    versions = re.search(
        r"f\"versions-\{major\}\" for major in \(([\d, ]+)\)", text_of(ROOT / "tests/stages/scenarios.py")
    )
    assert versions is not None
    first, *_between, last = versions[1].split(", ")
    assert f"badge/PostgreSQL-{first}_to_{last}-" in text


# --- The site ---


def test_every_page_has_its_place_in_the_site() -> None:
    directives = [fence for fence in fences(ROOT / "docs/index.md") if fence.language == "{toctree}"]
    placed = [line for fence in directives for line in fence.text.split("\n\n", 1)[1].splitlines()]
    assert len(placed) == len(set(placed)), "a page has one place"
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert sorted(pages - set(placed)) == [], "name the page in a toctree of docs/index.md"


def test_pictures_are_drawn_from_their_texts() -> None:
    texts = sorted((ROOT / "docs/diagrams").glob("*.dot"))
    assert texts
    for text in texts:
        drawn = text_of(text.with_suffix(".svg"))
        ElementTree.fromstring(drawn)
        sum_of = hashlib.sha256(text.read_bytes()).hexdigest()
        assert f"drawn from {text.name} sha256:{sum_of}" in drawn, f"run docs/diagrams/render: {text.name} has changed"
        assert any(f"(diagrams/{text.stem}.svg)" in text_of(page) for page in PAGES), f"no page shows {text.name}"
