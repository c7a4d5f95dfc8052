# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must hold for the collection as a whole: documentation, defaults, headers, rooms, artefact."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.pgtandem.replication.plugins.module_utils import _argspec

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "pgtandem.replication"
PLUGINS = f"ansible_collections.{COLLECTION}.plugins"
#: Beside an action plugin may lie a module that is documentation only; test_documentation.py looks at those.
MODULES = sorted(
    path.stem for path in (ROOT / "plugins/modules").glob("[!_]*.py") if "def main" in path.read_text(encoding="utf-8")
)
FRAGMENTS = sorted(path.stem for path in (ROOT / "plugins/doc_fragments").glob("[!_]*.py"))
ROLES = sorted(path for path in (ROOT / "roles").glob("*") if path.is_dir())
PYTHON = sorted((ROOT / "plugins").rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- Documentation and argument specifications ---


class Captured(Exception):
    """Carries what a module gave to AnsibleModule."""

    def __init__(self, arguments: dict[str, t.Any]) -> None:
        super().__init__()
        self.arguments = arguments


def module_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """What a module's main() gives to AnsibleModule, without running it."""

    def capture(_self: AnsibleModule, argument_spec: dict[str, t.Any], **others: t.Any) -> t.NoReturn:
        raise Captured(dict(others, argument_spec=argument_spec))

    monkeypatch.setattr(AnsibleModule, "__init__", capture)
    with pytest.raises(Captured) as caught:
        importlib.import_module(f"{PLUGINS}.modules.{name}").main()
    return caught.value.arguments


def tasks_in(tasks: list[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    """Tasks, also of plays and blocks."""
    for task in tasks:
        inner = [task[key] for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks") if key in task]
        for part in inner:
            yield from tasks_in(part)
        if not inner:
            yield task


STAND_INS: dict[str, t.Any] = {"int": 1, "float": 1.0, "bool": True, "list": [], "dict": {}}


def without_templates(options: t.Any, spec: dict[str, t.Any]) -> t.Any:
    """The options of a task with a value of the right type in place of each template."""

    def replaced(value: t.Any, option: dict[str, t.Any]) -> t.Any:
        if isinstance(value, str) and "{{" in value:
            return option["choices"][0] if "choices" in option else STAND_INS.get(option.get("type", "str"), "value")
        if isinstance(value, dict) and "options" in option:
            return without_templates(value, option["options"])
        if isinstance(value, list):
            element = dict(option, type=option.get("elements", "str"))
            return [replaced(item, element) for item in value]
        return value

    return {name: replaced(value, spec.get(name, {})) for name, value in options.items()}


@pytest.mark.parametrize("name", MODULES)
def test_examples_fit_the_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    tasks = list(tasks_in(yaml.safe_load(module.EXAMPLES) or []))
    names = {f"{COLLECTION}.{module}": module for module in MODULES}
    own = [(names[key], task[key] or {}) for task in tasks for key in task if key in names]
    assert any(used == name for used, _options in own), f"no example of {name} uses it by its full name"

    for task in tasks:
        unknown = [key for key in task if key.startswith(f"{COLLECTION}.") and key not in names]
        assert not unknown, f"an example uses {unknown}, which is no module of the collection"
    for used, options in own:
        arguments = module_arguments(used, monkeypatch)
        constraints = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")
        validator = ArgumentSpecValidator(
            arguments["argument_spec"], **{key: arguments[key] for key in constraints if key in arguments}
        )
        result = validator.validate(without_templates(options, arguments["argument_spec"]))
        assert not result.error_messages, f"example of {used} with {options}"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_in_the_action_group(name: str) -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    assert name in runtime["action_groups"]["replication"]


FACTORIES = sorted(name[: -len("_options")] for name in vars(_argspec) if name.endswith("_options"))


@pytest.mark.parametrize("name", sorted({*FACTORIES, *FRAGMENTS}))
def test_a_fragment_equals_its_factory(name: str) -> None:
    source = ast.parse((ROOT / f"plugins/doc_fragments/{name}.py").read_text(encoding="utf-8"))
    fragment = importlib.import_module(f"{PLUGINS}.doc_fragments.{name}").ModuleDocFragment
    assert not [node for node in ast.walk(source) if isinstance(node, ast.Import)], "a fragment is plain text"
    documented = yaml.safe_load(fragment.DOCUMENTATION).get("options", {})
    specified = getattr(_argspec, f"{name}_options")() if name in FACTORIES else {}

    def outline(options: dict[str, dict[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
        # What a documentation calls suboptions is options of a specification.
        keys: dict[str, t.Any] = {"type": "str", "default": None, "choices": [], "aliases": [], "elements": None}
        keys["required"] = False
        return {
            option: {key: values.get(key, missing) for key, missing in keys.items()}
            | {"options": outline(values.get("suboptions") or values.get("options") or {})}
            for option, values in options.items()
        }

    assert outline(documented) == outline(specified)


# --- Roles ---


@pytest.mark.parametrize("role", ROLES, ids=shown)
def test_a_roles_defaults_equal_its_argument_specs(role: Path) -> None:
    defaults_file, specs_file = role / "defaults/main.yml", role / "meta/argument_specs.yml"
    assert defaults_file.exists() == specs_file.exists(), "one of defaults and argument_specs is missing"
    if not defaults_file.exists():
        return
    defaults = yaml.safe_load(defaults_file.read_text(encoding="utf-8")) or {}
    specs = yaml.safe_load(specs_file.read_text(encoding="utf-8"))["argument_specs"]
    options: dict[str, dict[str, t.Any]] = specs["main"].get("options", {})

    assert sorted(set(defaults) - set(options)) == [], "a default that argument_specs does not have"
    for name, option in options.items():
        if option.get("required"):
            assert name not in defaults, f"{name} is required, so it has no default"
        elif name in defaults and "default" not in option:
            # What is derived cannot be written down in a specification; its description says it.
            assert "{{" in str(defaults[name]), f"{name} has a default that argument_specs does not have"
        else:
            assert option.get("default") == defaults.get(name), f"the default of {name}"
            assert ("default" in option) == (name in defaults), f"whether {name} has a default"


@pytest.mark.parametrize("role", ROLES, ids=shown)
def test_a_role_has_a_page(role: Path) -> None:
    """Galaxy refuses the whole collection otherwise."""
    assert (role / "README.md").exists()


# --- Headers ---

DECLARATION = "SPDX-License-" + "Identifier: GPL-3.0-or-later"
#: Generated or captured files, and the licences themselves. REUSE.toml says theirs.
WITHOUT_HEADER = re.compile(
    r"^(COPYING|LICENSES/.*|CHANGELOG\.(md|rst)|changelogs/(changelog\.yaml|fragments/.*)|tests/.*/fixtures/.*"
    r"|molecule/existing/files/.*|.*\.(json|png|svg|gif|ico|cast))$"
)


def test_every_file_says_its_licence() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    missing = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if WITHOUT_HEADER.match(name) or path.is_symlink() or not path.is_file() or path.stat().st_size == 0:
            continue
        head = "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:10])
        if "the pgtandem authors" not in head or DECLARATION not in head:
            missing.append(name)
    assert missing == []


# --- The lab ---


def lab_networks(inventory: Path) -> set[str]:
    """The first three octets of a scenario's hosts; lab_net is that of major version 0."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(inventory.glob("*.yml")))
    found = set(re.findall(r"ansible_host: (10\.12\.\d+)\.\d+", text))
    if (inventory / "picked.yml").exists():
        base = int((re.findall(r"lab_net: (\d+)", text) or ["100"])[0])
        found |= {f"10.12.{base + major}" for major in range(10, 20)}
    return found


def test_scenarios_run_side_by_side() -> None:
    """No network belongs to two, so that every one may be up beside every other one."""
    seen: dict[str, str] = {}
    for inventory in sorted((ROOT / "molecule").glob("*/inventory")):
        scenario = inventory.parent.name
        networks = lab_networks(inventory)
        assert networks, f"{scenario}: no addresses found"
        for network in networks:
            assert network not in seen, f"{scenario} and {seen[network]} are both in {network}"
            seen[network] = scenario


# --- Version knowledge is a table ---


def compared_versions(tree: ast.AST) -> t.Iterator[int]:
    """The lines that order something named version or major, or compare with a number such as 120000."""

    def named(node: ast.AST) -> bool:
        if isinstance(node, (ast.Call, ast.Subscript)):
            return named(node.func if isinstance(node, ast.Call) else node.value)
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        return re.search(r"version|major", name.lower()) is not None

    def number(node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and isinstance(node.value, int) and 90000 <= node.value < 1000000

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            ordered = any(isinstance(operator, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for operator in node.ops)
            if any(map(number, sides)) or (ordered and any(map(named, sides))):
                yield node.lineno


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("server.version >= minimum", True),
        ("database.server_version < 120000", True),
        ("number == 120000", True),
        ("major_of(text) > 12", True),
        ("version == other", False),
        ("count > 12", False),
        ('supports(version, "slots")', False),
    ],
)
def test_compared_versions_are_found(code: str, found: bool) -> None:
    assert bool(list(compared_versions(ast.parse(code)))) is found


def test_only_the_version_table_compares_versions() -> None:
    lines = [
        f"{shown(path)}:{line}"
        for path in PYTHON
        if path.name != "_versions.py"
        for line in compared_versions(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert lines == [], "ask _versions.py for a capability instead"


def test_roles_and_playbooks_compare_no_versions() -> None:
    files = [path for room in ("roles", "playbooks") for path in (ROOT / room).rglob("*") if path.is_file()]
    comparison = re.compile(r"(?<!ansible_version\.full) is version\(|pgtandem_version[^}\n]*(?:[<>]|\|\s*int)")
    assert [
        shown(path)
        for path in files
        if path.suffix in (".yml", ".yaml", ".j2") and comparison.search(path.read_text(encoding="utf-8"))
    ] == []


#: max() and min() of positions are there from 13 on; of a difference in bytes everywhere.
POSITION_AGGREGATE = re.compile(r"\b(?:max|min)\((?!pg_\w+_diff\()[^()]*(?:lsn|location)", re.IGNORECASE)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("SELECT max(flush_{lsn}::text::pg_lsn)::text FROM pg_stat_replication", True),
        ("SELECT min(restart_lsn) FROM pg_replication_slots", True),
        ("SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) AS bytes", False),
        ("SELECT max(pid) FROM pg_stat_replication ORDER BY flush_lsn", False),
    ],
)
def test_aggregates_of_positions_are_found(statement: str, found: bool) -> None:
    assert bool(POSITION_AGGREGATE.search(statement)) is found


def test_no_statement_has_an_aggregate_of_positions() -> None:
    texts = [
        (shown(path), ast.unparse(node))
        for path in PYTHON
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and "SELECT" in ast.unparse(node)
    ]
    assert [text for text in texts if POSITION_AGGREGATE.search(text[1])] == [], (
        "ORDER BY ... DESC LIMIT 1 has no such limit"
    )


# --- Imports go one way ---

#: Modules of Python that reach outside, so not for pure files. Splitting a path (os.path) is pure.
OUTSIDE = {"glob", "os", "pathlib", "pwd", "shutil", "socket", "subprocess", "sys", "tempfile", "time"}


class Import(t.NamedTuple):
    """One imported module, by its full name."""

    name: str
    line: int
    typing_only: bool


#: Packages, from which modules are imported.
ROOMS = {path.name for part in ("module_utils", "plugin_utils") for path in (ROOT / "plugins" / part).rglob("*")}
ROOMS = {name for name in ROOMS if name[0] == "_" and not name.endswith(".py")} | {"module_utils", "plugin_utils"}


def imports_of(path: Path) -> list[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}:{node.lineno}: imports have full names"
            package = str(node.module)
            inside = package.startswith((f"{PLUGINS}.module_utils", f"{PLUGINS}.plugin_utils"))
            whole = package == "os" or (inside and package.rpartition(".")[2] in ROOMS)
            names = [f"{package}.{alias.name}" for alias in node.names] if whole else [package]
        else:
            continue
        found.extend(Import(name, node.lineno, id(node) in typing_only) for name in names)
    return found


UTILS = {
    ".".join(path.relative_to(ROOT / "plugins/module_utils").with_suffix("").parts): path
    for path in sorted((ROOT / "plugins/module_utils").rglob("*.py"))
    if path.stem != "__init__"
}
#: Files that neither read nor change anything outside: plain values in, plain values out.
PURE = {"_errors", "_versions"} | {name for name in UTILS if name.startswith("_values.")}
#: The ways out: run a command, ask the database, touch a file, read the process table.
WAYS_OUT = {name for name in UTILS if name.startswith("_system.")}


def own_imports(path: Path) -> set[str]:
    prefix = f"{PLUGINS}.module_utils."
    return {found.name[len(prefix) :] for found in imports_of(path) if found.name.startswith(prefix)}


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_files_import_only_pure_files(name: str) -> None:
    assert sorted(own_imports(UTILS[name]) - PURE) == []
    outside = [
        found.name
        for found in imports_of(UTILS[name])
        if found.name.split(".")[0] in OUTSIDE | {"ansible", "psycopg", "psycopg2"} and found.name != "os.path"
    ]
    assert outside == [], "a pure file reaches outside"


#: What is in there reads files: defaults, templates, the authority of a cluster; and it prints.
CONTROLLER = ROOT / "plugins/plugin_utils/_controller"
DECISIONS = [path for path in sorted((ROOT / "plugins/plugin_utils").rglob("*.py")) if path.parent != CONTROLLER]


@pytest.mark.parametrize("path", DECISIONS, ids=shown)
def test_decisions_on_the_controller_are_pure(path: Path) -> None:
    assert sorted(own_imports(path) - PURE) == []
    imported = imports_of(path)
    outside = [found.name for found in imported if found.name.split(".")[0] in OUTSIDE | {"ansible"}]
    assert outside == [], "a pure file reaches outside"


def test_decisions_import_in_no_circle() -> None:
    prefix = f"{PLUGINS}.plugin_utils."
    files = [path for path in sorted((ROOT / "plugins/plugin_utils").rglob("*.py")) if path.stem != "__init__"]
    names = {".".join(path.relative_to(ROOT / "plugins/plugin_utils").with_suffix("").parts): path for path in files}
    assert (
        circle_in(
            {
                name: {found.name[len(prefix) :] for found in imports_of(path) if found.name.startswith(prefix)}
                & set(names)
                for name, path in names.items()
            }
        )
        == {}
    )


@pytest.mark.parametrize("name", sorted(WAYS_OUT))
def test_ways_out_stand_on_pure_files_only(name: str) -> None:
    assert sorted(own_imports(UTILS[name]) - PURE - WAYS_OUT) == []


@pytest.mark.parametrize("path", UTILS.values(), ids=shown)
def test_module_utils_import_neither_modules_nor_the_controller(path: Path) -> None:
    wrong = [
        found.name
        for found in imports_of(path)
        if found.name.split(".")[0] in ("ansible", "ansible_collections")
        and not found.name.startswith(("ansible.module_utils.", f"{PLUGINS}.module_utils."))
    ]
    assert wrong == []


def circle_in(needs: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is left once everything is taken out that needs nothing of what is left."""
    left = dict(needs)
    while free := {name for name, others in left.items() if not others}:
        left = {name: others - free for name, others in left.items() if name not in free}
    return left


def test_module_utils_import_in_no_circle() -> None:
    assert circle_in({name: own_imports(path) & set(UTILS) for name, path in UTILS.items()}) == {}


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_only_module_utils(name: str) -> None:
    allowed = ("ansible.module_utils.", f"{PLUGINS}.module_utils.")
    wrong = [
        found.name
        for found in imports_of(ROOT / f"plugins/modules/{name}.py")
        if not found.name.startswith(allowed) and found.name not in ("__future__", "typing") and not found.typing_only
    ]
    assert wrong == [], "a module is a door; the work is in module_utils"


# --- The artefact ---


def test_the_artefact_holds_only_what_runs(tmp_path: Path) -> None:
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    subprocess.run(
        [galaxy, "collection", "build", "--output-path", tmp_path], cwd=ROOT, check=True, capture_output=True
    )
    (artefact,) = tmp_path.glob("pgtandem-replication-*.tar.gz")
    with tarfile.open(artefact) as archive:
        held = sorted(member.name for member in archive.getmembers() if not member.isdir())
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    rooms = re.compile(
        r"(plugins|roles|meta)/.+|playbooks/(?!demo_|ansible\.cfg|inventory/).+|changelogs/changelog\.yaml"
        r"|README\.md|COPYING|CHANGELOG\.(md|rst)"
    )
    wanted = {name for name in listed if rooms.fullmatch(name) and (ROOT / name).exists()}
    # These two are the artefact's own.
    wanted |= {"FILES.json", "MANIFEST.json"}
    # What is linked within a role is there by its own name.
    linked = {name for name in wanted if (ROOT / name).is_symlink() and (ROOT / name).is_dir()}
    assert [name for name in held if name not in wanted and not name.startswith(tuple(linked))] == []
    assert sorted(wanted - set(held) - linked) == []


# --- Playbooks ---


@pytest.mark.parametrize(
    "name", ["benchmark", "failover", "patroni_handover", "rejoin", "remove", "site", "status", "switchover"]
)
def test_a_playbook_takes_its_hosts_in_step(name: str) -> None:
    """A configured strategy that lets hosts run ahead gives way to its sibling that does not."""
    plays = yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text(encoding="utf-8"))
    words = "lookup('ansible.builtin.config', 'DEFAULT_STRATEGY') | regex_replace('(free|host_pinned)$', 'linear')"
    assert [play["name"] for play in plays if "hosts" in play and words not in play.get("strategy", "")] == []


def test_only_what_knows_the_whole_run_says_that_nothing_was_changed() -> None:
    """A module knows its own host and its own step: a run that fails there may have done much before."""
    folders = [ROOT / "plugins/module_utils", ROOT / "plugins/modules"]
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    assert [str(path) for path in paths if "Nothing was changed" in path.read_text(encoding="utf-8")] == []
