# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Set a whole data directory aside, with its tablespaces and its WAL, until another one has taken its place.

A journal beside the data directory is written first and names every rename, so that a run that was cut short is gone
on with, and what was set aside is known for ours. Nothing is copied: all of it stays on the file system it is on.
"""

from __future__ import annotations

import os
import re
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.staging import (
    Incoming,
    linked_folders,
    try_lock,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import look_at_directory
from ansible_collections.pgtandem.replication.plugins.module_utils._system.folders import FileRefused
from ansible_collections.pgtandem.replication.plugins.module_utils._system.state_file import (
    StateFile,
    is_flag,
    is_number,
    is_path,
    like,
    list_of,
    one_of,
    or_none,
    pair_of,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import (
    ASIDE,
    ASIDE_JOURNAL,
    NOT_DATA,
    REWIND_FOLDER,
    DirectoryState,
    classify,
    describe,
)

#: The renames are under way, or done.
MOVING = "moving"
MOVED = "moved"
#: What was set aside is being removed, or brought back.
REMOVING = "removing"
RESTORING = "restoring"

#: What a server keeps in its WAL directory.
_WAL = r"[0-9A-F]{24}(\..*)?|[0-9A-F]{8}\.history(\..*)?|archive_status|summaries|xlogtemp\.\d+|RECOVERY(XLOG|HISTORY)"


JOURNAL_FILE = StateFile(
    "what was set aside",
    {
        "phase": one_of(MOVING, MOVED, REMOVING, RESTORING),
        "moves": list_of(pair_of(is_path)),
        "system_identifier": or_none(like(r"\d{1,20}")),
        "since": is_number,
        "proven": is_flag,
    },
)


class Move(t.NamedTuple):
    """A folder and where it is set aside."""

    path: str
    aside: str


def moves_of(host: Host, cluster: str = "") -> list[Move]:
    """Every folder that belongs to the data directory, itself first: with that one the server is gone.

    `cluster` is where the directory lies now, which is not its own place once it was set aside.
    """
    directory, files = host.instance.data_directory, host.files
    real = files.real_path(directory)
    moves = [Move(path, f"{path}{ASIDE}") for path in (real, *linked_folders(host, cluster or directory))]
    if cluster or files.is_folder(f"{directory}{REWIND_FOLDER}"):
        # What a rewind put away goes with the directory that it is of.
        moves.append(Move(f"{directory}{REWIND_FOLDER}", f"{real}{ASIDE}{REWIND_FOLDER}"))
    return moves


def why_not(host: Host, moves: t.Sequence[Move]) -> str | None:
    """Why these folders cannot be renamed, as a clause; None where they can."""
    files = host.files
    for move in moves:
        found = files.stat(move.path)
        if found is None:
            continue
        if files.lies(move.aside):
            return f"{move.aside} is there already"
        if files.is_mount(move.path):
            return f"{move.path} is a file system of its own, which cannot be renamed"
        above = os.path.dirname(move.path)
        if not files.may_rename(move.path):
            return f"{host.instance.os_user} may not rename in {above}"
        if move is not moves[0] and found.st_dev != t.cast(os.stat_result, files.stat(above)).st_dev:
            return f"{move.path} is on another file system than its folder"
    return None


def others_in(host: Host, moves: t.Sequence[Move]) -> list[str]:
    """What lies in the folders outside that this server did not put there, such as another major's tablespace."""
    own = re.compile(rf"PG_{re.escape(host.instance.major)}_\d+|{_WAL}")
    found = []
    for move in moves[1:]:
        if move.path.endswith(REWIND_FOLDER):
            continue
        names = set(host.files.list_names(move.path)) - NOT_DATA
        found += [f"{move.path}/{name}" for name in sorted(names) if not own.fullmatch(name)]
    return found


def bytes_in(host: Host, moves: t.Iterable[Move]) -> int:
    """How much lies in these folders."""
    return sum(host.files.sizes(move.path) for move in moves)


def journal_path(host: Host) -> str:
    """Where it is noted what was set aside."""
    return f"{host.instance.data_directory}{ASIDE_JOURNAL}"


def read_journal(host: Host) -> dict[str, t.Any]:
    """What is noted, empty where nothing was set aside. Its paths are those that are computed again.

    The data directory is set aside first and comes back, or goes, last, so that its links tell the others till then.
    """
    path = journal_path(host)
    noted = JOURNAL_FILE.read(host.files, path)
    if not noted:
        return {}
    if set(noted) != set(JOURNAL_FILE.checks) or not noted["moves"]:
        raise FileRefused(f"{path} lacks what this collection notes there, so that it is not acted upon.")
    real = host.files.real_path(host.instance.data_directory)
    aside = f"{real}{ASIDE}"
    computed = moves_of(host, aside if host.files.is_folder(aside) else host.instance.data_directory)
    strange = [
        move
        for move in (Move(*pair) for pair in noted["moves"])
        if move not in computed and (host.files.lies(move.path) or host.files.lies(move.aside))
    ]
    if noted["moves"][0] != list(computed[0]) or strange:
        wrong = strange[0] if strange else Move(*noted["moves"][0])
        raise FileRefused(
            f"{path} says that {wrong.path} was set aside as {wrong.aside}, which is not how this collection sets "
            f"aside what belongs to {host.instance.data_directory}, so it is not acted upon. It was left as it is. "
            "Look at it, and remove it if something else wrote it."
        )
    return noted


def _note(host: Host, **facts: t.Any) -> None:
    noted = JOURNAL_FILE.read(host.files, journal_path(host))
    JOURNAL_FILE.write(host.files, journal_path(host), dict(noted, **facts))


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
        if host.files.lies(path) and not host.files.lies(aside):
            host.files.rename(path, aside)
            host.files.sync_folder(os.path.dirname(path))
    directory, aside = journal["moves"][0]
    if not host.files.lies(directory):
        # Through a symbolic link, if the data directory is one, the copy gets to the same disk.
        host.files.make_instead(directory, aside, mode=0o700)
    _note(host, phase=MOVED)


def keep(host: Host, *, check_mode: bool) -> list[str]:
    """Note that the new directory is proven and the old one is to stay."""
    if not read_journal(host) or read_journal(host)["proven"]:
        return []
    if not check_mode:
        _note(host, proven=True)
    return [f"keep {', '.join(aside for _path, aside in read_journal(host)['moves'] if host.files.lies(aside))}"]


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
    found = [aside for _path, aside in journal["moves"] if host.files.lies(aside)]
    if not check_mode:
        _note(host, phase=REMOVING)
        # The old data directory last: its links tell what else is of it.
        for path in reversed(found):
            host.files.remove_tree(path)
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
    lock = try_lock(host, directory)
    if lock is None and host.files.is_folder(directory):
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
        incoming.clear([path for path, _aside in journal["moves"][1:]])
        host.files.forget_file(incoming.marker_path)
        left = set(host.files.list_names(directory)) - NOT_DATA
        if left:
            raise ReplicationError(f"{directory} holds {', '.join(sorted(left)[:3])}. Nothing was brought back.")
        host.files.remove_folder(directory)
    _note(host, phase=RESTORING)
    # The data directory last: before it is there no server starts.
    for path, aside in reversed(journal["moves"]):
        if host.files.lies(aside):
            if host.files.is_folder(path) and not host.files.list_names(path):
                host.files.remove_folder(path)
            host.files.rename(aside, path)
    host.files.remove_file(journal_path(host))
