# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Make a data directory a standby's, before anybody can start it."""

from __future__ import annotations

from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import parse_lines
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import STANDBY_SETTINGS, supports


def mark_as_standby(host: Host, directory: str) -> None:
    """Mark the copy as a standby before anybody can start it: without the mark it would be a second primary."""
    name, text = (
        ("standby.signal", "")
        if supports(host.instance.version, "standby_signal")
        else (
            "recovery.conf",
            "standby_mode = 'on'\n",
        )
    )
    host.files.write_text(f"{directory}/{name}", text, mode=0o600)
    path = f"{directory}/postgresql.auto.conf"
    before = host.files.read_text(path)
    if before is None:
        return
    stale = {setting.line for setting in parse_lines(before, path) if setting.name in STANDBY_SETTINGS}
    if stale:
        kept = [line for number, line in enumerate(before.splitlines(keepends=True), 1) if number not in stale]
        host.files.write_text(path, "".join(kept), mode=0o600)
