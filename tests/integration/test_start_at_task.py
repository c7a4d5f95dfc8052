# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that begins in the middle has read no host, and says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COLLECTIONS
from session_cache import plain_environment

INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "%s", pgtandem_replication_password: secret}
  children:
    primary: {hosts: {pg1: {}}}
    standby: {hosts: {pg2: {}}}
"""


@pytest.mark.parametrize(
    "task", ["Install PostgreSQL where it is missing", "Raise parameters on the standbys before their primaries"]
)
def test_a_run_that_begins_in_the_middle(tmp_path: Path, task: str) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY % sys.executable, encoding="utf-8")
    program = Path(sys.executable).with_name("ansible-playbook")
    words = ["-i", "hosts.yml", "-e", "ansible_become=false", "--start-at-task", task]
    done = subprocess.run(
        [program, *words, "pgtandem.replication.site"],
        cwd=tmp_path, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**plain_environment(), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "--start-at-task leaves out what reads the hosts" in " ".join((done.stdout + done.stderr).split())
