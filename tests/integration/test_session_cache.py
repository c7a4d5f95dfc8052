# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What these tests share: the interpreter that forks is like any other, and work is done once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import session_cache
from site_runs import Node, Site, wait_until

PROGRAM = """\
import atexit, os, sys
atexit.register(print, "the end")
print(sys.argv[1:], __name__, os.getcwd(), os.environ.get("WORD"), "HOME" in os.environ, oct(os.umask(0)))
print("to the other", file=sys.stderr)
sys.exit(7)
"""


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("PGTANDEM_TEST_PYTHON", raising=False)
    return [sys.executable, session_cache.forking_python()]


def test_it_has_words_files_folder_variables_and_an_end_of_its_own(programs: list[str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM, encoding="utf-8")
    for words, text in ((["script.py", "one", "t w o"], ""), ([], PROGRAM)):
        seen = [
            subprocess.run(
                [program, *words], input=text, capture_output=True, text=True, check=False,
                cwd=tmp_path, env={"WORD": "päß"}, umask=0o027,
            )
            for program in programs
        ]  # fmt: skip
        assert [(run.returncode, run.stdout, run.stderr) for run in seen[:1]] == [
            (run.returncode, run.stdout, run.stderr) for run in seen[1:]
        ]
        assert seen[0].returncode == 7 and "päß" in seen[0].stdout and "the end" in seen[0].stdout


@pytest.mark.parametrize("program", ["raise ValueError('wrong')", "import os; os.kill(os.getpid(), 15)"])
def test_a_failure_is_one(programs: list[str], program: str) -> None:
    seen = [subprocess.run([name], input=program, capture_output=True, text=True, check=False) for name in programs]
    assert all(run.returncode != 0 for run in seen)
    assert ["wrong" in run.stderr for run in seen] == ["wrong" in program] * 2


def test_what_it_runs_ends_with_it(programs: list[str], tmp_path: Path) -> None:
    told = tmp_path / "pid"
    text = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with subprocess.Popen([programs[1]], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        wait_until(lambda: told.exists() and told.read_text(), "the program")
        process.kill()
    wait_until(lambda: not Path("/proc", told.read_text()).exists(), "its end")


def test_a_folder_is_made_once_and_not_at_all_by_a_failure() -> None:
    name, made = f"test-{os.getpid()}-{time.monotonic_ns()}", []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("there", encoding="utf-8")
        if len(made) == 1:
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        session_cache.once(name, make)
    for _unused in range(2):
        assert (session_cache.once(name, make) / "file").read_text(encoding="utf-8") == "there"
    assert len(made) == 2 and not made[0].exists()


def test_the_ports_of_a_copied_site_are_in_the_order_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Password files have their lines sorted, so another order would be a change for the first run on a copy."""
    for method in ("start", "stop"):
        monkeypatch.setattr(Node, method, lambda *_unused: None)
    name = f"order-{os.getpid()}-{time.monotonic_ns()}"

    def build(site: Site) -> None:
        for number in range(8):
            site.add(f"pg{number}", "standby")
        lines = sorted(f"127.0.0.1:{node.port}" for node in site)
        (site.folder / "pg0.pgpass").write_text("\n".join(lines), encoding="utf-8")

    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        site = Site(folder, Path("/nowhere"))
        site.build_once(name, build)
        lines = (folder / "pg0.pgpass").read_text(encoding="utf-8").splitlines()
        assert lines == sorted(f"127.0.0.1:{node.port}" for node in site)
