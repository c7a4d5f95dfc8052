# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may become of a data directory: a primary, a standby, a copy."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup.seed import decide
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import Login
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.instance import (
    InstanceRequest,
    Upstream,
    refusal,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.backup_command import (
    BaseBackupRequest,
    backup_command,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.control_data import ControlData
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    INCOMING,
    INCOMING_MARKER,
    DirectoryEvidence,
)

CONTROL = ControlData(
    system_identifier="77",
    state="in production",
    timeline=1,
    checkpoint_lsn="0/2000060",
    minimum_recovery_lsn="0/0",
    data_checksums=True,
    wal_log_hints=False,
    wal_level="replica",
    floors={},
)
FILES = ("PG_VERSION", "base", "global")
SEEN = {
    "absent": DirectoryEvidence("/data"),
    "empty": DirectoryEvidence("/data", exists=True),
    "incoming": DirectoryEvidence("/data", exists=True, entries=(INCOMING, INCOMING_MARKER), has_marker=True),
    "primary": DirectoryEvidence("/data", exists=True, entries=FILES, pg_version="17", control=CONTROL),
    "standby": DirectoryEvidence(
        "/data", exists=True, entries=FILES, pg_version="17", control=CONTROL, signal_files=("standby.signal",)
    ),
    "partial": DirectoryEvidence("/data", exists=True, entries=("PG_VERSION",), pg_version="17"),
    "foreign": DirectoryEvidence("/data", exists=True, entries=("notes.txt",)),
}
LATER = "a standby begins with a base backup"
REFUSED = [
    # state, as a primary, as a standby, as a standby in check mode
    ("absent", None, LATER, None),
    ("empty", None, LATER, None),
    ("incoming", None, LATER, None),
    ("primary", None, "it is asked to be a standby", "it is asked to be a standby"),
    ("standby", "it is asked to be a primary", None, None),
    ("partial", "Move it away", "Move it away", "Move it away"),
    ("foreign", "Move it away", "Move it away", "Move it away"),
]


@pytest.mark.parametrize(("state", "primary", "standby", "checked"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_an_instance_may_become(state: str, primary: str | None, standby: str | None, checked: str | None) -> None:
    one = InstanceRequest(parameters={}, hba_rules=(), login=Login())
    two = InstanceRequest(parameters={}, hba_rules=(), login=Login(), upstream=Upstream("pg1", 5432, "replica", "pg2"))
    for request, check_mode, expected in (
        (one, False, primary),
        (one, True, primary),
        (two, False, standby),
        (two, True, checked),
    ):
        said = refusal(request, SEEN[state], check_mode=check_mode)
        assert (expected in said) if expected and said else said == expected


COPIES = [
    # state, the upstream's system, what is done
    ("absent", "77", "copy"),
    ("empty", "77", "copy"),
    ("incoming", "77", "copy"),
    ("standby", "77", None),
    ("standby", None, None),
    ("standby", "88", "This directory follows another cluster"),
    ("primary", "77", "A base backup would destroy it"),
    ("primary", None, "A base backup would destroy it"),
    ("partial", "77", "Move it away"),
    ("foreign", "77", "Move it away"),
]


@pytest.mark.parametrize(("state", "system", "expected"), COPIES)
def test_what_a_copy_may_go_to(state: str, system: str | None, expected: str | None) -> None:
    request = BaseBackupRequest("pg1", 5432, "replica", None, "pg2", system_identifier=system)
    if expected in ("copy", None):
        assert decide(request, SEEN[state], None) == expected
        return
    with pytest.raises(ReplicationError, match=expected) as raised:
        decide(request, SEEN[state], None)
    assert raised.value.message.startswith("Nothing was copied: ")
    assert raised.value.details["data_directory_state"] == state


def test_the_words_of_a_copy() -> None:
    request = BaseBackupRequest(
        "fe80::1",
        5433,
        "re plica",
        "Zitrone",
        "pg2",
        checkpoint="spread",
        max_rate="32M",
        wal_directory="/wal",
        tablespace_mapping={"/b": "/y", "/a": "/x"},
        options={"sslmode": "verify-full"},
    )
    words = backup_command("/bin/pg_basebackup", request, directory="/data", passfile="/pass", client=120022)
    assert words == [
        "/bin/pg_basebackup", "--pgdata=/data", "--format=plain", "--wal-method=stream", "--checkpoint=spread",
        "--no-password", "--progress", "--verbose", "--max-rate=32M", "--waldir=/wal",
        "--tablespace-mapping=/a=/x", "--tablespace-mapping=/b=/y",
        "--dbname=host=fe80::1 port=5433 user='re plica' passfile=/pass application_name=pg2 "
        "keepalives_idle=20 keepalives_interval=10 keepalives_count=3 sslmode=verify-full",
    ]  # fmt: skip
    assert "Zitrone" not in str(words)
