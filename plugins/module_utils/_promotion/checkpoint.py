# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The first checkpoint of a new timeline (manual, CHECKPOINT; pg_rewind)."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import since_text, supports


def ensure_checkpoint(database: Database, *, check_mode: bool) -> dict[str, t.Any]:
    """Run CHECKPOINT where the last one is of an older timeline than the server writes."""
    if not supports(database.version, "wal_names"):
        raise ReplicationError(f"pg_checkpoint needs PostgreSQL {since_text('wal_names')} or newer.")
    row = database.row(
        "SELECT (SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline, "
        "CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS walfile"
    )
    seen = t.cast("dict[str, t.Any]", row)
    before = int(seen["checkpoint_timeline"])
    timeline = int(seen["walfile"][:8], 16) if seen["walfile"] else before
    actions = [f"write a checkpoint on timeline {timeline}"] if timeline != before else []
    if actions and not check_mode:
        database.execute("CHECKPOINT")
    return {"changed": bool(actions), "timeline": timeline, "checkpoint_timeline": before, "actions": actions}
