# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exact words of pg_basebackup for each version, and what no version may be asked."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.backup_command import (
    BaseBackupRequest,
    backup_command,
    check_knobs,
)

HEAD = ["pg_basebackup", "--pgdata=/data/in", "--format=plain"]
TALK = ["--no-password", "--progress", "--verbose"]
DSN = "--dbname=host=pg1 port=5432 user=replica passfile=/pass application_name=pg2"
DSN += " keepalives_idle=20 keepalives_interval=10 keepalives_count=3"


def request(**more: t.Any) -> BaseBackupRequest:
    return BaseBackupRequest("pg1", 5432, "replica", "secret", "pg2", **more)


def words(client: int, **more: t.Any) -> list[str]:
    return backup_command("pg_basebackup", request(**more), directory="/data/in", passfile="/pass", client=client)


@pytest.mark.parametrize(
    ("client", "middle", "end"),
    [
        (90624, ["--xlog-method=stream", "--checkpoint=fast"], []),
        (100023, ["--wal-method=stream", "--checkpoint=fast"], []),
        (120022, ["--wal-method=stream", "--checkpoint=fast"], []),
        (130023, ["--wal-method=stream", "--checkpoint=fast"], ["--no-manifest"]),
        (150018, ["--wal-method=stream", "--checkpoint=fast"], ["--no-manifest"]),
        (190000, ["--wal-method=stream", "--checkpoint=fast"], ["--no-manifest"]),
    ],
)
def test_plain(client: int, middle: list[str], end: list[str]) -> None:
    assert words(client) == [*HEAD, *middle, *TALK, *end, DSN]


ALL = {
    "slot": "pg2", "checkpoint": "spread", "max_rate": "50M", "wal_method": "fetch", "wal_directory": "/wal",
    "tablespace_mapping": {"/b": "/x=y", "/a": "/c"}, "compress": "zstd:1", "manifest_checksums": "SHA256",
    "verify": True, "sync": False, "sync_method": "syncfs", "options": {"sslmode": "verify-full"},
}  # fmt: skip


def test_everything() -> None:
    assert words(170011, **ALL) == [
        *HEAD, "--wal-method=fetch", "--checkpoint=spread", *TALK, "--max-rate=50M", "--waldir=/wal",
        "--tablespace-mapping=/a=/c", "--tablespace-mapping=/b=/x\\=y", "--compress=server-zstd:1",
        "--manifest-checksums=SHA256", "--no-sync", "--sync-method=syncfs", "--slot=pg2", DSN + " sslmode=verify-full",
    ]  # fmt: skip
    check_knobs(request(**ALL), client=170011, server=170011)


def test_the_password_is_in_no_word() -> None:
    assert not [word for word in words(170011, **ALL) if "secret" in word]


def test_verifying_needs_the_manifest_of_the_program() -> None:
    assert "--no-manifest" not in words(150018, verify=True)


@pytest.mark.parametrize(
    ("asked", "client", "server", "said"),
    [
        ({"verify": True}, 150018, 120022, "verify needs PostgreSQL 13 or newer, and the upstream is PostgreSQL 12"),
        ({"compress": "lz4"}, 140022, 140022, "compress needs PostgreSQL 15 or newer, and the upstream is PostgreSQL 14"
         " and pg_basebackup on this host is of 14"),
        ({"compress": "client-gzip"}, 150018, 150018, "compress is 'client-gzip'"),
        ({"sync_method": "syncfs"}, 160000, 160000, "sync_method needs PostgreSQL 17 or newer"),
        ({"manifest_checksums": "CRC32C"}, 120022, 120022, "manifest_checksums needs PostgreSQL 13 or newer"),
        ({"sync": False}, 90624, 90624, "sync=false needs PostgreSQL 10 or newer"),
        ({"slot": "pg2"}, 90500, 90500, "slot needs PostgreSQL 9.6 or newer"),
        ({"verify": True, "manifest_checksums": "NONE"}, 180000, 180000, "would compare sizes alone"),
    ],
)  # fmt: skip
def test_what_a_version_lacks(asked: dict[str, t.Any], client: int, server: int, said: str) -> None:
    with pytest.raises(ReplicationError, match="Nothing was copied") as caught:
        check_knobs(request(**asked), client=client, server=server)
    assert said in caught.value.message


def test_a_newer_program_copies_an_older_server() -> None:
    check_knobs(request(slot="pg2", sync=False, sync_method="fsync"), client=180006, server=100023)
