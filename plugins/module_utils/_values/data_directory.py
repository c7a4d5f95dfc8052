# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a data directory is: decided from what lies in it, before anything touches it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from enum import Enum

from ansible_collections.pgtandem.replication.plugins.module_utils._values.control_data import ControlData

#: A base backup grows in this folder inside the data directory and is moved up once it is whole, so that half a copy
#: can never be taken for a cluster, on whatever file system the data directory is.
INCOMING = "pgtandem-incoming"
#: Beside it: who is copying what, written before the copy begins. It proves that the folder is ours.
INCOMING_MARKER = "pgtandem-incoming.json"
#: Beside both: the folder of the job that fills it.
JOB = "pgtandem-job"

#: Beside the data directory, its name with this at the end: what a rewind put away, and how far it is. It proves that
#: the directory is between two states while the rewind is at work or was cut short.
REWIND_FOLDER = ".pgtandem-rewind"
REWIND_STATE = "state.json"

#: Beside a folder that was set aside to be replaced, its name with this at the end; and what was set aside.
ASIDE = ".pgtandem-aside"
ASIDE_JOURNAL = ".pgtandem-aside.json"

#: Beside the data directory: whom a run was about to promote.
CLAIM = ".pgtandem-claim.json"

#: A file system's own entries, which a fresh mount point holds.
NOT_DATA = frozenset({"lost+found"})


class DirectoryState(str, Enum):
    """The states of a data directory; each has an outcome and a message of its own."""

    ABSENT = "absent"
    EMPTY = "empty"
    #: Half a base backup of this collection's making, proven by its marker.
    INCOMING = "incoming"
    #: A cluster that would start, or runs, as a standby.
    STANDBY = "standby"
    #: A cluster that would start, or runs, as a primary.
    PRIMARY = "primary"
    #: A cluster of which a rewind of this collection's making has replaced a part.
    REWINDING = "rewinding"
    #: Files of a cluster without a control file: half a copy that somebody else made.
    PARTIAL = "partial"
    #: Anything else.
    FOREIGN = "foreign"


@dataclass(frozen=True)
class DirectoryEvidence:
    """What was seen in a data directory; nothing is decided here."""

    path: str
    exists: bool = False
    is_directory: bool = True
    entries: tuple[str, ...] = ()
    has_marker: bool = False
    pg_version: str | None = None
    control: ControlData | None = None
    #: standby.signal, recovery.signal or recovery.conf.
    signal_files: tuple[str, ...] = ()
    running_pid: int | None = None
    #: How far a rewind of it is, where one was begun and not finished.
    rewind_phase: str | None = None


def classify(evidence: DirectoryEvidence) -> DirectoryState:
    """The state that the evidence shows."""
    if not evidence.exists:
        return DirectoryState.ABSENT
    if not evidence.is_directory:
        return DirectoryState.FOREIGN
    entries = set(evidence.entries) - NOT_DATA
    if not entries:
        return DirectoryState.EMPTY
    if INCOMING in entries or INCOMING_MARKER in entries:
        return DirectoryState.INCOMING if evidence.has_marker else DirectoryState.FOREIGN
    if evidence.rewind_phase is not None:
        return DirectoryState.REWINDING
    if evidence.control is not None:
        return DirectoryState.STANDBY if evidence.signal_files else DirectoryState.PRIMARY
    if evidence.pg_version is not None or "backup_label" in entries:
        return DirectoryState.PARTIAL
    return DirectoryState.FOREIGN


def describe(evidence: DirectoryEvidence) -> str:
    """One clause that says what was found, for messages.

    >>> describe(DirectoryEvidence("/data", exists=True, entries=("notes.txt",)))
    "/data holds files that are not PostgreSQL's (notes.txt)"
    """
    state = classify(evidence)
    path = evidence.path
    if state is DirectoryState.ABSENT:
        return f"{path} does not exist"
    if state is DirectoryState.EMPTY:
        return f"{path} is empty"
    if state is DirectoryState.INCOMING:
        return f"{path} holds an unfinished base backup of this collection"
    if state is DirectoryState.REWINDING:
        return f"{path} holds a cluster whose rewind was begun and is not finished; it must not be started"
    if state is DirectoryState.PARTIAL:
        return (
            f"{path} holds files of a PostgreSQL {evidence.pg_version or ''} cluster without global/pg_control: "
            "half a copy that something else made"
        )
    if state is DirectoryState.FOREIGN:
        if not evidence.is_directory:
            return f"{path} is not a directory"
        shown = ", ".join(sorted(evidence.entries)[:3]) + (", ..." if len(evidence.entries) > 3 else "")
        return f"{path} holds files that are not PostgreSQL's ({shown})"
    control = t.cast(ControlData, evidence.control)
    role = "a standby" if state is DirectoryState.STANDBY else "a primary"
    running = f"running as process {evidence.running_pid}" if evidence.running_pid else "not running"
    return (
        f"{path} holds {role} of system {control.system_identifier} "
        f"(PostgreSQL {evidence.pg_version}, control file says '{control.state}', {running})"
    )
