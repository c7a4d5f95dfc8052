# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/versions.md from the collection's table of versions; a unit test compares the two.

make versions-page
"""

from __future__ import annotations

import sys
import textwrap
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / ".venv/collections"))

from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    CONNECTION_OPTIONS,
    FEATURES,
    PARAMETER_SPANS,
    SESSION_ATTRIBUTES,
    Span,
    floor_parameters,
)

PAGE = ROOT / "docs/versions.md"
MAJORS = range(10, 20)

#: What a user notices, and the entry of the table that decides it. Each entry of FEATURES is here or in INTERNAL.
CAPTIONS: dict[str, dict[str, str]] = {
    "What a standby follows": {
        "standby_signal": "`standby.signal`, settings of recovery among the parameters; before: `recovery.conf`",
        "recovery_target_timeline_latest": "`recovery_target_timeline: latest` among the managed settings",
        "conninfo_by_reload": "Another upstream, slot or option of the connection by a reload; before: one restart",
        "restore_command_by_reload": "Another `restore_command` by a reload; before: one restart",
        "passfile_in_conninfo": "A password file of the instance's own; before: the account's `~/.pgpass`",
        "senders_in_hot_standby": "`max_wal_senders` may not be lower on a standby than on its primary",
        "pg_promote": "`pg_promote()`",
        "doubled_locks": "`max_locks_per_transaction` is 128 where nobody sets it; before: 64",
    },
    "Synchronous replication": {
        "sync_keywords": "`mode: any`, a quorum",
        "several_sync_standbys": "`count` above 1",
        "remote_apply": "`commit: remote_apply`",
    },
    "Slots": {
        "slots": "Physical slots",
        "slot_wal_status": "A cap on what slots keep, and `wal_status`, which tells a slot at risk and a lost one",
        "slot_invalidation_reason": "Why a slot was invalidated",
        "slot_inactive_since": "Since when a slot is not used",
    },
    "TLS and passwords": {
        "scram": "`scram-sha-256`",
        "scram_by_default": "`scram-sha-256` unless `password_encryption` says otherwise",
        "tls_by_reload": "Certificates and keys by a reload; before: a restart",
        "clientcert_verify_full": "`clientcert=verify-full`; before: `clientcert=1`, which looks at the authority only",
        "address_in_certificate": "`verify-full` to an address in a certificate as such; before: written as a name",
    },
    "Base backups and rewinds": {
        "backup_manifest": "A manifest, and `pg_verifybackup`",
        "backup_server_compression": "Compression on the way",
        "basebackup_sync_method": "`sync_method`",
        "rewind_restores_wal": "WAL that a rewind needs, from the archive (`pgtandem_restore_command`)",
        "temporary_slot_in_backup": "A temporary slot during the copy",
    },
    "What can be seen": {
        "slot_failover": "Which logical slots are synchronised to standbys, and what keeps them from it; it takes a "
        "`dbname` in `primary_conninfo`, which the collection does not write",
        "sender_lag": "Lag in seconds of each standby, on its upstream",
        "sender_reply_time": "When a standby last answered",
        "wal_receiver_sender": "The address that a WAL receiver is connected to",
        "wal_receiver_written_lsn": "What a WAL receiver has written, besides what it has flushed",
        "replay_pause_state": "Whether replay is paused or about to be",
        "hba_file_rules": "The server's own judgement of `pg_hba.conf` before it is loaded",
        "pending_restart": "Which settings wait for a restart",
        "database_collation_version": "The version of the collation that a database was made with",
        "checksums_by_default": "Data checksums unless `initdb` is told otherwise",
    },
}
#: How an older version is asked, or told, the same: nothing that a user notices.
INTERNAL = frozenset(
    {
        "backend_type",
        "basebackup_no_sync",
        "basebackup_slot",
        "basebackup_wal_options",
        "bypass_row_security",
        "control_functions",
        "file_settings",
        "idle_session_timeout",
        "list_wal_directory",
        "logical_message",
        "postmaster_status",
        "read_replication_slot",
        "replica_wal_level",
        "session_encryption",
        "slot_active_pid",
        "slot_confirmed_flush",
        "slot_conflicting",
        "slot_reserve_at_once",
        "slot_sync_skip_reason",
        "slot_temporary",
        "slot_two_phase",
        "slot_two_phase_at",
        "wal_flush_position",
        "wal_names",
        "wal_receiver_view",
        "rewind_by_role",
        "rewind_config_file",
        "rewind_ensures_shutdown",
        "rewind_from_standby",
        "rewind_sees_promotion",
    }
)

HEAD = """<!--
Copyright (c) 2026, the pgtandem authors
GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
Written by tests/versions_page.py from plugins/module_utils/_versions.py: change that, then run make versions-page.
-->

# What each version of PostgreSQL has

The collection does the same on 10 to 19 wherever the version has it; this is what differs. The page is made from the
table that the code itself asks.
"""


def _marks(span: Span) -> str:
    return " | ".join("yes" if span.holds(major * 10000) else "–" for major in MAJORS)


def _table(what: str, rows: t.Mapping[str, Span]) -> list[str]:
    return [
        f"| {what} | {' | '.join(map(str, MAJORS))} |",
        f"| --- |{' --- |' * len(MAJORS)}",
        *(f"| {caption} | {_marks(span)} |" for caption, span in rows.items()),
        "",
    ]


def _differs(span: Span) -> bool:
    return len({span.holds(major * 10000) for major in MAJORS}) > 1


def page() -> str:
    """The page's text."""
    lines = [HEAD]
    for title, captions in CAPTIONS.items():
        lines += [f"## {title}", ""]
        lines += _table("", {caption: FEATURES[name] for name, caption in captions.items()})
    lines += ["## Parameters that only some versions have", ""]
    lines += [
        "A run stops before anything is touched where `pgtandem_parameters` has one that the version has not.",
        "",
    ]
    spans = {f"`{name}`": entry.span for name, entry in sorted(PARAMETER_SPANS.items()) if _differs(entry.span)}
    lines += _table("parameter", spans)
    lines += ["## Options of the connection that only some versions have", ""]
    lines += ["The others that `pgtandem_connection_options` takes are there in all:", ""]
    everywhere = [f"`{name}`" for name, span in CONNECTION_OPTIONS.items() if not _differs(span)]
    lines += [textwrap.fill(", ".join(sorted(everywhere)) + ".", 116), ""]
    options = {f"`{name}`": span for name, span in CONNECTION_OPTIONS.items() if _differs(span)}
    options.update(
        {f"`target_session_attrs={value}`": span for value, span in SESSION_ATTRIBUTES.items() if _differs(span)}
    )
    lines += _table("option", dict(sorted(options.items())))
    lines += ["## Parameters that a standby may not have lower than its primary", ""]
    oldest, newest = floor_parameters(MAJORS[0] * 10000), floor_parameters(MAJORS[-1] * 10000)
    names = {
        f"`{name}`": FEATURES["senders_in_hot_standby"] if name not in oldest else Span() for name in sorted(newest)
    }
    return "\n".join([*lines, *_table("parameter", names)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
