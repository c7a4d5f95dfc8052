# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Set a whole data directory aside, with its tablespaces and its WAL, until another one has taken its place.

A journal beside the data directory is written first and names every rename, so that a run that was cut short is gone
on with, and what was set aside is known for ours. Nothing is copied: all of it stays on the file system it is on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory import (
    ASIDE,
    ASIDE_JOURNAL,
    NOT_DATA,
    REWIND_FOLDER,
    DirectoryState,
    classify,
    describe,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._incoming import Incoming, try_lock
from ansible_collections.pgtandem.replication.plugins.module_utils._server import look_at_directory

#: The renames are under way, or done.
MOVING = "moving"
MOVED = "moved"
#: What was set aside is being removed, or brought back.
REMOVING = "removing"
RESTORING = "restoring"

#: What a server keeps in its WAL directory.
_WAL = r"[0-9A-F]{24}(\..*)?|[0-9A-F]{8}\.history(\..*)?|archive_status|summaries|xlogtemp\.\d+|RECOVERY(XLOG|HISTORY)"


class Move(t.NamedTuple):
    """A folder and where it is set aside."""

    path: str
    aside: str


def moves_of(host: Host) -> list[Move]:
    """Every folder that belongs to the data directory, itself first: with that one the server is gone."""
    directory = host.instance.data_directory
    paths = [os.path.realpath(directory)]
    wal = f"{directory}/pg_wal"
    if os.path.islink(wal):
        paths.append(os.path.realpath(wal))
    for name in host.files.list_names(f"{directory}/pg_tblspc"):
        link = f"{directory}/pg_tblspc/{name}"
        if os.path.islink(link):
            paths.append(os.path.realpath(link))
    moves = [Move(path, f"{path}{ASIDE}") for path in paths]
    if os.path.isdir(f"{directory}{REWIND_FOLDER}"):
        # What a rewind put away goes with the directory that it is of.
        moves.append(Move(f"{directory}{REWIND_FOLDER}", f"{paths[0]}{ASIDE}{REWIND_FOLDER}"))
    return moves


def why_not(moves: t.Sequence[Move]) -> str | None:
    """Why these folders cannot be renamed, as a clause; None where they can."""
    for move in moves:
        if not os.path.lexists(move.path):
            continue
        if os.path.lexists(move.aside):
            return f"{move.aside} is there already"
        if os.path.ismount(move.path):
            return f"{move.path} is a file system of its own, which cannot be renamed"
        if not os.access(os.path.dirname(move.path), os.W_OK | os.X_OK):
            return f"this task's account may not rename in {os.path.dirname(move.path)}"
        if move is not moves[0] and os.stat(move.path).st_dev != os.stat(os.path.dirname(move.path)).st_dev:
            return f"{move.path} is on another file system than its folder"
    return None


def others_in(host: Host, moves: t.Sequence[Move]) -> list[str]:
    """What lies in the folders outside that this server did not put there, such as another major's tablespace."""
    own = re.compile(rf"PG_{re.escape(host.instance.major)}_\d+|{_WAL}")
    found = []
    for move in moves[1:]:
        if move.path.endswith(REWIND_FOLDER) or not os.path.isdir(move.path):
            continue
        names = set(os.listdir(move.path)) - NOT_DATA
        found += [f"{move.path}/{name}" for name in sorted(names) if not own.fullmatch(name)]
    return found


def bytes_in(moves: t.Iterable[Move]) -> int:
    """How much lies in these folders."""
    total = 0
    for move in moves:
        for folder, _folders, files in os.walk(move.path):
            for name in files:
                try:
                    total += os.lstat(f"{folder}/{name}").st_blocks * 512
                except FileNotFoundError:
                    continue
    return total


def journal_path(host: Host) -> str:
    """Where it is noted what was set aside."""
    return f"{host.instance.data_directory}{ASIDE_JOURNAL}"


def read_journal(host: Host) -> dict[str, t.Any]:
    """What is noted, empty where nothing was set aside."""
    try:
        found = json.loads(host.files.read_text(journal_path(host)) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _note(host: Host, **facts: t.Any) -> None:
    text = json.dumps(dict(read_journal(host), **facts), sort_keys=True) + "\n"
    host.files.write_text(journal_path(host), text, mode=0o600)


def set_aside(host: Host, moves: t.Sequence[Move], *, system_identifier: str | None) -> None:
    """Rename the folders of a stopped server; its data directory is empty afterwards. Repeat it with C(go_on)."""
    _note(
        host,
        phase=MOVING,
        moves=[[move.path, move.aside] for move in moves],
        system_identifier=system_identifier,
        since=time.time(),
        proven=False,
    )
    go_on(host)


def go_on(host: Host) -> None:
    """Do the renames that are not done yet. A data directory with something new in it is left alone."""
    journal = read_journal(host)
    if journal.get("phase") != MOVING:
        return
    for path, aside in journal["moves"]:
        if os.path.lexists(path) and not os.path.lexists(aside):
            os.rename(path, aside)
            host.files.sync_folder(os.path.dirname(path))
    directory = journal["moves"][0][0]
    if not os.path.lexists(directory):
        # Through a symbolic link, if the data directory is one, the copy gets to the same disk.
        host.files.make_folder(directory, mode=0o700)
    _note(host, phase=MOVED)


def keep(host: Host, *, check_mode: bool) -> list[str]:
    """Note that the new directory is proven and the old one is to stay."""
    if not read_journal(host) or read_journal(host)["proven"]:
        return []
    if not check_mode:
        _note(host, proven=True)
    return [f"keep {', '.join(aside for _path, aside in read_journal(host)['moves'] if os.path.lexists(aside))}"]


def remove(host: Host, *, check_mode: bool) -> list[str]:
    """Delete what was set aside."""
    journal = read_journal(host)
    if not journal:
        return []
    if journal["phase"] in (MOVING, RESTORING):
        raise ReplicationError(
            f"A run that set {host.instance.data_directory} aside, or brought it back, was cut short. Repeat that "
            "first. Nothing was deleted."
        )
    state = classify(look_at_directory(host))
    if state not in (DirectoryState.STANDBY, DirectoryState.PRIMARY):
        raise ReplicationError(
            f"{describe(look_at_directory(host))}, so {journal['moves'][0][1]} may be the only copy on this host. It "
            "was not deleted."
        )
    found = [aside for _path, aside in journal["moves"] if os.path.lexists(aside)]
    if not check_mode:
        _note(host, phase=REMOVING)
        for path in found:
            shutil.rmtree(path)
        host.files.remove_file(journal_path(host))
    return [f"delete {', '.join(found)}, which had been set aside"] if found else ["forget what had been set aside"]


def restore(host: Host, *, check_mode: bool) -> list[str]:
    """Bring back what was set aside, where nothing whole has taken its place."""
    journal = read_journal(host)
    if not journal:
        return []
    directory = host.instance.data_directory
    if journal["phase"] == REMOVING:
        raise ReplicationError(f"{journal['moves'][0][1]} is half deleted already, so it cannot be brought back.")
    lock = try_lock(directory)
    if lock is None and os.path.isdir(directory):
        raise ReplicationError(f"Another run is filling {directory} right now. Wait for its end, or stop it.")
    try:
        evidence = look_at_directory(host)
        free = (DirectoryState.ABSENT, DirectoryState.EMPTY, DirectoryState.INCOMING)
        if journal["phase"] != RESTORING and classify(evidence) not in free:
            raise ReplicationError(
                f"{describe(evidence)}. Move that away yourself if {journal['moves'][0][1]} is to take its place."
            )
        if not check_mode:
            _restore(host, journal, lock)
    finally:
        if lock is not None:
            os.close(lock)
    return [f"bring {journal['moves'][0][1]} back"]


def _restore(host: Host, journal: t.Mapping[str, t.Any], lock: int | None) -> None:
    directory = journal["moves"][0][0]
    if lock is not None and journal["phase"] != RESTORING:
        incoming = Incoming(host, lock)
        incoming.clear()
        if os.path.exists(incoming.marker_path):
            os.unlink(incoming.marker_path)
        left = set(os.listdir(directory)) - NOT_DATA
        if left:
            raise ReplicationError(f"{directory} holds {', '.join(sorted(left)[:3])}. Nothing was brought back.")
        os.rmdir(directory)
    _note(host, phase=RESTORING)
    # The data directory last: before it is there no server starts.
    for path, aside in reversed(journal["moves"]):
        if os.path.lexists(aside):
            if os.path.isdir(path) and not os.listdir(path):
                os.rmdir(path)
            os.rename(aside, path)
    host.files.remove_file(journal_path(host))
