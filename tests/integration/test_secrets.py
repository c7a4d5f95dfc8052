# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords of tasks are in no output, log, cache or callback plugin, whatever they are made of."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import session_cache
from conftest import COLLECTIONS, _yaml, server_account

#: Its parts are looked for one by one: what breaks it up must not show the rest.
PARTS = ("<b>geheim-eins</b>", "{{ 7 * 'geheim-zwei' }}", "geheim-drei'\"\\", "\x1b[31mgeheim-vier")
PASSWORD = "\n".join(PARTS)
WORDS = ("geheim-eins", "geheim-zwei", "geheim-drei", "geheim-vier")

#: As a role says it: what is written in a play is nobody's secret.
SECRET = "{{ secret }}"

#: A module, and its options with a password; each fails, as there is no server.
TASKS: dict[str, dict[str, t.Any]] = {
    "pg_replication_status": {"login_password": SECRET},
    "pg_instance": {"login_password": SECRET, "replication_password": SECRET},
    "pg_basebackup": {"upstream_host": "127.0.0.1", "upstream_port": 1, "upstream_password": SECRET},
    "pg_rewind": {"source_host": "127.0.0.1", "source_port": 1, "source_password": SECRET},
    "pg_replication_role": {"name": "r", "password": SECRET, "login_password": SECRET},
    "pg_replication_slot": {"name": "s", "login_password": SECRET},
    "pg_promote": {"login_password": SECRET},
    "pg_demote": {"login_password": SECRET, "upstream": {"host": "127.0.0.1", "application_name": "a"}},
    "pg_checkpoint": {"login_password": SECRET},
    "pg_benchmark": {"login_password": SECRET},
}
MODES: dict[str, list[str]] = {
    "alone": [],
    "in a loop": ["loop: [1, 2]"],
    "tried again": ["until: false", "retries: 1", "delay: 0"],
}


@pytest.mark.parametrize("mode", MODES)
def test_a_password_is_nowhere(tmp_path: Path, mode: str) -> None:
    instance = {
        "layout": "custom",
        "version": "17",
        "bin_directory": str(tmp_path),
        "data_directory": f"{tmp_path}/data",
        "os_user": server_account(),
        "port": 1,
    }
    lines = ["- hosts: localhost", "  gather_facts: false", "  vars_files: [vault.yml]", "  tasks:"]
    # Ansible shows lines of a play beside an error.
    (tmp_path / "vault.yml").write_text(_yaml({"secret": PASSWORD}), encoding="utf-8")
    for module, options in TASKS.items():
        lines += [f"    - pgtandem.replication.{module}: {_yaml({**instance, **options}).replace('!unsafe ', '')}"]
        lines += [f"      {line}" for line in ("ignore_errors: true", "register: said", *MODES[mode])]
        lines += ["    - ansible.builtin.set_fact: {said: '{{ said }}', cacheable: true}"]
    play, places = tmp_path / "play.yml", {name: tmp_path / name for name in ("log", "tasks", "cache")}
    play.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-vvvv", "-i", "localhost,", "-c", "local", play],
        check=False,
        capture_output=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            **session_cache.environment("record_tasks"),
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(places["cache"]),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_LOG_PATH": str(places["log"]),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "RECORD_TASKS": str(places["tasks"]),
            "LC_ALL": "C.UTF-8",
        },
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    recorded = places["tasks"].read_bytes()
    for module in TASKS:
        assert f"pgtandem.replication.{module}".encode() in printed
    assert recorded.count(b"VALUE_SPECIFIED_IN_NO_LOG_PARAMETER") >= len(TASKS)
    cached = {path.name: path.read_bytes() for path in places["cache"].iterdir()}
    assert cached
    for place, text in {"output": printed, "log": places["log"].read_bytes(), "tasks": recorded, **cached}.items():
        found = [word.encode() for word in WORDS if word.encode() in text]
        assert not found, f"{place}: {[line for line in text.splitlines() if found[0] in line][:2]}"
