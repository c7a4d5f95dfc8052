# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The one way to a host's files. PostgreSQL's account may have put anything there, and exchange it meanwhile.

`Files` does everything with the effective ids and the groups of that account, so that the kernel refuses what the
account may not do itself. Where the account lacks the right, root helps only in a folder in which root alone can write,
as in every folder above it, and only at places that the inventory names. `RootFiles` is for root's own places.
Reads take regular files only, up to a limit, and never wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import (
    FileRefused,
    closing,
    make_folder_in,
    open_folder,
    open_roots_folder,
    remove_contents,
    remove_tree_in,
    replace_in,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import (
    NOBODY,
    Identity,
    acting_as,
    identity_of,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import account

#: The longest configuration file that is read; to go through one of 10 MB takes a quarter of a minute.
LIMIT = 4 * 1024 * 1024
_MISSING = (FileNotFoundError, NotADirectoryError)
#: What a file system makes by itself, so that a fresh mount point is as good as empty.
_NOT_DATA = frozenset({"lost+found"})
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

#: Where everybody may make folders.
_SCRATCH_PLACES = ("/tmp", "/var/tmp")  # noqa: S108
#: What root says to itself when it asks whether it would help.
_DENIED = PermissionError(errno.EACCES, "Permission denied")


def _require_absolute(path: str) -> None:
    """What lies above a relative path has no end."""
    if not path.startswith("/"):
        raise FileRefused(f"{path!r} is not an absolute path, so no folder is made there.")


def _shown_kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def _open_regular(path: str, flags: int, mode: int = 0o600) -> int:
    """A regular file's descriptor. What is something else is refused before it is read, and never waited for."""
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    except IsADirectoryError:
        raise FileRefused(f"{path} is a folder, and a file is expected. Nothing was done with it.") from None
    except OSError:
        # A socket, a pipe that nobody reads, or a link that is not to be followed, is not even opened.
        found = _stat(path, follow=not flags & os.O_NOFOLLOW)
        if found is None or stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            raise
        raise FileRefused(
            f"{path} is {_shown_kind(found.st_mode)}, and a file is expected. Nothing was done with it."
        ) from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise FileRefused(f"{path} is {_shown_kind(found.st_mode)}, and a file is expected. Nothing was done with it.")
    return descriptor


def _stat(path: str, *, follow: bool = True) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow)
    except _MISSING:
        return None


def _read(descriptor: int, path: str, limit: int) -> bytes:
    parts, left = [], limit + 1
    while left:
        part = os.read(descriptor, min(left, 1 << 20))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    if not left:
        raise FileRefused(f"{path} is larger than {limit} bytes, so it was not read. Look at what it is.")
    return b"".join(parts)


def _text(data: bytes) -> str:
    """Lines end as Python has them, whatever wrote them."""
    return data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")


class Files:
    """Files of this host, as `owner` sees them, the account that PostgreSQL runs as; without one, as who runs this.

    `named` are the paths that the inventory or a layout names: there, and beside them, root helps in its own folders.
    """

    def __init__(self, owner: str | None = None, *, named: t.Iterable[str] = ()) -> None:
        self.owner = owner
        self._named = tuple(os.path.normpath(path) for path in named if path)

    def naming(self, paths: t.Iterable[str]) -> Files:
        """The same files with more paths that the inventory names."""
        return Files(self.owner, named=(*self._named, *paths))

    # --- whose ids ---

    def identity(self) -> Identity:
        """The account's ids, those of nobody where it is not there yet."""
        if self.owner is None:
            return Identity(os.geteuid(), os.getegid(), ())
        try:
            return identity_of(self.owner)
        except ReplicationError:
            return NOBODY

    def program_owner(self) -> str | None:
        """As whom root runs a program that the account may have put there; None: as who runs this."""
        if os.geteuid() != 0 or self.owner is None:
            return None
        return "nobody" if self.identity() is NOBODY else self.owner

    @contextlib.contextmanager
    def acting(self) -> t.Iterator[None]:
        """A section with the account's ids. No import in it, and no program."""
        with acting_as(self.identity()):
            try:
                yield
            except ValueError as error:
                if "embedded null" not in str(error):
                    raise
                raise FileRefused(
                    f"A file of {self.owner or 'this account'} names a path with a NUL byte in it, which nothing can "
                    "have. Look for it in the server's configuration."
                ) from None

    def _owner_ids(self) -> tuple[int, int] | None:
        """Whom something that root makes is given to."""
        if os.geteuid() != 0 or self.owner is None:
            return None
        identity = identity_of(self.owner)
        return identity.uid, identity.gid

    def _is_named(self, path: str) -> bool:
        path = os.path.normpath(path)
        return any(
            path == named or path.startswith((f"{named}/", f"{named}.")) or named.startswith(f"{path}/")
            for named in self._named
        )

    @contextlib.contextmanager
    def _roots_folder(self, path: str, denied: OSError, *, named: bool = True) -> t.Iterator[tuple[int, str]]:
        """The folder of a path as root has it, and the name in it, where root may help; otherwise the refusal.

        Without `named` the place need not be named: the caller sees that what is there is the account's own.
        """
        folder, name = os.path.split(path)
        if os.geteuid() != 0 or self.owner is None:
            raise denied
        refusal = f"{self.owner} may not do this with {path} ({denied.strerror})"
        if named and not self._is_named(path):
            raise FileRefused(
                f"{refusal}, and the inventory does not name that place, so root does not do it in its stead. Name it "
                f"in the inventory, or give {folder} to {self.owner}."
            ) from denied
        try:
            descriptor = open_roots_folder(folder)
        except FileRefused as error:
            raise FileRefused(
                f"{refusal}, and root does not do it in its stead: {error.message} Give {folder} to {self.owner}, or "
                "name another place."
            ) from denied
        with closing(descriptor):
            yield descriptor, name

    def _is_own_folder(self, folder: int, name: str) -> bool:
        """Whether a name in a folder is a folder of the account's, and not a link to one."""
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == self.identity().uid

    @contextlib.contextmanager
    def _roots_folder_of_own(self, path: str, denied: OSError) -> t.Iterator[tuple[int, str]]:
        """The folder of root in which a folder of the account lies that is not to stay as it is."""
        with self._roots_folder(path, denied, named=False) as (descriptor, name):
            if not self._is_named(path) and not self._is_own_folder(descriptor, name):
                raise denied
            yield descriptor, name

    # --- looking ---

    def read_bytes(self, path: str, *, limit: int = LIMIT, follow: bool = True) -> bytes | None:
        """A file's content, None where there is none. Without `follow` a symbolic link is refused."""
        with self.acting():
            try:
                descriptor = _open_regular(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW))
            except _MISSING:
                return None
            with closing(descriptor):
                return _read(descriptor, path, limit)

    def read_text(self, path: str, *, limit: int = LIMIT, follow: bool = True, as_written: bool = False) -> str | None:
        """A file's text, None where there is none. With C(as_written) its lines end as they do there, for a file that
        is about to be written again."""
        data = self.read_bytes(path, limit=limit, follow=follow)
        if data is None:
            return None
        return data.decode("utf-8", "surrogateescape") if as_written else _text(data)

    def read_part(self, path: str, *, offset: int, count: int) -> bytes | None:
        """So many bytes of a file from a place on, None where there is none."""
        with self.acting():
            try:
                descriptor = _open_regular(path, os.O_RDONLY)
            except _MISSING:
                return None
            with closing(descriptor):
                return os.pread(descriptor, count, offset)

    def list_names(self, path: str) -> list[str]:
        """The names in a folder, empty where there is none."""
        with self.acting():
            try:
                return sorted(os.listdir(path))
            except _MISSING:
                return []

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """What is at a path, None where nothing is."""
        with self.acting():
            return _stat(path, follow=follow)

    def require_regular(self, path: str) -> None:
        """Refuse what is neither a file nor missing: who reads it may wait for ever, as a server would."""
        found = self.stat(path)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise FileRefused(
                f"{path} is {_shown_kind(found.st_mode)}, and a file is expected. Nothing was done with it."
            )

    def exists(self, path: str) -> bool:
        """Whether something is there, behind a symbolic link; what the account may not see is not."""
        with self.acting():
            return os.path.exists(path)

    def lies(self, path: str) -> bool:
        """Whether something is there, be it a symbolic link that leads nowhere."""
        with self.acting():
            return os.path.lexists(path)

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there, behind a symbolic link if that is what is there."""
        with self.acting():
            return os.path.isdir(path)

    def is_link(self, path: str) -> bool:
        """Whether a symbolic link is there."""
        with self.acting():
            return os.path.islink(path)

    def is_mount(self, path: str) -> bool:
        """Whether a file system begins there."""
        with self.acting():
            return os.path.ismount(path)

    def real_path(self, path: str) -> str:
        """A path without symbolic links, as the account finds it."""
        with self.acting():
            return os.path.realpath(path)

    def mode(self, path: str) -> int | None:
        """The permission bits, None where nothing is there."""
        found = self.stat(path)
        return None if found is None else stat.S_IMODE(found.st_mode)

    def is_owners(self, path: str) -> bool:
        """Whether the account owns what is at the path."""
        found = self.stat(path)
        return found is not None and found.st_uid == self.identity().uid

    def may_run(self, program: str) -> bool:
        """Whether a program is there that the account may run."""
        with self.acting():
            return os.path.isfile(program) and os.access(program, os.X_OK, effective_ids=True)

    def may_make(self, path: str) -> bool:
        """Whether a folder that is not there can be made: by the account, or by root in a place of its own."""
        _require_absolute(path)
        while not self.is_folder(os.path.dirname(path)):
            path = os.path.dirname(path)
        return self._may_change(path, self._roots_folder)

    def may_take(self, path: str) -> bool:
        """Whether a folder that is there is the account's, or can be given to it."""
        found = self.stat(path)
        if os.geteuid() != 0 or self.owner is None:
            return os.access(path, os.W_OK | os.X_OK, effective_ids=True)
        if found is not None and found.st_uid == self.identity().uid:
            return True
        try:
            with self._roots_folder(f"{path}/x", _DENIED) as (descriptor, _name):
                return not set(os.listdir(descriptor)) - _NOT_DATA
        except (OSError, FileRefused):
            return False

    def may_rename(self, path: str) -> bool:
        """Whether a folder that is there can be renamed where it lies."""
        return self._may_change(path, self._roots_folder_of_own)

    def _may_change(self, path: str, helped: t.Callable[..., t.ContextManager[tuple[int, str]]]) -> bool:
        with self.acting():
            if os.access(os.path.dirname(path), os.W_OK | os.X_OK, effective_ids=True):
                return True
        try:
            with helped(path, _DENIED):
                return True
        except (OSError, FileRefused):
            return False

    def room(self, path: str) -> os.statvfs_result:
        """How full the file system of a path is."""
        with self.acting():
            return os.statvfs(path)

    def sizes(self, path: str) -> int:
        """How many bytes lie in a folder, without what is behind symbolic links."""
        total = 0
        with self.acting():
            for folder, _folders, names in os.walk(path):
                for name in names:
                    found = _stat(f"{folder}/{name}", follow=False)
                    total += found.st_blocks * 512 if found is not None else 0
        return total

    # --- changing ---

    def write_text(
        self,
        path: str,
        text: str,
        *,
        mode: int,
        durable: bool = True,
        follow: bool = True,
    ) -> None:
        """Replace a file in one step: readers see the old text or the new one, also after a power cut.

        Without `durable` a power cut may take the file away, which saves waiting for a disk that is busy. A symbolic
        link is replaced without `follow`; with it, the file that it names.
        """
        data = text.encode("utf-8", "surrogateescape")
        try:
            with self.acting():
                folder, name = os.path.split(os.path.realpath(path) if follow else path)
                with closing(open_folder(folder)) as descriptor:
                    replace_in(descriptor, name, data, mode=mode, owner=None, durable=durable)
        except PermissionError as error:
            with self._roots_folder(path, error) as (descriptor, name):
                replace_in(descriptor, name, data, mode=mode, owner=self._owner_ids(), durable=durable)

    def make_folder(self, path: str, *, mode: int) -> None:
        """Make a folder, and what is missing above it: those become the account's too, open for others to pass."""
        _require_absolute(path)
        missing = []
        parent = os.path.dirname(path)
        while parent != "/" and not self.is_folder(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        for folder in reversed(missing):
            self._make_one(folder, 0o755)
        if not self._make_one(path, mode):
            self.take_folder(path, mode=mode)

    def _make_one(self, path: str, mode: int) -> bool:
        """Make one folder; whether it was not there."""
        if self.is_folder(path):
            return False
        if self.owner is not None:
            account(self.owner)
        try:
            with self.acting(), closing(open_folder(os.path.dirname(path))) as folder:
                make_folder_in(folder, os.path.basename(path), mode=mode, owner=None)
        except PermissionError as error:
            with self._roots_folder(path, error) as (descriptor, name):
                make_folder_in(descriptor, name, mode=mode, owner=self._owner_ids())
        return True

    def take_folder(self, path: str, *, mode: int) -> None:
        """Give a folder that is there its mode; one that root made for the account, and left empty, to the account."""
        found = self.stat(path)
        if os.geteuid() != 0 or self.owner is None or (found is not None and found.st_uid == self.identity().uid):
            self.set_mode(path, mode)
            return
        with self._roots_folder(f"{path}/x", _DENIED) as (descriptor, _name):
            if set(os.listdir(descriptor)) - _NOT_DATA:
                raise FileRefused(
                    f"{path} belongs to another account than {self.owner} and is not empty. Give it to {self.owner} "
                    "yourself if that is right, or name another folder."
                )
            os.fchown(descriptor, *t.cast("tuple[int, int]", self._owner_ids()))
            os.fchmod(descriptor, mode)

    def set_mode(self, path: str, mode: int) -> None:
        """Give a file or folder its permission bits."""
        with self.acting():
            os.chmod(path, mode)

    def rename(self, source: str, target: str) -> None:
        """Rename a file or folder."""
        try:
            with self.acting():
                os.rename(source, target)
        except PermissionError as error:
            with self._roots_folder_of_own(source, error) as (here, old), self._roots_folder(
                target, error, named=False
            ) as (there, new):
                if not self._is_named(target) and not os.path.samestat(os.fstat(here), os.fstat(there)):
                    raise
                os.rename(old, new, src_dir_fd=here, dst_dir_fd=there)

    def make_instead(self, path: str, aside: str, *, mode: int) -> None:
        """Make a folder where the account's own one was, which lies beside it now; root may have renamed that."""
        try:
            with self.acting(), closing(open_folder(os.path.dirname(path))) as folder:
                make_folder_in(folder, os.path.basename(path), mode=mode, owner=None)
        except PermissionError as error:
            with self._roots_folder_of_own(aside, error) as (descriptor, _name):
                if os.path.dirname(aside) != os.path.dirname(path):
                    raise
                make_folder_in(descriptor, os.path.basename(path), mode=mode, owner=self._owner_ids())

    def remove_file(self, path: str, *, durable: bool = True) -> None:
        """Remove one file, durably unless told otherwise."""
        try:
            with self.acting():
                os.unlink(path)
        except PermissionError as error:
            with self._roots_folder(path, error) as (descriptor, name):
                os.unlink(name, dir_fd=descriptor)
        if durable:
            self.sync_folder(os.path.dirname(path))

    def forget_file(self, path: str) -> None:
        """Remove one file if it is there."""
        with contextlib.suppress(*_MISSING):
            self.remove_file(path, durable=False)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        try:
            with self.acting():
                os.rmdir(path)
        except PermissionError as error:
            with self._roots_folder_of_own(path, error) as (descriptor, name):
                os.rmdir(name, dir_fd=descriptor)

    def copy_file(self, source: str, target: str) -> None:
        """Copy one file or link with its mode and times, whole or not at all.

        A copy that got another owner is its owner's alone: a server takes no key that its group may read.
        """
        temporary = f"{target}.pgtandem-copy"
        self.remove_tree(temporary)
        with self.acting():
            found = os.lstat(source)
            if stat.S_ISLNK(found.st_mode):
                os.symlink(os.readlink(source), temporary)
            else:
                with closing(_open_regular(source, os.O_RDONLY | os.O_NOFOLLOW)) as reading, closing(
                    os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                ) as writing:
                    while True:
                        part = memoryview(os.read(reading, 1 << 20))
                        if not part:
                            break
                        while part:
                            part = part[os.write(writing, part) :]
                    same = os.fstat(writing).st_uid == found.st_uid
                    os.fchmod(writing, stat.S_IMODE(found.st_mode) & (0o777 if same else 0o700))
                    os.utime(writing, ns=(found.st_atime_ns, found.st_mtime_ns))
                    os.fsync(writing)
            os.replace(temporary, target)

    def remove_tree(self, path: str) -> None:
        """Remove whatever is at a path, if anything is; never what a symbolic link leads to."""
        folder, name = os.path.split(path)
        with contextlib.suppress(*_MISSING):
            try:
                with self.acting(), closing(open_folder(folder)) as descriptor:
                    remove_tree_in(descriptor, name)
            except PermissionError:
                # It may lie in a folder of root's: what is in it goes first, as the account.
                if self.is_folder(path) and not self.is_link(path):
                    self.remove_entries(path)
                    self.remove_folder(path)
                else:
                    self.remove_file(path, durable=False)

    def remove_entries(self, path: str, *, but: t.Container[str] = ()) -> None:
        """Remove everything in a folder but some names."""
        with self.acting(), closing(open_folder(path)) as descriptor:
            remove_contents(descriptor, but=but)

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal as the account, so that it reaches the account's own processes only; whether there was one."""
        try:
            with self.acting():
                os.kill(pid, number)
        except (ProcessLookupError, PermissionError, OverflowError):
            return False
        return True

    def sync_folder(self, path: str) -> None:
        """Make a rename or a removal in a folder durable."""
        with contextlib.suppress(PermissionError), self.acting(), closing(open_folder(path)) as descriptor:
            os.fsync(descriptor)

    @contextlib.contextmanager
    def scratch(self) -> t.Iterator[str]:
        """A folder for the moment, which only the account may enter, whatever TMPDIR says; its path."""
        path = ""
        refused: OSError | None = None
        for place in _SCRATCH_PLACES:
            path = f"{place}/pgtandem-{os.urandom(8).hex()}"
            try:
                with self.acting():
                    os.mkdir(path, 0o700)
                refused = None
                break
            except OSError as error:
                refused = error
        if refused is not None:
            raise refused
        try:
            yield path
        finally:
            self.remove_tree(path)

    # --- held open ---

    def open_folder(self, path: str) -> int:
        """A folder's descriptor, for a lock."""
        with self.acting():
            return open_folder(path)

    def open_file(self, path: str, flags: int, mode: int = 0o600) -> int:
        """A regular file's descriptor; symbolic links are refused."""
        with self.acting():
            return _open_regular(path, flags | os.O_NOFOLLOW, mode)

    def is_same(self, descriptor: int, path: str) -> bool:
        """Whether what is open is still what lies there."""
        found = self.stat(path)
        return found is not None and os.path.samestat(os.fstat(descriptor), found)


class RootFiles:
    """Files in places that root alone can write, such as systemd's units: every folder on the way is looked at."""

    def read_text(self, path: str, *, limit: int = LIMIT) -> str | None:
        """A file's text, None where there is none."""
        try:
            descriptor = _open_regular(path, os.O_RDONLY)
        except _MISSING:
            return None
        with closing(descriptor):
            return _text(_read(descriptor, path, limit))

    def write_text(self, path: str, text: str, *, mode: int) -> None:
        """Replace a file in one step; it is root's."""
        folder, name = os.path.split(path)
        with closing(open_roots_folder(folder)) as descriptor:
            replace_in(descriptor, name, text.encode(), mode=mode, owner=None, durable=True)
