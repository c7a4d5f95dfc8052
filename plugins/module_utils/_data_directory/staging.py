# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Fill a data directory in a way that a crash at any moment leaves either nothing, half a copy that is provably
ours, or the whole.

Everything grows in one folder inside the data directory. When it is whole, its entries move up, the control file's
folder last, since a server does not start without it. A lock on the data directory is held all the while, and by the
programs that fill it, so that it ends with the last of them. Folders elsewhere, of tablespaces and of the WAL, are
written down before anything is put into them, and only what was absent or empty then is ever cleared.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.copy_program import (
    COPIED,
    FAILED,
    FILLING,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import look_at_directory
from ansible_collections.pgtandem.replication.plugins.module_utils._system.state_file import (
    StateFile,
    dict_of,
    is_flag,
    is_line,
    is_number,
    is_path,
    is_text,
    is_whole,
    like,
    list_of,
    one_of,
    or_none,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    INCOMING,
    INCOMING_MARKER,
    JOB,
    NOT_DATA,
    DirectoryState,
    classify,
    describe,
)

#: Everything has arrived and is being moved up.
WHOLE = "whole"
#: Everything is being deleted to make room, as the user said.
CLEARING = "clearing"

_LAST = ("PG_VERSION", "global")
#: What a base backup puts into the folder of a tablespace or of the WAL; nothing else is cleared there.
_OURS_ELSEWHERE = re.compile(
    r"^(PG_[0-9.]+_\d+|[0-9A-F]{24}(\.partial|\.tmp)?|[0-9A-F]{8}\.history(\.tmp)?|archive_status|summaries)$"
)


MARKER_FILE = StateFile(
    "what a data directory is filled with",
    {
        "phase": one_of(FILLING, COPIED, FAILED, WHOLE, CLEARING),
        "purpose": is_line,
        "started": is_number,
        "ended": is_number,
        "copied": is_whole,
        "message": or_none(is_text),
        "elsewhere": list_of(dict_of(path=is_path, existed=is_flag)),
        "job": like("[0-9a-f]{12}"),
        # The one pattern that _job makes: anything else is not ours to stop.
        "unit": or_none(like(r"pgtandem-basebackup-\d{1,5}-\d{1,12}\.scope")),
        "upstream": is_line,
        "system_identifier": or_none(like(r"\d{1,20}")),
    },
)


class Elsewhere(t.NamedTuple):
    """A folder outside the data directory that is filled too."""

    path: str
    #: Empty when we began; otherwise it was absent.
    existed: bool


class Incoming:
    """A data directory that is being filled. C(lock) is the descriptor that holds its lock."""

    def __init__(self, host: Host, lock: int) -> None:
        self._host = host
        self._directory = host.instance.data_directory
        #: Programs that write here inherit it.
        self.lock = lock
        #: Where the new cluster grows.
        self.path = f"{self._directory}/{INCOMING}"
        #: What the job needs: its program, its password file, its log.
        self.folder = f"{self._directory}/{JOB}"
        #: What is on disk about it.
        self.marker_path = f"{self._directory}/{INCOMING_MARKER}"

    def _write_marker(self, content: t.Mapping[str, t.Any]) -> None:
        MARKER_FILE.write(self._host.files, self.marker_path, content)

    def marker(self) -> dict[str, t.Any]:
        """What is on disk about the filling, empty where there is nothing."""
        return read_marker(self._host)

    def is_whole(self, purpose: str) -> bool:
        """Whether an earlier run had everything for this purpose and was stopped before all of it was moved up.

        What was whole for another purpose is not used, and once some of it has moved up it is not cleared either.
        """
        marker = self.marker()
        if marker.get("phase") not in (COPIED, WHOLE):
            return False
        if marker.get("purpose") == purpose:
            return True
        if self.is_moving() and self._others():
            raise ReplicationError(
                f"{self._directory} holds the result of '{marker.get('purpose')}', which an earlier run was about to "
                f"finish, and now '{purpose}' is asked for. The directory was left as it is. Run "
                "again with the inventory of that time, or move the directory away."
            )
        return False

    def _others(self) -> set[str]:
        """What lies in the data directory beside the copy itself."""
        return set(self._host.files.list_names(self._directory)) - {INCOMING, INCOMING_MARKER, JOB} - NOT_DATA

    def is_moving(self) -> bool:
        """Whether some of it may have been moved up already."""
        return self.marker().get("phase") == WHOLE

    def begin(self, purpose: str, *, elsewhere: t.Sequence[Elsewhere] = (), **facts: t.Any) -> None:
        """Clear what an earlier run of ours left and say on disk what is about to be done, such as C(initdb)."""
        self.clear([place.path for place in elsewhere])
        self._write_marker(
            dict(
                facts,
                phase=FILLING,
                purpose=purpose,
                started=time.time(),
                elsewhere=[{"path": place.path, "existed": place.existed} for place in elsewhere],
            )
        )
        for place in elsewhere:
            if not place.existed:
                self._host.files.make_folder(place.path, mode=0o700)
            elif not self._host.files.is_owners(place.path):
                self._host.files.take_folder(place.path, mode=0o700)

    def clear(self, computed: t.Iterable[str] = ()) -> None:
        """Remove what an earlier filling left; the marker stays until the next one begins or nothing is left to do.

        C(computed) are the folders outside that this run fills by itself: a copy links to them only at its end.
        """
        self._clear_all_elsewhere(self.path, computed)
        for path in (self.path, self.folder):
            self._host.files.remove_tree(path)

    def clear_everything(self, elsewhere: t.Sequence[str] = ()) -> None:
        """Delete a whole data directory that the user named, to make room for its copy. Safe to repeat."""
        if self.marker().get("phase") != CLEARING:
            places = [{"path": path, "existed": True} for path in elsewhere]
            self._write_marker({"phase": CLEARING, "started": time.time(), "elsewhere": places})
        control = f"{self._directory}/global/pg_control"
        if self._host.files.lies(control):
            # First, since without it no server starts on what is left.
            self._host.files.remove_file(control)
        self._clear_all_elsewhere(self._directory)
        self._host.files.remove_entries(self._directory, but={INCOMING_MARKER} | NOT_DATA)

    def _clear_all_elsewhere(self, cluster: str, computed: t.Iterable[str] = ()) -> None:
        """Clear the folders outside that are noted, as far as they are what this run computes or what this very
        cluster's own links lead to."""
        linked = {*linked_folders(self._host, cluster), *map(self._host.files.real_path, computed)}
        for place in self.marker().get("elsewhere", ()):
            self._clear_elsewhere(
                Elsewhere(place["path"], place["existed"]), whole=self._host.files.real_path(place["path"]) in linked
            )

    def _clear_elsewhere(self, place: Elsewhere, *, whole: bool) -> None:
        files = self._host.files
        if not files.is_folder(place.path) or files.is_link(place.path):
            return
        if whole:
            strange = {name for name in files.list_names(place.path) if not _OURS_ELSEWHERE.match(name)}
            files.remove_entries(place.path, but=strange)
        if not place.existed and not files.list_names(place.path):
            files.remove_folder(place.path)

    def finish(self, purpose: str) -> None:
        """Move the whole cluster up. Safe to repeat from any point."""
        names = self._host.files.list_names(self.path)
        present = self._others()
        # Renaming replaces, and what somebody else put here meanwhile is theirs.
        strange = present.intersection(names) if self.is_moving() else present
        if strange:
            raise ReplicationError(
                f"The copy in {self.path} is whole, but {self._directory} holds {', '.join(sorted(strange)[:3])} "
                "meanwhile, which nobody of this collection put there. Take that away and run again; the copy is kept."
            )
        self._write_marker(dict(self.marker(), phase=WHOLE, purpose=purpose))
        for name in [name for name in names if name not in _LAST] + [name for name in _LAST if name in names]:
            self._host.files.rename(f"{self.path}/{name}", f"{self._directory}/{name}")
        self._host.files.sync_folder(self._directory)
        for path in (self.path, self.folder):
            self._host.files.remove_tree(path)
        self._host.files.remove_file(self.marker_path)


def linked_folders(host: Host, cluster: str) -> list[str]:
    """The folders outside to which a cluster's links lead: its WAL's and its tablespaces'."""
    links = [f"{cluster}/{name}" for name in ("pg_wal", "pg_xlog")]
    links += [f"{cluster}/pg_tblspc/{name}" for name in host.files.list_names(f"{cluster}/pg_tblspc")]
    return [host.files.real_path(link) for link in links if host.files.is_link(link)]


def read_marker(host: Host) -> dict[str, t.Any]:
    """The marker of a data directory, empty where there is none."""
    return MARKER_FILE.read(host.files, f"{host.instance.data_directory}/{INCOMING_MARKER}")


def try_lock(host: Host, directory: str) -> int | None:
    """The lock of a data directory, None while somebody else has it or there is no directory. Close it to end it."""
    try:
        lock = host.files.open_folder(directory)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have set that directory aside.
        same = host.files.is_same(lock, directory)
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    if not same:
        os.close(lock)
        return None
    return lock


@contextlib.contextmanager
def filling(host: Host) -> t.Iterator[Incoming]:
    """Take the lock of a data directory that may be filled: absent, empty, or holding what we left half done."""
    directory = host.instance.data_directory
    if not host.files.lies(directory):
        host.files.make_folder(directory, mode=0o700)
    lock = try_lock(host, directory)
    if lock is None:
        raise ReplicationError(
            f"Another run is filling {directory} right now (it holds the lock on that directory). "
            "Wait for its end and run again."
        )
    try:
        # Only now nobody else can change it, so only now what was seen still counts.
        evidence = look_at_directory(host)
        if classify(evidence) not in (DirectoryState.EMPTY, DirectoryState.INCOMING):
            raise ReplicationError(
                f"Nothing was copied: {describe(evidence)}. It held nothing a moment ago, so another run is at work on "
                "it. Run again after that."
            )
        host.files.take_folder(directory, mode=0o700)
        yield Incoming(host, lock)
    finally:
        os.close(lock)


@contextlib.contextmanager
def alone(host: Host, *, timeout: int) -> t.Iterator[None]:
    """Wait until no other run configures or starts this instance, and let none begin until the end."""
    lock = host.files.open_folder(host.instance.data_directory)
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ReplicationError(
                        f"Another run has been at work on {host.instance.data_directory} for {timeout} s (it holds the "
                        "lock on that directory). Wait for its end and run again."
                    ) from None
            time.sleep(0.1)
        yield
    finally:
        os.close(lock)
