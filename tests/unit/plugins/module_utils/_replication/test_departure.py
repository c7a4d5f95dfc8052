# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is taken from a standby that leaves, and what is not."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import PASSFILE_HEADER
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._replication import departure
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import DirectoryState
from stand_ins import host_on


def placed(folder: Path, header: str = PASSFILE_HEADER) -> set[str]:
    """A password file, what the collection placed for TLS, and a file of somebody's beside it."""
    (folder / "data.pgpass").write_text(f"{header}pg1:5432:*:replica:secret\n", encoding="utf-8")
    (folder / "data.tls").mkdir()
    for name in ("server.pem", "client.pem", "authority.pem", "own.pem"):
        (folder / "data.tls" / name).write_text("key", encoding="utf-8")
    return there(folder)


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("said", "header", "gone"),
    [
        pytest.param(
            {}, PASSFILE_HEADER, {"data.pgpass", "server.pem", "client.pem", "authority.pem"}, id="all of ours"
        ),
        pytest.param({}, "", {"server.pem", "client.pem", "authority.pem"}, id="a password file of others"),
        pytest.param({"secrets": False}, PASSFILE_HEADER, set(), id="told to leave them"),
        pytest.param({"check_mode": True}, PASSFILE_HEADER, set(), id="check mode"),
    ],
)
def test_what_goes(tmp_path: Path, said: dict[str, t.Any], header: str, gone: set[str]) -> None:
    before = placed(tmp_path, header)
    host = host_on(tmp_path)
    wanted = {"secrets": True, "delete_data": False, "check_mode": False, **said}
    actions = departure.leave(host, **wanted)
    assert before - there(tmp_path) == gone
    assert bool(actions) == (wanted["secrets"])
    if not wanted["check_mode"]:
        assert departure.leave(host, **wanted) == []


def test_a_primary_does_not_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = placed(tmp_path)
    monkeypatch.setattr(departure, "classify", lambda _evidence: DirectoryState.PRIMARY)
    with pytest.raises(ReplicationError, match="only a standby"):
        departure.leave(host_on(tmp_path), secrets=True, delete_data=True, check_mode=False)
    assert there(tmp_path) == before
