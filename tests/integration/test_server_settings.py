# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's reading of configuration files, held against the server's own."""

from __future__ import annotations

import json
import random
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import (
    Reading,
    last_values,
    parse_file,
    read_tree,
)
from conftest import SERVERS, Cluster, MakeCluster

#: Parameters that take any text.
NAMES = ("application_name", "search_path", "log_line_prefix", "cluster_name", "x.one", "x.two")
#: Lines that the scanner takes, and some that it does not.
LINES = (
    "{name} = 'a'",
    "{name} 'b'",
    "{name}='c'# comment",
    "\t{name}\t=\t'it''s'\t",
    "{name} = 'tab\\tnewline\\n'",
    "{name} = word",
    "{name} = Some/path-1.2:3",
    "{name} = 12kB",
    "{name} = 0x1F",
    "{name} = -1.5e3",
    "{name} = '\\101'",
    "{name}'tight'",
    "{upper} = 'upper'",
    "# {name} = 'comment'",
    "",
    "   ",
)
WRONG = (
    "{name} = ",
    "{name} = a.b",
    "{name} = 'open",
    "{name} = 1.5GB",
    "{name} = a b",
    "= 'x'",
    "{name} == 'x'",
    "'x'",
)


class Disk:
    """Files as they are, read as this test's account."""

    def read_text(self, path: str) -> str | None:
        try:
            return Path(path).read_text(encoding="utf-8")
        except (FileNotFoundError, IsADirectoryError):
            return None

    def list_names(self, path: str) -> list[str]:
        return sorted(entry.name for entry in Path(path).iterdir()) if Path(path).is_dir() else []


class Tree:
    """A random tree of files that include each other."""

    def __init__(self, folder: Path, seed: int, *, wrong: bool) -> None:
        self.folder, self.random, self.wrong = folder, random.Random(seed), wrong
        self.count = 0

    def line(self) -> str:
        pattern = self.random.choice(LINES + (WRONG if self.wrong and self.random.random() < 0.1 else ()))
        name = self.random.choice(NAMES)
        return pattern.format(name=name, upper=name.upper())

    def write(self, path: Path, depth: int = 0) -> None:
        lines = [self.line() for _unused in range(self.random.randint(1, 5))]
        for _unused in range(self.random.randint(0, 2) if depth < 4 else 0):
            lines.insert(self.random.randint(0, len(lines)), self.include(path, depth))
        path.write_text("\n".join(lines) + self.random.choice(["", "\n"]), encoding="utf-8")

    def include(self, path: Path, depth: int) -> str:
        self.count += 1
        kind = self.random.choice(("include", "include_if_exists", "include_dir", "missing"))
        if kind == "missing":
            return "include_if_exists = 'none.conf'"
        inside = self.random.choice((path.parent, self.folder))
        if kind == "include_dir":
            folder = inside / f"d{self.count}"
            folder.mkdir()
            for name in ("20.conf", "10.conf", "B.conf", "a.conf", ".hidden.conf", "note.txt", ".conf", "\u00e4.conf"):
                self.write(folder / name, 5)
            (folder / "folder.conf").mkdir()
            return f"include_dir '{self.shown(folder, path)}'"
        other = inside / f"f{self.count}.conf"
        self.write(other, depth + 1)
        return f"{kind} = '{self.shown(other, path)}'"

    def shown(self, path: Path, base: Path) -> str:
        relative = not path.is_relative_to(base.parent) or self.random.random() < 0.5
        return str(path) if relative else str(path.relative_to(base.parent))


def file_settings(cluster: Cluster) -> list[dict[str, t.Any]]:
    text = cluster.psql("SELECT json_agg(f ORDER BY seqno) FROM pg_file_settings f")
    return json.loads(text) or []


def read(cluster: Cluster) -> Reading:
    found = read_tree(str(cluster.data_directory / "postgresql.conf"), Disk())
    auto = cluster.data_directory / "postgresql.auto.conf"
    own = parse_file(auto.read_text(encoding="utf-8"), str(auto))
    return Reading([*found.settings, *own.settings], [*found.faults, *own.faults])


