# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What belongs to this host, put away while pg_rewind replaces everything else, and the mark of a rewind at work.

Beside the data directory lies a folder from just before pg_rewind's first write until the directory is good again. As
long as it is there the directory counts as half rewound. The directory's mode is one with which no server starts
(manual, the server insists on 0700 or 0750), so that nobody, and no host that comes back, takes it for a good one.

A copy of the WAL that pg_rewind reads is in that folder as well. It truncates every file of pg_wal before it has
fetched the first byte, and would find nothing any more when it runs again.
"""

from __future__ import annotations

import errno
import os
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.standby_marker import mark_as_standby
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import (
    REWIND_STATE_FILE,
    read_rewind_state,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    REWIND_FOLDER,
    REWIND_STATE,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.rewind_decision import own_entries

#: pg_rewind may have begun to write, and may not have come to its end.
REWINDING = "rewinding"
#: pg_rewind is through; what was put away is on its way back.
REWOUND = "rewound"

#: The group may write and not enter, which is of no use to anybody, and which the server refuses to start with.
_BLOCKED = 0o720


class Kept:
    """The folder beside a data directory that is being rewound."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._directory = host.instance.data_directory
        self.folder = f"{self._directory}{REWIND_FOLDER}"
        self._entries = f"{self.folder}/entries"
        self._wal = f"{self.folder}/wal"
        #: Where the password file is while pg_rewind is at work.
        self.passfile = f"{self.folder}/pass"

    def state(self) -> dict[str, t.Any]:
        """What is noted of a rewind that was begun, empty where none was. Its names are a host's own, and no others."""
        noted = read_rewind_state(self._host)
        names = [*noted.get("files", ()), *noted.get("folders", ())]
        complete = {"phase", "mode", "files", "folders"} <= set(noted)
        if noted and not (complete and sorted(names) == own_entries(names)):
            raise FileRefused(
                f"{self.folder}/{REWIND_STATE} names files that a rewind does not put away, so it is not acted upon. "
                "Its data was left as it is. Look at it; a host that is named in pgtandem_reseed is copied anew."
            )
        return noted

    def _note(self, **facts: t.Any) -> None:
        REWIND_STATE_FILE.write(
            self._host.files, f"{self.folder}/{REWIND_STATE}", dict(read_rewind_state(self._host), **facts)
        )

    def begin(self, *, movable: t.Collection[str] = (), wal: t.Sequence[str] = (), **facts: t.Any) -> None:
        """Put away what is the host's own, then say on disk that the directory is no longer good.

        `movable` are files that cannot be written, so they are moved as folders are; `wal` are the files of the WAL
        that are kept until the rewind is through.
        """
        if self.state():
            # An earlier run put the files away; what lies there now may be the other server's.
            self._block()
            self._put_away()
            self._bring_wal_back()
            return
        self._host.files.make_folder(self.folder, mode=0o700)
        # What lies here without a state is of a run that was cut short before it had moved anything.
        for folder in (self._entries, self._wal):
            self._host.files.remove_tree(folder)
            self._host.files.make_folder(folder, mode=0o700)
        names = own_entries(self._host.files.list_names(self._directory))
        folders = [name for name in names if name in movable or self._host.files.is_folder(f"{self._directory}/{name}")]
        files = [name for name in names if name not in folders]
        try:
            self._copy_wal([f"{self._pg_wal}/{name}" for name in wal], self._wal)
            for name in files:
                self._host.files.copy_file(f"{self._directory}/{name}", f"{self._entries}/{name}")
        except (OSError, ReplicationError) as error:
            self._host.files.remove_tree(self.folder)
            raise ReplicationError(
                f"{self._directory} was not changed: what a rewind must not lose could not be put away in {self.folder}"
                f" ({error}). Make room there, or correct what is wrong, and run again."
            ) from error
        self._host.files.sync_folder(self._entries)
        mode = self._host.files.mode(self._directory)
        mode = mode if mode in (0o700, 0o750) else 0o700
        self._note(phase=REWINDING, mode=mode, files=files, folders=folders, wal=list(wal), **facts)
        self._block()
        try:
            self._put_away()
        except (OSError, ReplicationError) as error:
            self._undo()
            raise ReplicationError(
                f"{self._directory} is as it was: a file that pg_rewind could not write cannot be moved away either "
                f"({error}). Move it out of the data directory, or let the server's account write it, and run again."
            ) from error

    def _put_away(self) -> None:
        # pg_rewind begins only when all of them are away, so what is still in its place is this host's.
        for name in self.state()["folders"]:
            if self._host.files.lies(f"{self._directory}/{name}") and not self._host.files.lies(
                f"{self._entries}/{name}"
            ):
                self._move(f"{self._directory}/{name}", f"{self._entries}/{name}")

    def _undo(self) -> None:
        """Bring the directory back to what it was, before pg_rewind began."""
        for name in self.state()["folders"]:
            if self._host.files.lies(f"{self._entries}/{name}"):
                self._move(f"{self._entries}/{name}", f"{self._directory}/{name}")
        self._unblock()

    def _unblock(self) -> None:
        self._host.files.sync_folder(self._directory)
        self._host.files.set_mode(self._directory, self.state()["mode"])
        # The state goes first: from here on the directory is good.
        self._host.files.remove_file(f"{self.folder}/{REWIND_STATE}")
        self._host.files.remove_tree(self.folder)

    @property
    def keeps_wal(self) -> bool:
        """Whether the WAL that pg_rewind reads is here, so that it can run again."""
        return bool(self.state().get("wal"))

    @property
    def _pg_wal(self) -> str:
        return f"{self._directory}/{'pg_wal' if self._host.files.lies(f'{self._directory}/pg_wal') else 'pg_xlog'}"

    def room_for(self, names: t.Iterable[str]) -> tuple[int, int]:
        """How many bytes a copy of these files of the WAL takes, and how many are free for it."""
        found = [self._host.files.stat(f"{self._pg_wal}/{name}") for name in names]
        seen = self._host.files.room(self._directory)
        return sum(one.st_size for one in found if one is not None), seen.f_bavail * seen.f_frsize

    def _bring_wal_back(self) -> None:
        self._copy_wal([f"{self._wal}/{name}" for name in self.state().get("wal", [])], self._pg_wal)

    def _copy_wal(self, paths: t.Sequence[str], folder: str) -> None:
        # Never by hard links: pg_rewind truncates the files where they are.
        owner = self._host.instance.os_user
        for start in range(0, len(paths), 100):
            words = ["cp", "-a", "--reflink=auto", "--remove-destination", "--", *paths[start : start + 100], folder]
            self._host.runner.run(words, user=owner)
        for path in paths:
            descriptor = self._host.files.open_file(f"{folder}/{os.path.basename(path)}", os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._host.files.sync_folder(folder)

    def _move(self, source: str, target: str) -> None:
        try:
            self._host.files.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The data directory is a mount point, so what lies beside it is on another file system.
            self._host.files.remove_tree(f"{target}.pgtandem-copy")
            words = ["cp", "-a", "--", source, f"{target}.pgtandem-copy"]
            self._host.runner.run(words, user=self._host.instance.os_user)
            self._host.files.rename(f"{target}.pgtandem-copy", target)

    def _block(self) -> None:
        self._host.files.set_mode(self._directory, _BLOCKED)

    def write_passfile(self, line: str) -> None:
        """What pg_rewind logs in with."""
        self._host.files.write_text(self.passfile, line + "\n", mode=0o600, durable=False)

    def forget_passfile(self) -> None:
        """The password is on this disk no longer than it is needed."""
        self._host.files.forget_file(self.passfile)

    def finish(self) -> None:
        """Bring everything back and make the directory a standby. Safe to repeat from any point."""
        self.forget_passfile()
        self._note(phase=REWOUND)
        state = self.state()
        for name in state["files"]:
            self._host.files.copy_file(f"{self._entries}/{name}", f"{self._directory}/{name}")
        for name in state["folders"]:
            if self._host.files.lies(f"{self._entries}/{name}"):
                # Its place was taken by the other server's.
                self._host.files.remove_tree(f"{self._directory}/{name}")
                self._move(f"{self._entries}/{name}", f"{self._directory}/{name}")
        mark_as_standby(self._host, self._directory)
        self._unblock()
