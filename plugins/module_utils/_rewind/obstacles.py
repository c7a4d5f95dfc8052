# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Files at which pg_rewind would die half-way: it opens them only when it writes, and C(--dry-run) opens none.

Its manual names files that are read-only on the target. A file that the source's account may not read ends it as well,
and by then every file of the target's WAL has been truncated.
"""

from __future__ import annotations

import errno
import os
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import DatabaseError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.database import Database
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import NOT_DATA
from ansible_collections.pgtandem.replication.plugins.module_utils._values.rewind_decision import own_entries

#: What pg_rewind neither copies nor reads (its manual, "How It Works"; excludeFiles and excludeDirContents).
_EXCLUDED = re.compile(
    r"^((pg_(dynshmem|notify|replslot|serial|snapshots|stat_tmp|subtrans)/.*)"
    r"|([^/]*/)*(postgresql\.auto\.conf\.tmp|current_logfiles(\.tmp)?|pg_internal\.init.*|backup_label|tablespace_map"
    r"|backup_manifest|postmaster\.(pid|opts)))$"
)

#: How pg_rewind itself lists the source's files.
_LISTED = """
WITH RECURSIVE files (path, isdir) AS (
 SELECT name, this.isdir FROM (SELECT pg_ls_dir('.', true, false) AS name) AS top, pg_stat_file(name, true) AS this
 UNION ALL
 SELECT parent.path || '/' || name, this.isdir
 FROM files AS parent, pg_ls_dir(parent.path, true, false) AS name,
 pg_stat_file(parent.path || '/' || name, true) AS this
 WHERE parent.isdir)
SELECT path FROM files WHERE NOT isdir ORDER BY path
"""


class Obstacles(t.NamedTuple):
    """What stands in the way of a rewind."""

    #: Entries at the top of the target that are not PostgreSQL's: they can be moved away.
    movable: tuple[str, ...] = ()
    #: Other files of the target, as clauses with the reason.
    unwritable: tuple[str, ...] = ()
    #: Files of the source, as clauses with the reason.
    unreadable: tuple[str, ...] = ()
    #: Folders of the source's tablespaces that are not there and can be made.
    folders: tuple[str, ...] = ()
    #: Folders of tablespaces in which pg_rewind could not write, as clauses with the reason.
    unfit: tuple[str, ...] = ()


def is_excluded(path: str) -> bool:
    """Whether pg_rewind leaves a file of a data directory alone.

    >>> [is_excluded(path) for path in ("pg_replslot/a/state", "base/5/pg_internal.init", "server.key", "pg_wal/0001")]
    [True, True, False, False]
    """
    return bool(_EXCLUDED.match(path))


def files_of_source(database: Database) -> list[str]:
    """The files that pg_rewind may fetch from the source."""
    return [row["path"] for row in database.rows(_LISTED) if not is_excluded(row["path"])]


def unreadable_on_source(database: Database, paths: t.Sequence[str]) -> list[str]:
    """The files among C(paths) that the source cannot read for pg_rewind, each with the server's own words."""
    if not paths:
        return []
    try:
        # One byte of each: the server opens it. One that is gone by now is no failure.
        database.value(
            "SELECT count(pg_read_binary_file(path, 0, 1, true)) FROM unnest(%s::text[]) AS path", [[*paths]]
        )
        return []
    except DatabaseError as error:
        if len(paths) == 1:
            return [f"{paths[0]} ({error.message})"]
    middle = len(paths) // 2
    return unreadable_on_source(database, paths[:middle]) + unreadable_on_source(database, paths[middle:])


def _closed_to(path: str) -> int:
    """Why this account cannot open a file for writing, as an error number; 0 where it can."""
    try:
        # Nothing is written: pg_rewind opens it in the same way, and truncates it.
        os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        # A link has no mode of its own, a socket or a pipe without a reader is not opened, and files come and go.
        return 0 if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOENT) else error.errno or errno.EIO
    return 0


