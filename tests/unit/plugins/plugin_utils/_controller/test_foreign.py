# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts, servers and clients send leaves every plugin by one way, cleaned and never as a template."""

from __future__ import annotations

import ast
import json
import re
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.results import clean_result, clean_texts
from ansible_collections.pgtandem.replication.plugins.module_utils._values.text import MESSAGE_LIMIT, TEXT_LIMIT
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import foreign, foreign_result
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.terminal import one_line
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[5]
ACTIONS = sorted((ROOT / "plugins/action").glob("*.py"))
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*texts(key), *texts(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)


# --- Every plugin ---


@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: path.stem)
def test_an_action_leaves_by_the_one_way(path: Path) -> None:
    (made,) = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    assert [ast.unparse(base) for base in made.bases] in (["ForeignActionBase"], ["SecretsActionBase"])
    assert "run" not in {node.name for node in made.body if isinstance(node, ast.FunctionDef)}


def test_only_one_file_prints() -> None:
    words = re.compile(r"ansible\.utils\.display|^(?! *>>> ).*\bprint\(|self\._?display\b", re.MULTILINE)
    parts = [ROOT / "plugins" / part for part in ("action", "inventory", "plugin_utils")]
    files = [path for part in parts for path in part.rglob("*.py")]
    assert [path.name for path in files if words.search(path.read_text(encoding="utf-8"))] == ["terminal.py"]


def test_only_one_place_marks_texts() -> None:
    """Nothing else makes templates of texts, or texts of templates; the names differ between versions."""
    words = re.compile(r"unsafe_proxy|wrap_var|trust_as_template|AnsibleUnsafe")
    found = [path.name for path in (ROOT / "plugins").rglob("*.py") if words.search(path.read_text(encoding="utf-8"))]
    assert found == ["foreign.py"]


def test_the_inventory_sets_variables_by_the_one_way() -> None:
    tree = ast.parse((ROOT / "plugins/inventory/topology.py").read_text(encoding="utf-8"))
    places = [
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "set_variable"
    ]
    assert places == ["set_variable", "_add"]
    for name in places:
        (function,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
        assert "foreign(" in ast.unparse(function)


# --- What it does ---


@given(VALUES)
def test_nothing_is_left_that_steers_a_terminal(value: t.Any) -> None:
    cleaned = foreign(value)
    assert not [text for text in texts(cleaned) if STEERING.search(text)]
    json.dumps(cleaned).encode()
    assert foreign(cleaned) == cleaned, "twice is as once"


@given(VALUES)
def test_what_is_plain_stays_as_it_is(value: t.Any) -> None:
    if not any(STEERING.search(text) for text in texts(value)):
        assert clean_texts(value) == value


def test_a_text_has_an_end() -> None:
    (cleaned,) = texts(foreign(["x" * 1_000_000]))
    assert len(cleaned) < TEXT_LIMIT + 100 and "1000000 characters" in cleaned
    assert len(clean_result({"msg": "x" * 1_000_000})["msg"]) < MESSAGE_LIMIT + 100
    assert len(one_line("x" * 1_000_000)) < 2100


def test_a_result_decides_nothing() -> None:
    result = {"changed": True, "ansible_facts": {"ansible_user": "x"}, "add_host": {}, "add_group": "x", "rc": 0}
    assert foreign_result(result) == {"changed": True, "rc": 0}


def test_a_message_forges_no_line() -> None:
    said = "the server said: FATAL\nok: [pg1]\r\nfatal: [pg2]\x1b[1A\x85x"
    lines = clean_result({"msg": said})["msg"].split("\n")
    assert lines[0] == "the server said: FATAL"
    assert [line[:4] for line in lines[1:]] == ["    ", "    "]
    assert clean_result({"msg": "\n".join(lines)})["msg"].split("\n") == lines
    assert one_line(said) == r"the server said: FATAL\x0aok: [pg1]\x0d\x0afatal: [pg2]\x1b[1A\x85x"


def test_secrets_are_struck_out_of_what_people_read() -> None:
    command = "PGPASSWORD=geheim fetch %f %p"
    result = {
        "msg": command,
        "diff": [{"before": f"restore_command = '{command}'\n", "after": ""}],
        "reasons": [{"text": command}],
        "topology": {"recovery": {"restore_command": command}},
    }
    cleaned = clean_result(result)
    assert cleaned.pop("topology") == result["topology"], "what a role goes on with stays"
    assert "geheim" not in json.dumps(cleaned)


@pytest.mark.parametrize(
    "command",
    [
        "PGPASSWORD=geheim fetch %f %p",
        "PGPASSWORD='geheim geheim' fetch %f %p",
        'env PASSWORD="geheim geheim" fetch %f',
        "fetch --password geheim %f",
        "fetch --password=geheim %f",
        "fetch --db-password 'geheim geheim' %f",
        "curl https://backup:geheim@store/%f",
        "curl -H 'Authorization: Bearer geheim' https://store/%f",
        "AWS_SECRET_ACCESS_KEY=geheim aws s3 cp s3://x/%f %p",
        "aws_secret_access_key = geheim",
        "pgbackrest --repo1-cipher-pass=geheim --repo1-s3-key-secret=geheim archive-get %f %p",
        "wal-g --api-key geheim wal-fetch %f %p",
        "SAS_TOKEN=geheim azcopy",
        "sshpass -p geheim scp store:%f %p",
        "restore_command = 'env ''PGPASSWORD=geheim'' fetch %f %p'",
        "ssl_passphrase_command = 'echo geheim'",
        "host=a password=geheim user=b",
        "scram_client_key=geheim",
        "-----BEGIN EC PRIVATE KEY-----\ngeheim\n-----END EC PRIVATE KEY-----",
        "postgresql://replica:geheim@pg1/postgres",
    ],
)
def test_what_looks_like_a_secret_is_struck_out(command: str) -> None:
    shown = one_line(command)
    assert "geheim" not in shown and "***" in shown
    assert one_line(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "cp /archive/%f %p",
        "passfile=/var/lib/postgresql/15/main.pgpass sslkey=/etc/x.key sslcert=/etc/x.pem",
        "password_encryption = 'scram-sha-256'",
        "ssl_key_file = '/etc/ssl/server.key'",
        "pgtandem_replication_password is not set for pg1, pg2.",
        'FATAL: password authentication failed for user "replica"',
        "https://store.example.com:8443/%f",
        "primary_slot_name = 'pg2'",
        "PGPASSFILE=/var/lib/postgresql/.pgpass",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert one_line(text) == text


@pytest.mark.parametrize(
    "text",
    ["-", "a", "a-", "password=", "'", "://", "a:", "a://b:", "-----BEGIN PRIVATE KEY-----", "\\", "--token ", " "],
)
def test_no_text_takes_long(text: str) -> None:
    """The patterns go over a text once; a second is more than any of these takes on a busy machine."""
    before = time.process_time()
    clean_result({"diff": text * (TEXT_LIMIT // 4 // len(text))})
    assert time.process_time() - before < 2
