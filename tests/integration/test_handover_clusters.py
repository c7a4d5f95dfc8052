# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A handover to Patroni goes on with one cluster where another one has failed; the handover itself is the lab's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        pgtandem_topology:
          nodes:
            a1: {cluster: a, role: primary, primary: a1, in_run: true}
            a2: {cluster: a, role: standby, primary: a1, in_run: true}
            b1: {cluster: b, role: primary, primary: b1, in_run: true}
            b2: {cluster: b, role: standby, primary: b1, in_run: true}
            b3: {cluster: b, role: standby, primary: b1, in_run: false}
    - ansible.builtin.fail:
        msg: its Patroni does not start
      when: inventory_hostname == 'a2'
    - ansible.builtin.set_fact:
        __pgtandem_reached: [checked, prepared]
- hosts: a1,b1
  gather_facts: false
  tasks:
    - ansible.builtin.import_role:
        name: pgtandem.replication.patroni
        tasks_from: together
      vars:
        __pgtandem_stage: prepared
    - ansible.builtin.debug:
        msg: "{{ inventory_hostname }} is handed over"
"""


CHECK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        pgtandem_topology: {nodes: {a1: {role: primary}, a2: {role: primary}, b1: {role: primary}}}
        pgtandem_node:
          status:
            instance: {layout: debian}
            host: {has_systemd: true, machine: "{{ 'one' if inventory_hostname[0] == 'a' else 'other' }}"}
            running: true
            accepts_connections: true
            major: "15"
            wal_receiver: null
            role: primary
            settings: {recovery_target_timeline: latest}
    - ansible.builtin.import_role:
        name: pgtandem.replication.patroni
        tasks_from: check
    - ansible.builtin.debug:
        msg: "{{ inventory_hostname }} can be handed over"
"""


@pytest.mark.parametrize(("port", "fine"), [(8008, ["b1"]), (8009, ["a1", "a2", "b1"])])
def test_two_instances_of_one_machine_need_two_ports(tmp_path: Path, port: int, fine: list[str]) -> None:
    path = tmp_path / "play.yml"
    path.write_text(CHECK)
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/a2.yml").write_text(f"pgtandem_patroni_restapi_port: {port}\n", encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "a1,a2,b1,", "-c", "local", path,
         "-e", '{"pgtandem_patroni_dcs": {"etcd3": {}}}'],
        cwd=ROOT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = " ".join(done.stdout.split())
    # Hosts answer in any order.
    assert sorted(re.findall(r"\"(\w+) can be handed over", said)) == fine, done.stdout + done.stderr
    assert ("as that of a2 on the same machine" in said) == (port == 8008), done.stdout


def test_a_cluster_that_failed_stops_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "play.yml"
    path.write_text(PLAYBOOK)
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "a1,a2,b1,b2,b3,", "-c", "local", path],
        cwd=ROOT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = " ".join(done.stdout.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert "a2 of cluster a failed or could not be reached" in said, done.stdout
    assert re.findall(r"\"(\w+) is handed over", said) == ["b1"], done.stdout


def test_no_play_of_the_handover_ends_for_all_hosts_where_one_fails() -> None:
    for play in yaml.safe_load((ROOT / "playbooks/patroni_handover.yml").read_text(encoding="utf-8")):
        assert "any_errors_fatal" not in play and "serial" not in play, play["name"]
