# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What is done in one open folder, by its descriptor: no name on the way to it is looked up a second time."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LONGEST_CHAIN = 40


class FileRefused(ReplicationError):
    """A file or folder that is not touched, and why."""


def open_folder(path: str) -> int:
    """A folder's descriptor, with the effective ids."""
    return os.open(path, _FOLDER)


@contextlib.contextmanager
def closing(descriptor: int) -> t.Iterator[int]:
    """Close a descriptor at the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _why_not_roots(found: os.stat_result) -> str | None:
    if found.st_uid != 0:
        return "it does not belong to root"
    if found.st_mode & 0o022:
        return "others than root may write in it"
    return None


def open_roots_folder(path: str) -> int:
    """A folder in which root alone can write, as can nobody else in any folder on the way; links of root are followed.

    Nobody but root can exchange anything on that way, so what is opened is what root put there.
    """
    chain = [os.open("/", os.O_PATH | os.O_CLOEXEC)]
    shown = ["/"]
    try:
        pending = path.split("/")[::-1]
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(chain) > 1:
                    os.close(chain.pop())
                    shown.pop()
                continue
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=chain[-1])
            chain.append(below)
            shown.append(os.path.join(shown[-1], name))
            found = os.fstat(below)
            if stat.S_ISLNK(found.st_mode) and found.st_uid == 0:
                links += 1
                if links > _LONGEST_CHAIN:
                    raise FileRefused(f"{path} leads through too many symbolic links.")
                target = os.readlink(name, dir_fd=chain[-2])
                os.close(chain.pop())
                shown.pop()
                while target.startswith("/") and len(chain) > 1:
                    os.close(chain.pop())
                    shown.pop()
                pending += target.split("/")[::-1]
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise FileRefused(f"{shown[-1]} is not a folder.")
            why = _why_not_roots(found)
            if why:
                raise FileRefused(f"{shown[-1]}: {why}.")
        return os.open(".", _FOLDER, dir_fd=chain[-1])
    finally:
        for descriptor in chain:
            os.close(descriptor)


def replace_in(folder: int, name: str, data: bytes, *, mode: int, owner: tuple[int, int] | None, durable: bool) -> None:
    """Replace a file in one step: readers see the old one or the new one, also after a power cut.

    An existing file keeps its owner and group as far as the effective ids may give them; C(owner) is that of a new one.
    """
    before = _stat_in(folder, name)
    if before is not None and stat.S_ISDIR(before.st_mode):
        raise FileRefused(f"{name} is a folder where a file is to be written. Nothing was done with it.")
    _remove_leftovers(folder, name)
    temporary = f".{name}.{os.urandom(4).hex()}"
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
    )
    try:
        with closing(descriptor):
            if before is not None and stat.S_ISREG(before.st_mode):
                mode = _keep_owner(descriptor, before, mode)
            elif owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
    if durable:
        os.fsync(folder)


def _keep_owner(descriptor: int, before: os.stat_result, mode: int) -> int:
    """Give a file the owner and group of the one before. Without them it is not open to the new group."""
    if os.geteuid() == 0:
        os.fchown(descriptor, before.st_uid, before.st_gid)
        return mode
    try:
        os.fchown(descriptor, -1, before.st_gid)
    except PermissionError:
        return mode & ~0o070
    return mode


def _stat_in(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove_leftovers(folder: int, name: str) -> None:
    """Remove what a run that was killed while it wrote the same file left beside it."""
    leftover = re.compile(re.escape(f".{name}.") + "[a-z0-9_]{8}")
    for found in os.listdir(folder):
        if leftover.fullmatch(found):
            os.unlink(found, dir_fd=folder)


def make_folder_in(folder: int, name: str, *, mode: int, owner: tuple[int, int] | None) -> None:
    """Make one folder and give exactly that one, by its descriptor, to its owner."""
    os.mkdir(name, 0o700, dir_fd=folder)
    with closing(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)) as made:
        if owner is not None:
            os.fchown(made, *owner)
        os.fchmod(made, mode)
        os.fsync(made)
    os.fsync(folder)


#: PostgreSQL's own trees have three levels.
_DEEPEST = 100


def remove_tree_in(folder: int, name: str, *, depth: int = 0) -> None:
    """Remove whatever has this name. No link is followed, and no other file system is entered."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    if depth > _DEEPEST:
        raise FileRefused(f"Folders lie {_DEEPEST} deep in each other, and were not removed. Remove them yourself.")
    with closing(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)) as inner:
        if os.fstat(inner).st_dev != os.fstat(folder).st_dev:
            raise FileRefused(
                f"The folder {name} is a file system of its own, so it was not removed. Empty and unmount it, and run "
                "again."
            )
        remove_contents(inner, depth=depth + 1)
    os.rmdir(name, dir_fd=folder)


def remove_contents(folder: int, *, but: t.Container[str] = (), depth: int = 0) -> None:
    """Remove everything in a folder but some names."""
    for name in os.listdir(folder):
        if name not in but:
            with contextlib.suppress(FileNotFoundError):
                remove_tree_in(folder, name, depth=depth)
