# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of the controller print, return and write when every host lies, run by Ansible without any host.

PGTANDEM_TEST_CONTROLLERS names more Pythons, each with its own ansible-core, with colons between them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
STATUS = json.loads((Path(__file__).parents[1] / "fixtures/status.json").read_text(encoding="utf-8"))
CONTROLLERS = [sys.executable, *filter(None, os.environ.get("PGTANDEM_TEST_CONTROLLERS", "").split(":"))]
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - name: Show
      run_once: true
      pgtandem.replication.pg_topology: {show: true}
    - name: Report
      run_once: true
      pgtandem.replication.pg_report: {fail_on: never, html: OUT/r.html, json: OUT/r.json, metrics: OUT/r.prom}
      register: told
    - name: Tell
      run_once: true
      ansible.builtin.debug:
        var: told.report.clusters[0].nodes[0].status.settings.archive_command
    - name: Say
      run_once: true
      ansible.builtin.debug:
        msg: "it said {{ told.report.clusters[0].tree[0] }}"
"""


def hostile(value: t.Any, payload: str, key: str = "") -> t.Any:
    if isinstance(value, dict):
        return {name: hostile(item, payload, name) for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, payload, key) for item in value]
    return payload if isinstance(value, str) and key not in ("role", "state", "layout", "version", "major") else value


def unsafe(value: t.Any) -> str:
    """YAML in which no text is a template, as facts are none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {unsafe(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(unsafe, value)) + "]"
    return ("!unsafe " if isinstance(value, str) and "{" in value else "") + json.dumps(value)


@pytest.mark.parametrize("python", CONTROLLERS)
def test_nothing_of_a_host_steers_the_controller(python: str, tmp_path: Path) -> None:
    canary, out = tmp_path / "canary", tmp_path / "out"
    out.mkdir()
    payload = (
        f"{{{{ lookup('ansible.builtin.pipe', 'touch {canary}') }}}}{{{{ 7 * 191 }}}}<script>\x1b[2J\x9b1m\u202e\u2028"
        "\nforged: [pg1]\rPGPASSWORD=geheim " + "x" * 3000
    )
    inventory: dict[str, t.Any] = {}
    for name, group in (("pg1", "primary"), ("pg2", "standby")):
        node = {
            "name": name, "cluster": "main", "groups": [group], "upstream": "", "address": f"192.0.2.{name[-1]}",
            "port": 5432, "wrong": [], "has_password": True, "password_fits_file": True, "replication_user": "replica",
            "on_role_change": "fail", "manage_packages": False, "slots": True, "reseed": False, "reseed_mode": "copy",
            "parameters": {}, "synchronous": None, "connection_options": {}, "tls": {}, "apply_delay": "",
            "restore_command": "", "hba_rules": [], "options": {"version": ""}, "unread_reason": payload, "samples": [],
            "status": hostile(STATUS[name], payload),
        }  # fmt: skip
        inventory[group] = {"hosts": {name: {"pgtandem_node": node}}}
    (tmp_path / "hosts.yml").write_text(unsafe(inventory), encoding="utf-8")
    (tmp_path / "play.yml").write_text(PLAYBOOK.replace("OUT", str(out)), encoding="utf-8")
    (out / "r.json").symlink_to(tmp_path / "elsewhere")
    done = subprocess.run(
        [python, "-m", "ansible", "playbook", "-vv", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml")],
        capture_output=True,
        check=False,
        timeout=120,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections"),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": "",
        },
    )
    printed = (done.stdout + done.stderr).decode("utf-8")
    assert done.returncode == 0, printed
    assert not canary.exists() and "1337" not in printed, "a host's text was a template"
    assert "7 * 191" in printed
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]", printed)
    assert not re.search(r"(?m)^forged", printed), "a host's text looks like a line of Ansible's"
    tree = [line for line in printed.splitlines() if line.startswith(("cluster main", "pg1  192", "pg2  192", "ERROR"))]
    assert len(tree) > 3 and all(len(line) < 2100 for line in tree)
    assert "geheim" not in "".join(tree)
    assert "DEPRECAT" not in printed.upper()
    modes = {path.name: oct(path.lstat().st_mode & 0o7777) for path in out.iterdir() if not path.is_symlink()}
    assert modes == {"r.html": "0o600", "r.json": "0o600", "r.prom": "0o644"}
    assert not (tmp_path / "elsewhere").exists()
    assert "<script" not in (out / "r.html").read_text(encoding="utf-8")
    json.loads((out / "r.json").read_text(encoding="utf-8"))
