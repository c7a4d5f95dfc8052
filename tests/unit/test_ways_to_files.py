# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One way to a host's files: nothing else in modules and roles takes a path. The exceptions say why they are safe."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

#: Functions of os and os.path that only look at text, or at this process.
_HARMLESS = {
    "close", "fdopen", "fork", "fsync", "ftruncate", "getegid", "geteuid", "getgrouplist", "getgroups", "getpid",
    "getresgid", "getresuid", "getuid", "confstr", "cpu_count", "dup2", "fchmod", "fchown", "fspath", "fstat", "killpg",
    "pread", "pwrite", "read", "set_blocking", "setegid", "seteuid", "setgroups", "setresgid", "setresuid", "setsid",
    "strerror", "sysconf", "umask", "uname", "urandom", "waitpid", "write", "_exit", "getenv", "getppid", "fsencode",
    "fsdecode",
    "path.abspath", "path.basename", "path.commonpath", "path.dirname", "path.isabs", "path.join", "path.normpath",
    "environ.get", "path.relpath", "path.samestat", "path.split", "path.splitext", "path.sep",
}  # fmt: skip
_MODULES = {"os", "shutil", "tempfile", "pathlib", "glob", "io"}

#: Files, or functions in them, that may: with the reason.
EXCEPTIONS = {
    "module_utils/_system/files.py": "the way itself",
    "module_utils/_system/folders.py": "the way itself, by descriptors",
    "module_utils/_data_directory/copy_program.py": "a program that runs as the account, so that the kernel decides",
    "module_utils/_system/processes.py": "the process table, which the kernel writes; else as the account",
    "module_utils/_system/network.py:_text_of": "/proc/net, which the kernel writes",
    "module_utils/_rewind/obstacles.py": "looks at the data directory as the account, and writes nothing",
    "module_utils/_configuration/restart_checks.py:_meminfo": "/proc/meminfo, which the kernel writes",
    "module_utils/_host/server_settings.py:_path_of": "the process table, as the account",
    "module_utils/_promotion/armed_promotion.py:_become_waiter": "its own descriptors and /dev/null",
    "module_utils/_host/host.py:look_at_facts": "/run/systemd/system, which is root's",
    "module_utils/_basebackup/copy_process.py:unit_name": "looks for systemd-run along root's own PATH",
    "module_utils/_host/log_files.py:_journalctl": "looks for journalctl along root's own PATH",
}


def calls_with_paths(tree: ast.AST) -> t.Iterator[tuple[str, str, int]]:
    """The function around each call that takes a path, its name, and its line."""

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return node.id if isinstance(node, ast.Name) else "?"

    def visit(node: ast.AST, around: str) -> t.Iterator[tuple[str, str, int]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            around = around or node.name
        if isinstance(node, ast.ClassDef):
            around = ""
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            first, _dot, rest = name.partition(".")
            if name == "open" or (first in _MODULES and rest and (first != "os" or rest not in _HARMLESS)):
                yield around, name, node.lineno
        # Also where a function is only handed on, such as map(os.unlink, names).
        elif isinstance(node, ast.Attribute) and dotted(node).startswith("os.path.exists"):
            yield around, dotted(node), node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module in _MODULES | {"os.path"}:
            yield around, f"from {node.module}", node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, around)

    yield from visit(tree, "")


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open(path)", True),
        ("os.open(path, 0)", True),
        ("os.path.exists(path)", True),
        ("os.path.realpath(path)", True),
        ("os.access(path, 1)", True),
        ("os.kill(pid, 9)", True),
        ("shutil.rmtree(path)", True),
        ("tempfile.mkdtemp()", True),
        ("pathlib.Path(path)", True),
        ("from pathlib import Path", True),
        ("from os.path import exists", True),
        ("filter(os.path.exists, paths)", True),
        ("os.path.join(folder, name)", False),
        ("os.fstat(descriptor)", False),
        ("host.files.exists(path)", False),
        ("self.open(path)", False),
    ],
)
def test_calls_that_take_a_path_are_found(code: str, found: bool) -> None:
    assert bool(list(calls_with_paths(ast.parse(code)))) is found


SOURCES = sorted([*(ROOT / "plugins/modules").glob("*.py"), *(ROOT / "plugins/module_utils").rglob("*.py")])


def _found() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        name = str(path.relative_to(ROOT / "plugins"))
        for around, call, line in calls_with_paths(ast.parse(path.read_text(encoding="utf-8"))):
            where = name if name in EXCEPTIONS else f"{name}:{around}"
            found.setdefault(where, []).append(f"{name}:{line} {call}")
    return found


def test_nothing_else_takes_a_path() -> None:
    strays = [call for where, calls in _found().items() if where not in EXCEPTIONS for call in calls]
    assert strays == [], "take host.files, which acts with the ids of PostgreSQL's account"


def test_every_exception_is_needed() -> None:
    assert sorted(set(EXCEPTIONS) - set(_found())) == []


#: What else has such a name: a unit, a setting that nothing reads, and sessions of a switchover.
_NO_FILES = {"pgtandem-basebackup-", "pgtandem.probe", "pgtandem-check", "pgtandem-go-", "pgtandem-hello-"}
_OWN_NAME = re.compile(r"/?(\.?pgtandem[-.][a-z.-]*)")


def own_names() -> set[str]:
    """The names of our own that the code gives to files and folders, or adds to their names."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                match = _OWN_NAME.fullmatch(node.value)
                found |= {match.group(1)} if match else set()
    return found - _NO_FILES


def test_the_page_on_security_has_every_name_of_our_own() -> None:
    """They lie where PostgreSQL's account can write: whoever adds one says so, and holds it to the traps."""
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    told = {
        match.group(1).rstrip("*")
        for row in re.findall(r"(?m)^\| (.+?) \|", page)
        for name in re.findall(r"`([^`]+)`", row)
        for match in [re.search(r"(?:^|[/A-Z*])(\.?pgtandem[-.][a-z.*-]*)$", name)]
        if match
    }
    assert sorted(own_names() - told) == []
    assert sorted(told - own_names() - {"pgtandem.conf"}) == []


#: Tasks of ansible.builtin that look at, or change, what lies at a path on the host.
_TASKS = {
    "assemble", "blockinfile", "copy", "fetch", "file", "find", "get_url", "lineinfile", "replace", "slurp", "stat",
    "template", "unarchive",
}  # fmt: skip
#: Root's own places.
_ROOTS = (
    "/etc/apt/",
    "/etc/postgresql-common",
    "/etc/systemd/system/",
    "/etc/yum.repos.d/",
    # In /etc/patroni.
    "{{ __pgtandem_patroni_file }}",
)


def _tasks(node: t.Any) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    for task in node or []:
        for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
            yield from _tasks(task.get(key))
        for key, value in task.items():
            if key.startswith("ansible.builtin.") and key.split(".")[-1] in _TASKS and isinstance(value, dict):
                yield task.get("name", ""), value


def test_roles_touch_roots_places_only() -> None:
    strays = set()
    for path in [*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "playbooks").glob("*.yml")]:
        if path.name.startswith("demo"):
            continue
        for _name, options in _tasks(yaml.safe_load(path.read_text(encoding="utf-8"))):
            target = str(options.get("dest") or options.get("path") or options.get("src"))
            if not target.startswith(_ROOTS):
                strays.add(str(path.relative_to(ROOT)))
    assert not strays, "as root in the account's folders: let a module do it, through host.files"
