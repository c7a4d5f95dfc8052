# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The way out to files: reads that never fail for a missing file, writes that survive a power cut."""

from __future__ import annotations

import os
import re
import stat
import tempfile

from ansible_collections.pgtandem.replication.plugins.module_utils._runner import account


class Files:
    """Files of this host. C(owner) is the account that PostgreSQL runs as."""

    def read_text(self, path: str) -> str | None:
        """A file's text, None where there is none."""
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                return stream.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list_names(self, path: str) -> list[str]:
        """The names in a folder, empty where there is none."""
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def mode(self, path: str) -> int | None:
        """The permission bits, None where nothing is there."""
        try:
            return stat.S_IMODE(os.stat(path).st_mode)
        except FileNotFoundError:
            return None

    def owned_by(self, path: str, owner: str) -> bool:
        """Whether an account owns what is at the path."""
        try:
            return os.stat(path).st_uid == account(owner).pw_uid
        except FileNotFoundError:
            return False

    def write_text(self, path: str, text: str, *, owner: str | None, mode: int, durable: bool = True) -> None:
        """Replace a file in one step: readers see the old text or the new one, also after a power cut.

        Without C(durable) a power cut may take the file away, which saves waiting for a disk that is busy.

        An existing file keeps its owner; its mode becomes C(mode). C(owner) None means whoever runs this.
        """
        # Through a symbolic link the file it names is replaced, not the link; that may be on another file system.
        path = os.path.realpath(path)
        folder = os.path.dirname(path)
        self._remove_leftovers(folder, os.path.basename(path))
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix="." + os.path.basename(path) + ".")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                os.fchmod(stream.fileno(), mode)
                self._give(stream.fileno(), path, owner)
                stream.write(text)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        if durable:
            self.sync_folder(folder)

    def _remove_leftovers(self, folder: str, name: str) -> None:
        """Remove what a run that was killed while it wrote the same file left beside it."""
        leftover = re.compile(re.escape(f".{name}.") + "[a-z0-9_]{8}")
        for found in os.listdir(folder):
            if leftover.fullmatch(found):
                os.unlink(f"{folder}/{found}")

    def _give(self, descriptor: int, path: str, owner: str | None) -> None:
        if os.geteuid() != 0:
            return
        if os.path.exists(path):
            before = os.stat(path)
            os.fchown(descriptor, before.st_uid, before.st_gid)
        elif owner is not None:
            entry = account(owner)
            os.fchown(descriptor, entry.pw_uid, entry.pw_gid)

    def make_folder(self, path: str, *, owner: str, mode: int) -> None:
        """Make a folder, and what is missing above it: those become the owner's too, open for others to pass."""
        missing = []
        parent = os.path.dirname(path)
        while not os.path.isdir(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        for folder in reversed(missing):
            os.mkdir(folder)
            self.set_owner_and_mode(folder, owner=owner, mode=0o755)
        if not os.path.isdir(path):
            os.mkdir(path, mode)
        self.set_owner_and_mode(path, owner=owner, mode=mode)

    def set_owner_and_mode(self, path: str, *, owner: str, mode: int) -> None:
        """Give a file or folder its owner (from root) and its permission bits."""
        os.chmod(path, mode)
        if os.geteuid() == 0:
            entry = account(owner)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def remove_file(self, path: str) -> None:
        """Remove one file, durably."""
        os.unlink(path)
        self.sync_folder(os.path.dirname(path))

    def sync_folder(self, path: str) -> None:
        """Make a rename or a removal in a folder durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def tail(path: str, *, lines: int = 20, limit: int = 65536) -> list[str]:
    """The last lines of a log, empty where there is none."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - limit))
            text: str = stream.read().decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return text.splitlines()[-lines:]