@pytest.fixture(scope="module", params=SERVERS)
def cluster(request: pytest.FixtureRequest, make_cluster: MakeCluster) -> Cluster:
    return make_cluster(request.param)


@pytest.mark.parametrize("wrong", [False, True], ids=["sound", "with-faults"])
def test_the_server_reads_the_same(cluster: Cluster, wrong: bool) -> None:
    main = cluster.data_directory / "postgresql.conf"
    before = main.read_text(encoding="utf-8")
    folder = cluster.folder / "tree"
    try:
        for seed in range(25):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o755)
            Tree(folder, seed, wrong=wrong).write(folder / "main.conf")
            main.write_text(f"{before}\ninclude '{folder}/main.conf'\n", encoding="utf-8")
            rows, mine = file_settings(cluster), read(cluster)
            theirs = [
                (row["name"].lower(), row["setting"], row["sourcefile"], row["sourceline"])
                for row in rows
                if row["name"] is not None
            ]
            faults = {(row["sourcefile"], row["sourceline"]) for row in rows if row["name"] is None}
            mine_faults = {(fault.path, fault.line) for fault in mine.faults}
            # The server leaves a folder after its first bad file, and takes over nothing then.
            assert bool(faults) == bool(mine_faults) and faults <= mine_faults, f"seed {seed}"
            if not faults:
                assert [tuple(setting) for setting in mine.settings] == theirs, f"seed {seed}"
    finally:
        main.write_text(before, encoding="utf-8")


def test_the_last_one_counts(cluster: Cluster) -> None:
    """What is said to win is what the server has after a reload."""
    main = cluster.data_directory / "postgresql.conf"
    before = main.read_text(encoding="utf-8")
    (cluster.data_directory / "more.conf").write_text("work_mem = 2MB\nlog_lock_waits = on\n", encoding="utf-8")
    (cluster.data_directory / "more.conf").chmod(0o644)
    try:
        main.write_text(f"{before}\nwork_mem = 1MB\ninclude = 'more.conf'\nlog_lock_waits = off\n", encoding="utf-8")
        cluster.psql("ALTER SYSTEM SET work_mem = '3MB'")
        cluster.reload()
        query = "SELECT json_object_agg(name, json_build_array(sourcefile, sourceline)) FROM pg_settings " \
            "WHERE name IN ('work_mem', 'log_lock_waits')"  # fmt: skip
        theirs = {name: tuple(place) for name, place in json.loads(cluster.psql(query)).items()}
        winners = last_values(read(cluster).settings)
        assert {name: (winners[name].path, winners[name].line) for name in theirs} == theirs
    finally:
        cluster.psql("ALTER SYSTEM RESET work_mem")
        main.write_text(before, encoding="utf-8")
        cluster.reload()


@pytest.mark.parametrize("levels", [9, 10, 11, 12])
def test_how_deep_includes_may_go(cluster: Cluster, levels: int) -> None:
    folder = cluster.folder / f"levels{levels}"
    folder.mkdir(mode=0o755)
    for level in range(1, levels + 1):
        text = f"x.level = '{level}'\n" + (f"include 'l{level + 1}.conf'\n" if level < levels else "")
        (folder / f"l{level}.conf").write_text(text, encoding="utf-8")
    main = cluster.data_directory / "postgresql.conf"
    before = main.read_text(encoding="utf-8")
    try:
        main.write_text(f"{before}\ninclude '{folder}/l1.conf'\n", encoding="utf-8")
        rows, mine = file_settings(cluster), read(cluster)
        assert bool([row for row in rows if row["error"]]) == bool(mine.faults)
        assert [row["setting"] for row in rows if row["name"] == "x.level"] == [
            setting.value for setting in mine.settings if setting.name == "x.level"
        ]
    finally:
        main.write_text(before, encoding="utf-8")
