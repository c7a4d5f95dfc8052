# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Find a server's log: the logging collector's current file, the file it was started with, or the journal."""

from __future__ import annotations

import os
import shutil

from ansible_collections.pgtandem.replication.plugins.module_utils._host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused

#: Enough to hold the last few attempts of a WAL receiver, which come every five seconds.
LINES = 50


def recent_log(host: Host) -> list[str]:
    """The last lines of the instance's log, empty where none is found or may be read."""
    directory = host.instance.data_directory
    try:
        named = (host.files.read_text(f"{directory}/current_logfiles") or "").replace("\0", "")
    except (OSError, FileRefused):
        named = ""
    # Each line is a format and a path (manual, Error Reporting and Logging); stderr is the one for people.
    places = [line.split(" ", 1)[1] for line in sorted(named.splitlines(), reverse=True) if " " in line]
    for place in [os.path.join(directory, place) for place in places] + [host.instance.log_file]:
        lines = host.files.tail(place, lines=LINES)
        if lines:
            return lines
    if host.instance.manager != "systemd" or shutil.which("journalctl") is None:
        return []
    answer = host.runner.run(
        ["journalctl", "-u", host.instance.service, "-n", str(LINES), "--no-pager", "-o", "cat"], check=False
    )
    return answer.stdout.splitlines() if answer.status == 0 else []
