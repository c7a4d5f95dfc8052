# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Find a server's log, whatever collects it: the logging collector in any format, the file or the unit that it was
started with, or syslog."""

from __future__ import annotations

import os
import shutil
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server_settings import read_server_settings
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._values.log_text import (
    last_messages,
    plain_lines,
    stops_a_process,
    why_it_ended,
)

#: Enough to hold the last few attempts of a WAL receiver, which come every five seconds, among logged statements.
LINES = 2000
LIMIT = 1 << 20


def recent_log(host: Host) -> list[str]:
    """The last lines of the instance's log, empty where none is found or may be read."""
    for place, kind in [*_collected(host), (host.instance.log_file, "stderr")]:
        lines = plain_lines(_read(host, place, 0), kind)[-LINES:]
        if lines:
            return lines
    return _journal(host, ["-n", str(LINES)]) or _syslog(host, ["-n", str(LINES)])


class LogMark(t.NamedTuple):
    """How far each log was at a moment."""

    sizes: t.Mapping[str, int]
    moment: float

    def lines_since(self, host: Host) -> list[str]:
        """What the server has said since, wherever it says it."""
        collected: list[str] = []
        for place, kind in _collected(host):
            # The same in another format is not needed.
            collected = collected or plain_lines(self._new(host, place), kind)
        lines = self._new(host, host.instance.log_file).splitlines() + collected
        if any(stops_a_process(line) for line in lines):
            return lines
        since = [f"--since=@{int(self.moment)}", "-n", str(LINES)]
        told = _journal(host, since)
        return lines + told + ([] if any(stops_a_process(line) for line in told) else _syslog(host, since))

    def _new(self, host: Host, place: str) -> str:
        return _read(host, place, self.sizes.get(place, 0))


def mark_log(host: Host) -> LogMark:
    """Before a start: what is there by now says nothing about it."""
    places = [host.instance.log_file, *(place for place, _kind in _collected(host))]
    found = {place: _stat_size(host, place) for place in places}
    return LogMark(found, time.time())


def start_messages(host: Host, mark: LogMark, *, ended: bool) -> list[str]:
    """What a server said of its start since C(mark): where it C(ended), why."""
    lines = mark.lines_since(host)
    return why_it_ended(lines) if ended else last_messages(lines)


def _stat_size(host: Host, place: str) -> int:
    try:
        status = host.files.stat(place)
    except (OSError, FileRefused):
        return 0
    return status.st_size if status is not None else 0


def _read(host: Host, place: str, since: int) -> str:
    """A log's end, and no more than what came after so many bytes; one that is shorter by now is another one."""
    size = _stat_size(host, place)
    first = max(since if since <= size else 0, size - LIMIT)
    try:
        return (host.files.read_part(place, offset=first, count=LIMIT) or b"").decode("utf-8", "replace")
    except (OSError, FileRefused):
        return ""


def _collected(host: Host) -> list[tuple[str, str]]:
    """The logging collector's files, with their formats."""
    directory = host.instance.data_directory
    try:
        named = (host.files.read_text(f"{directory}/current_logfiles") or "").replace("\0", "")
    except (OSError, FileRefused):
        return []
    # Each line is a format and a path (manual, Error Reporting and Logging); stderr is the one for people.
    pairs = [line.split(" ", 1) for line in sorted(named.splitlines(), reverse=True) if " " in line]
    return [(os.path.join(directory, place), kind) for kind, place in pairs]


def _journal(host: Host, words: list[str]) -> list[str]:
    if host.instance.manager != "systemd":
        return []
    return _journalctl(host, ["-u", host.instance.service, *words])


def _syslog(host: Host, words: list[str]) -> list[str]:
    """Where the server was told to write there, and the system has a journal of it."""
    try:
        said = read_server_settings(host).winners()
    except (OSError, ReplicationError):
        return []
    if "log_destination" not in said or "syslog" not in said["log_destination"].value:
        return []
    name = said["syslog_ident"].value if "syslog_ident" in said else "postgres"
    return _journalctl(host, [f"--identifier={name}", *words])


def _journalctl(host: Host, words: list[str]) -> list[str]:
    if shutil.which("journalctl") is None:
        return []
    answer = host.runner.run(["journalctl", *words, "--no-pager", "-o", "cat"], check=False)
    return answer.stdout.splitlines() if answer.status == 0 else []