def _walk(directory: str, inside: str = "") -> t.Iterator[tuple[str, int]]:
    """The files and folders below a data directory that this account cannot write, with an error number.

    Links are followed where PostgreSQL has them: tablespaces, and the folder of the WAL.
    """
    here = f"{directory}/{inside}" if inside else directory
    try:
        with os.scandir(here) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if error.errno != errno.ENOENT:
            yield inside, error.errno or errno.EIO
        return
    if not os.access(here, os.W_OK | os.X_OK, effective_ids=True):
        yield inside, errno.EACCES
    for entry in found:
        path = f"{inside}/{entry.name}" if inside else entry.name
        followed = inside == "pg_tblspc" or path in ("pg_wal", "pg_xlog")
        try:
            is_folder = entry.is_dir(follow_symlinks=followed)
        except OSError:
            continue
        if is_folder:
            yield from _walk(directory, path)
        elif not is_excluded(path):
            why = _closed_to(f"{directory}/{path}")
            if why:
                yield path, why


def obstacles_on_target(host: Host, source: t.Container[str]) -> Obstacles:
    """What pg_rewind could not write in this data directory, run as the server's account.

    A file counts where it is the host's own, or the C(source) has it as well: others are only removed.
    """
    directory = host.instance.data_directory
    with host.files.acting():
        found = list(_walk(directory))
    movable, unwritable = set(), []
    for path, why in found:
        top = path.split("/")[0]
        if own_entries([top]) and top:
            if host.files.is_folder(f"{directory}/{top}") and not host.files.is_link(f"{directory}/{top}"):
                # Folders of the host are moved away in any case, whatever is in them.
                continue
            if why == errno.EACCES:
                # Its mode protects it, and not its being immutable or on a read-only file system.
                movable.add(top)
                continue
        elif path and path not in source and not host.files.is_folder(f"{directory}/{path}"):
            continue
        unwritable.append(f"{directory}/{path} ({os.strerror(why)})" if path else f"{directory} ({os.strerror(why)})")
    return Obstacles(movable=tuple(sorted(movable)), unwritable=tuple(unwritable))


_TABLESPACES = """
SELECT oid::text AS oid, spcname AS name, pg_tablespace_location(oid) AS location FROM pg_tablespace
WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY spcname
"""


def tablespaces_of_source(database: Database) -> list[dict[str, str]]:
    """The tablespaces of the source that have a folder of their own."""
    return database.rows(_TABLESPACES)


def look_at_tablespaces(host: Host, tablespaces: t.Iterable[t.Mapping[str, str]]) -> Obstacles:
    """Where pg_rewind would write the source's tablespaces: it makes links to the same folders, and no folder."""
    files, links = host.files, f"{host.instance.data_directory}/pg_tblspc"
    folders, unfit = [], []
    for tablespace in tablespaces:
        link, path = f"{links}/{tablespace['oid']}", tablespace["location"]
        what = f"{path} of tablespace {tablespace['name']}"
        if files.lies(link):
            place = files.real_path(link)
            if not files.is_folder(place):
                unfit.append(f"{place} of tablespace {tablespace['name']} is not there (is its disk mounted?)")
        elif files.is_folder(path):
            names = set(files.list_names(path)) - NOT_DATA
            if names:
                unfit.append(f"{what} is not empty ({', '.join(sorted(names)[:3])})")
            elif not files.may_take(path):
                unfit.append(f"{what} does not belong to {host.instance.os_user}")
            else:
                folders.append(path)
        elif files.lies(path):
            unfit.append(f"{what} is not a folder")
        elif files.may_make(path):
            folders.append(path)
        else:
            unfit.append(f"{what} is not there, and {host.instance.os_user} may not make it")
    return Obstacles(folders=tuple(folders), unfit=tuple(unfit))


def shown(paths: t.Sequence[str]) -> str:
    """A list of files for a message, the first ones of many."""
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
