# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action group: what a play says once with module_defaults counts for every module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PLAY = """\
- name: Say once where the instance is
  hosts: localhost
  connection: local
  gather_facts: false
  module_defaults:
    group/pgtandem.replication.replication:
      layout: custom
      version: "15"
      bin_directory: {bin}
      data_directory: {data}
      os_user: {user}
  tasks:
    - name: Read it
      pgtandem.replication.pg_replication_status:
      register: seen

    - name: Be told what was seen
      ansible.builtin.assert:
        that:
          - seen.replication.data_directory.path == "{data}"
          - seen.replication.instance.layout == "custom"
"""


def test_module_defaults_of_the_group_reach_a_module(tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    data = tmp_path / "data"
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    play.write_text(PLAY.format(bin=tmp_path, data=data, user=user), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", play],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_NOCOLOR": "1",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
