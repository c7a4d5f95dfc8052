# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin believes no server and no client.

PGTANDEM_TEST_CONTROLLERS names more Pythons, each with its own ansible-core, with colons between them.
"""

from __future__ import annotations

import copy
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
FILE = """\
plugin: pgtandem.replication.topology
hosts:
  pg1: {address: 192.0.2.1, port: 1}
  pg2: {address: 192.0.2.2, port: 2}
discover: true
compose:
  said: pgtandem_live.error | default(pgtandem_live.upstream.host | default(''))
  joined: "'seen: ' ~ (pgtandem_live.error | default(pgtandem_live.position | default('')))"
keyed_groups:
  - {key: pgtandem_live.error | default(''), prefix: '', separator: ''}
  - {key: pgtandem_live.timeline | string, prefix: timeline}
"""
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]")

pytestmark = pytest.mark.parametrize("python", CONTROLLERS)


class Filled(t.NamedTuple):
    """What the plugin made of the answers."""

    hosts: dict[str, dict[str, t.Any]]
    groups: dict[str, list[str]]
    printed: str


def fill(python: str, first: t.Any, second: t.Any, *, file: str = FILE) -> Filled:
    asked = {"file": file, "answers": {"1": first, "2": second}, "also": ["said", "joined"]}
    done = subprocess.run(
        [python, str(Path(__file__).with_name("fill_inventory.py"))],
        input=json.dumps(asked),
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections"), "PYTHONPATH": ""},
    )
    assert "RESULT" in done.stdout, done.stdout + done.stderr
    return Filled(**json.loads(done.stdout.split("RESULT", 1)[1]), printed=done.stderr)


def texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def hostile(value: t.Any, payload: str, key: str = "") -> t.Any:
    """The status with the payload in place of every text but the role."""
    if isinstance(value, dict):
        return {name: hostile(item, payload, name) for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, payload, key) for item in value]
    return payload if isinstance(value, str) and key != "role" else value


def require_harmless(filled: Filled, canary: Path) -> None:
    assert not canary.exists(), "a server's text ran on the controller"
    assert set(filled.hosts) == {"pg1", "pg2"}
    said = list(texts(filled.hosts))
    assert not [text for text in said if STEERING.search(text)]
    assert max(map(len, said)) < 300_000
    assert "1337" not in json.dumps(filled.hosts), "a server's text was a template"
    assert "DEPRECAT" not in filled.printed.upper()


def payload_for(canary: Path) -> str:
    return (
        f"{{{{ lookup('ansible.builtin.pipe', 'touch {canary}') }}}}{{{{ 7 * 191 }}}}<b>\x1b[2J\x9b\u202e\u2028\udcff"
    )


def test_no_text_of_a_status_runs_or_steers(python: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    payload = payload_for(canary)
    standby = hostile(STATUS["pg2"], payload)
    standby["upstream"]["host"] = payload + "x" * 1_000_000
    filled = fill(python, hostile(STATUS["pg1"], payload), standby)
    require_harmless(filled, canary)
    assert filled.groups["primary"] == ["pg1"] and filled.groups["standby"] == ["pg2"]


def test_no_error_of_a_server_runs_or_steers(python: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    filled = fill(python, {"error": "FATAL: " + payload_for(canary)}, STATUS["pg2"])
    require_harmless(filled, canary)
    assert "pipe" in filled.hosts["pg1"]["said"] and "pipe" in filled.hosts["pg1"]["joined"]
    assert filled.groups["unreachable"] == ["pg1"]


@pytest.mark.parametrize("word", ["primary", "pg2"])
def test_no_word_of_a_server_puts_a_host_into_a_group(python: str, word: str) -> None:
    filled = fill(python, {"error": word}, STATUS["pg2"])
    assert filled.groups["primary"] == [] and filled.groups["standby"] == ["pg2"] and filled.groups["discovered"] == []
    added = {name for name, members in filled.groups.items() if "pg1" in members} - {"all", "unreachable"}
    assert len(added) == 1 and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", added.pop())


def streaming(name: str, address: str) -> dict[str, t.Any]:
    status = copy.deepcopy(STATUS["pg1"])
    row = next(row for row in status["wal_senders"] if row["application_name"] == "stranger")
    row.update(application_name=name, client_addr=address)
    return t.cast("dict[str, t.Any]", status)


def test_a_standby_is_discovered(python: str) -> None:
    filled = fill(python, streaming("pg9.example.com", "192.0.2.9"), STATUS["pg2"])
    assert filled.groups["standby"] == ["pg2"] and filled.groups["discovered"] == ["pg9.example.com"]
    assert filled.hosts["pg9.example.com"]["pgtandem_live"]["upstream"]["name"] == "pg1"


NOT_HOSTS = [
    ("localhost", "192.0.2.9"),
    ("LocalHost", "192.0.2.9"),
    ("127.0.0.1", "192.0.2.9"),
    ("all", "192.0.2.9"),
    ("primary", "192.0.2.9"),
    ("Standby", "192.0.2.9"),
    ("ungrouped", "192.0.2.9"),
    ("discovered", "192.0.2.9"),
    ("pg2", "192.0.2.66"),
    ("PG1", "192.0.2.66"),
    ("hostvars", "192.0.2.9"),
    ("groups", "192.0.2.9"),
    ("ansible_host", "192.0.2.9"),
    ("{{ 7 * 191 }}", "192.0.2.9"),
    ("a b", "192.0.2.9"),
    ("../../etc", "192.0.2.9"),
    ("x\x1b[2J", "192.0.2.9"),
    ("", "192.0.2.9"),
    ("pg_basebackup", "192.0.2.9"),
    ("walreceiver\n", "192.0.2.9"),
    ("pg9", "127.0.0.1"),
    ("pg9", "::1"),
    ("pg9", "0.0.0.0"),
    ("pg9", "evil.example.com"),
    ("pg9", "192.0.2.9 ansible_connection=local"),
    ("pg9", "{{ 7 * 191 }}"),
    ("pg9", None),
    (None, "192.0.2.9"),
]


#: What a server of this world never sends.
NOT_TEXTS = [(["pg9"], "192.0.2.9"), ({"pg9": 1}, "192.0.2.9"), (9, "192.0.2.9"), ("pg9", ["192.0.2.9"])]


@pytest.mark.parametrize("rows", [NOT_HOSTS, NOT_TEXTS], ids=["texts", "other values"])
def test_what_is_no_host_is_not_discovered(python: str, rows: list[tuple[t.Any, t.Any]]) -> None:
    status = streaming("pg9", "192.0.2.9")
    (row,) = [row for row in status["wal_senders"] if row["application_name"] == "pg9"]
    status["wal_senders"] = [row for row in status["wal_senders"] if row["application_name"] != "pg9"] + [
        dict(row, application_name=name, client_addr=address, pid=5000 + number)
        for number, (name, address) in enumerate(rows)
    ]
    filled = fill(python, status, STATUS["pg2"])
    assert set(filled.hosts) == {"pg1", "pg2"} and filled.groups["discovered"] == []
    assert filled.groups["primary"] == ["pg1"] and filled.groups["standby"] == ["pg2"]


def test_one_server_adds_an_end_of_hosts(python: str) -> None:
    status = streaming("pg9", "192.0.2.9")
    (row,) = [row for row in status["wal_senders"] if row["application_name"] == "pg9"]
    status["wal_senders"] += [dict(row, application_name=f"a{number}", pid=9000 + number) for number in range(3000)]
    filled = fill(python, status, STATUS["pg2"])
    assert len(filled.hosts) == 102 and len(filled.groups["discovered"]) == 100


def test_the_files_own_variables_stay_templates(python: str) -> None:
    """What the administrator writes is not a server's word."""
    file = FILE.replace("port: 1}", 'port: 1, variables: {pgtandem_x: "{{ 6 * 7 }}"}}')
    filled = fill(python, STATUS["pg1"], STATUS["pg2"], file=file)
    assert filled.hosts["pg1"]["pgtandem_x"] in (42, "42", "{{ 6 * 7 }}")
