# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs note for each other, from a generator: of their kind, or refused."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup.copy_process import PROGRESS_FILE
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.promotion_claim import CLAIM_FILE
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.set_aside import JOURNAL_FILE
from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import MARKER_FILE
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import REWIND_STATE_FILE
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.armed_promotion import NOTE_FILE
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._system.state_file import StateFile
from hypothesis import given
from hypothesis import strategies as st

GENUINE: dict[str, tuple[StateFile, dict[str, t.Any]]] = {
    "marker": (
        MARKER_FILE,
        {
            "phase": "failed",
            "purpose": "base backup of system 7412345678901234567",
            "started": 1.5,
            "ended": 2.5,
            "copied": 4711,
            "message": "pg_basebackup: error: no space\nmore",
            "elsewhere": [{"path": "/srv/fast", "existed": True}],
            "job": "0123456789ab",
            "unit": "pgtandem-basebackup-5432-1795366034.scope",
            "upstream": "10.0.0.1:5432",
            "system_identifier": "7412345678901234567",
        },
    ),
    "journal": (
        JOURNAL_FILE,
        {
            "phase": "moved",
            "moves": [["/data", "/data.pgtandem-aside"]],
            "system_identifier": None,
            "since": 1.5,
            "proven": False,
        },
    ),
    "rewind": (
        REWIND_STATE_FILE,
        {"phase": "rewound", "mode": 0o700, "files": ["pg_hba.conf"], "folders": ["log"], "source": "10.0.0.1:5432"},
    ),
    "claim": (CLAIM_FILE, {"target": "pg2", "timeline": 3, "system_identifier": "7", "since": 1.5}),
    "note": (
        NOTE_FILE,
        {
            "token": "c0ffee",
            "state": "promoted",
            "pid": 4711,
            "started": 1.5,
            "patience": 60.0,
            "message": None,
            "shown": True,
            "shown_at": 1.5,
            "received_lsn": "0/3028F78",
            "checkpoint_lsn": "0/3028F00",
            "previous_timeline": None,
            "timeline": 2,
        },
    ),
    "progress": (
        PROGRESS_FILE,
        {
            "phase": "streaming",
            "done": 1,
            "total": None,
            "rate": 1.5,
            "started": 1.5,
            "since": 1.5,
            "updated": 1.5,
            "pid": 4711,
        },
    ),
}
HOSTILE: t.Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        [
            "/etc", "../../etc", "ssh.service", "pgtandem-basebackup-1-1.scope.service", "a/b", "..", "\x1b[2J", "7\n",
            "pgtandem-basebackup-5432-1.scope\nssh.service", "moved", "-1", 1 << 70, "{{ lookup('pipe', 'id') }}",
        ]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize("name", GENUINE)
def test_what_was_noted_is_read(name: str) -> None:
    kind, content = GENUINE[name]
    assert kind.parse(json.dumps(content), "/x") == content
    assert kind.parse("", "/x") == kind.parse("{}  \n", "/x") == {}


@pytest.mark.parametrize("name", GENUINE)
@given(data=st.data())
def test_anything_else_is_refused(name: str, data: st.DataObject) -> None:
    kind, content = GENUINE[name]
    key = data.draw(st.sampled_from([*sorted(kind.checks), "other"]))
    value = data.draw(HOSTILE)
    forged = dict(content, **{key: value})
    try:
        found = kind.parse(json.dumps(forged), "/x")
    except FileRefused as error:
        assert "/x" in error.message
        return
    # It may be nonsense, but it is of its kind: no detour, no name with a folder, no unit of somebody else's.
    assert kind.checks[key](found[key])
    for text in _texts(found):
        assert "\x1b" not in text or key == "message"
    if key == "unit" and value is not None:
        assert value.startswith("pgtandem-basebackup-") and value.endswith(".scope") and "\n" not in value
    if key in ("files", "folders"):
        assert not [one for one in value if "/" in one or one in ("", ".", "..")]
    if key in ("moves", "elsewhere"):
        assert not [text for text in _texts(value) if not text.startswith("/") or "/../" in f"{text}/"]


@pytest.mark.parametrize("name", GENUINE)
@given(text=st.text(max_size=200) | HOSTILE.map(json.dumps) | st.just("[" * 100_000) | st.just('{"a":' * 20_000))
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    try:
        assert isinstance(GENUINE[name][0].parse(text, "/x"), dict)
    except FileRefused as error:
        assert "/x" in error.message


def _texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
