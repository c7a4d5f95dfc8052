# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Fill a data directory in a way that a crash at any moment leaves either nothing, half a copy that is provably
ours, or the whole.

Everything grows in one folder inside the data directory. When it is whole, its entries move up, the control file's
folder last, since a server does not start without it. A lock on the data directory is held all the while, and by the
programs that fill it, so that it ends with the last of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory import (
    INCOMING,
    INCOMING_MARKER,
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._server import look_at_directory

_LAST = ("PG_VERSION", "global")


class Incoming:
    """A data directory that is being filled. Make one with C(filling)."""

    def __init__(self, host: Host, lock: int) -> None:
        self._host = host
        self._directory = host.instance.data_directory
        #: The descriptor that holds the lock; programs that write here inherit it.
        self.lock = lock
        #: Where the new cluster grows.
        self.path = f"{self._directory}/{INCOMING}"

    @property
    def _marker(self) -> str:
        return f"{self._directory}/{INCOMING_MARKER}"

    def _write_marker(self, content: t.Mapping[str, t.Any]) -> None:
        self._host.files.write_text(
            self._marker, json.dumps(content, sort_keys=True) + "\n", owner=self._host.instance.os_user, mode=0o600
        )

    def _read_marker(self) -> dict[str, t.Any]:
        try:
            found = json.loads(self._host.files.read_text(self._marker) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def is_whole(self, purpose: str) -> bool:
        """Whether an earlier run had everything for this purpose and was stopped while moving it up.

        What was whole for another purpose is not used, and once some of it has moved up it is not cleared either.
        """
        marker = self._read_marker()
        if marker.get("phase") != "whole":
            return False
        if marker.get("purpose") == purpose:
            return True
        moved = sorted(set(os.listdir(self._directory)) - {INCOMING, INCOMING_MARKER, "lost+found"})
        if moved:
            raise ReplicationError(
                f"{self._directory} holds the result of '{marker.get('purpose')}', which an earlier run was about to "
                f"finish, and now '{purpose}' is asked for. Nothing was changed. Run again with the inventory of that "
                "time, or move the directory away."
            )
        return False

    def begin(self, purpose: str) -> None:
        """Clear what an earlier run of ours left and say on disk what is about to be done, such as C(initdb)."""
        if os.path.lexists(self.path):
            shutil.rmtree(self.path)
        self._write_marker({"phase": "filling", "purpose": purpose, "started": time.time(), "pid": os.getpid()})

    def finish(self, purpose: str) -> None:
        """Move the whole cluster up. Safe to repeat from any point."""
        self._write_marker({"phase": "whole", "purpose": purpose})
        names = self._host.files.list_names(self.path)
        for name in [name for name in names if name not in _LAST] + [name for name in _LAST if name in names]:
            os.rename(f"{self.path}/{name}", f"{self._directory}/{name}")
        self._host.files.sync_folder(self._directory)
        if os.path.isdir(self.path):
            os.rmdir(self.path)
        self._host.files.remove_file(self._marker)


@contextlib.contextmanager
def filling(host: Host) -> t.Iterator[Incoming]:
    """Take the lock of a data directory that may be filled: absent, empty, or holding what we left half done."""
    directory = host.instance.data_directory
    if not os.path.lexists(directory):
        host.files.make_folder(directory, owner=host.instance.os_user, mode=0o700)
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReplicationError(
                f"Another run is filling {directory} right now (it holds the lock on that directory). "
                "Wait for its end and run again."
            ) from None
        # Only now nobody else can change it, so only now what was seen still counts.
        evidence = look_at_directory(host)
        if classify(evidence) not in (DirectoryState.EMPTY, DirectoryState.INCOMING):
            raise ReplicationError(
                f"Nothing was copied: {describe(evidence)}. It held nothing a moment ago, so another run is at work on "
                "it. Run again after that."
            )
        host.files.set_owner_and_mode(directory, owner=host.instance.os_user, mode=0o700)
        yield Incoming(host, lock)
    finally:
        os.close(lock)


@contextlib.contextmanager
def alone(host: Host, *, timeout: int) -> t.Iterator[None]:
    """Wait until no other run configures or starts this instance, and let none begin until the end."""
    lock = os.open(host.instance.data_directory, os.O_RDONLY | os.O_DIRECTORY)
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
