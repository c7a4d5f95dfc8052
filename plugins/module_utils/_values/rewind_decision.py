# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The cheapest way for a server to follow another one again: pure decisions (manual, pg_rewind).

A server that went on writing after the other one's timeline forked off its own has to be rewound. One that stopped
before that just follows.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from enum import Enum

from ansible_collections.pgtandem.replication.plugins.module_utils._values import timelines
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    RECOVERY_TARGETS,
    since_text,
    supports,
)

#: Entries of a data directory that are PostgreSQL's own (manual, Database File Layout). Everything else at the top of
#: it, configuration and logs above all, belongs to this host and not to the server that it is rewound to.
_SERVERS_OWN = re.compile(
    r"^(base|global|log_status|pg_(clog|commit_ts|dynshmem|logical|multixact|notify|replslot|serial|snapshots|stat"
    r"|stat_tmp|subtrans|tblspc|twophase|wal|xact|xlog)|PG_VERSION|postmaster\.(pid|opts)|backup_label(\.old)?"
    r"|tablespace_map(\.old)?|(standby|recovery)\.signal|recovery\.(conf|done)|backup_manifest|current_logfiles"
    r"|pg_internal\.init|pgsql_tmp.*|lost\+found)$"
)


class Way(str, Enum):
    """What has to be done to a data directory."""

    #: It follows as it is, marked as a standby.
    START = "start"
    #: pg_rewind takes back what the other server does not have.
    REWIND = "rewind"
    #: Only a new copy helps.
    COPY = "copy"


@dataclass(frozen=True)
class Target:
    """The directory that is to follow."""

    system_identifier: str
    #: PostgreSQL's version number, of the programs here.
    version: int
    timeline: int | None
    #: What the control file says of its state.
    state: str
    checkpoint_lsn: str | None
    minimum_recovery_lsn: str | None = None
    #: Each earlier timeline and where it was left; None where the history is not known.
    forks: t.Mapping[int, str] | None = None
    is_standby: bool = False
    #: Nothing marks it as a standby, and yet it was one to its end, as its control file and its configuration say.
    is_unmarked: bool = False
    data_checksums: bool = False
    wal_log_hints: bool = False
    full_page_writes: bool | None = None
    has_program: bool = True


@dataclass(frozen=True)
class Source:
    """The server that is to be followed."""

    shown: str
    system_identifier: str
    version: int
    #: The timeline that it writes now, and the one of its last checkpoint.
    timeline: int
    checkpoint_timeline: int
    in_recovery: bool = False
    lsn: str | None = None
    forks: t.Mapping[int, str] | None = None
    #: Functions that the role may not run there.
    missing: tuple[str, ...] = ()
    #: Whether the role would have to be a superuser there, and is none.
    needs_superuser: bool = False


class Decision(t.NamedTuple):
    """A way, with the evidence for it as a clause, and what stands against it."""

    way: Way
    why: str
    #: Why pg_rewind cannot do it, as sentences with what to do.
    against: tuple[str, ...] = ()


def is_clean(state: str) -> bool:
    """Whether the control file tells how far the WAL goes.

    >>> is_clean("shut down"), is_clean("in production")
    (True, False)
    """
    return state in timelines.CLEAN


def own_entries(names: t.Iterable[str]) -> list[str]:
    """What of a data directory's top belongs to the host itself, so that a rewind must not replace it.

    >>> own_entries(["base", "postgresql.conf", "pg_wal", "log", "server.key", "standby.signal"])
    ['log', 'postgresql.conf', 'server.key']
    """
    return sorted(name for name in names if not _SERVERS_OWN.match(name))


def diverged(target: Target, source: Source) -> str | None:
    """Why the target cannot follow as it is, as a clause with the evidence; None where it can."""
    if target.timeline is None:
        return "its timeline is not known"
    ours = timelines.History(
        target.timeline,
        target.forks,
        begun=target.checkpoint_lsn,
        ended=target.minimum_recovery_lsn,
        killed=not _was_standby(target) and not is_clean(target.state),
    )
    # Of a history that could not be read nothing says that it leads there.
    why = timelines.divergence(ours, timelines.History(source.timeline, source.forks or {}), source.shown)
    if why is None and target.is_unmarked and target.timeline == source.timeline:
        return _ahead(target, source)
    if why is None and target.timeline == source.timeline and not target.is_standby:
        return f"both were primaries of timeline {target.timeline}, so nothing tells where their ways parted"
    return why


#: What a control file says of a server that never wrote WAL of its own since it began its recovery.
_IN_RECOVERY = ("shut down in recovery", "in archive recovery")


def lost_its_mark(state: str, configured: t.Mapping[str, str]) -> bool:
    """Whether a directory without a mark is that of a standby, which the settings that its server reads have to say as
    well: a restoration to a point in time that was stopped looks the same.

    >>> lost_its_mark("shut down in recovery", {"primary_conninfo": "host=pg1"})
    True
    >>> lost_its_mark("shut down", {"primary_conninfo": "host=pg1"})
    False
    >>> lost_its_mark("shut down in recovery", {"primary_conninfo": "host=pg1", "recovery_target_time": "2026-01-01"})
    False
    """
    targets = [name for name in RECOVERY_TARGETS if configured.get(name)]
    return state in _IN_RECOVERY and bool(configured.get("primary_conninfo")) and not targets


def _was_standby(target: Target) -> bool:
    return target.is_standby or target.is_unmarked


def _ahead(target: Target, source: Source) -> str | None:
    """On one timeline a standby is never ahead of its primary."""
    ours = target.minimum_recovery_lsn or target.checkpoint_lsn
    if ours and source.lsn and parse_lsn(ours) > parse_lsn(source.lsn):
        return f"it is at {ours} of timeline {target.timeline}, and {source.shown} only at {source.lsn}"
    return None


def decide(target: Target, source: Source) -> Decision:
    """The cheapest way that is correct."""
    if target.system_identifier != source.system_identifier:
        return Decision(
            Way.COPY,
            f"it is system {target.system_identifier}, and {source.shown} is system {source.system_identifier}",
            ("They are no copies of one cluster, so the one cannot become a standby of the other.",),
        )
    why = diverged(target, source)
    if why is None and target.is_unmarked:
        return Decision(Way.START, "it was a standby until it was stopped, and only the file that marks one is gone")
    if why is None:
        return Decision(Way.START, f"it holds nothing that {source.shown} does not have")
    against = tuple(_against(target, source))
    return Decision(Way.COPY if against else Way.REWIND, why, against)


def _against(target: Target, source: Source) -> t.Iterator[str]:
    if target.timeline == source.timeline and not target.is_standby:
        yield "pg_rewind goes by timelines, and here they are the same."
    if not target.has_program:
        yield "There is no pg_rewind of this version here: install PostgreSQL's client programs."
    if not (target.data_checksums or target.wal_log_hints):
        yield (
            "pg_rewind needs data checksums or wal_log_hints = on, from before the ways parted. Set wal_log_hints in "
            "pgtandem_parameters for the next time."
        )
    if target.full_page_writes is False:
        yield "pg_rewind needs full_page_writes = on, from before the ways parted."
    if source.in_recovery and not supports(source.version, "rewind_from_standby"):
        since = since_text("rewind_from_standby")
        yield f"{source.shown} is a standby, which pg_rewind takes as its source from {since} on."
    if source.missing:
        yield (
            f"The role may not run {', '.join(source.missing)} on {source.shown}: let site.yml grant that "
            "(pg_replication_role with rewind: true), or log in as a superuser."
        )
    if source.needs_superuser:
        since = since_text("rewind_by_role")
        yield f"Before {since} pg_rewind logs in as a superuser only, and the role is none on {source.shown}."
    if source.checkpoint_timeline != source.timeline and not supports(source.version, "rewind_sees_promotion"):
        yield (
            f"{source.shown} was promoted and has written no checkpoint since, so that pg_rewind would not see that it "
            "was promoted: run CHECKPOINT there (module pg_checkpoint)."
        )


_SEGMENT = re.compile(r"^[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})(\.partial)?$")


def needed_wal(names: t.Iterable[str], *, first: str | None, last: str | None, segment_bytes: int | None) -> list[str]:
    """The files of the WAL that pg_rewind reads on the target, so that it can read them when it runs again.

    C(first) is the last common checkpoint, C(last) the end of the WAL; where one is not known all files count.

    >>> needed_wal(["000000010000000000000001", "000000010000000000000002", "000000010000000000000007",
    ...     "00000002.history", "archive_status"], first="0/2000060", last="0/30000D8", segment_bytes=16 << 20)
    ['000000010000000000000002', '00000002.history']
    """
    found = []
    for name in sorted(names):
        match = _SEGMENT.match(name)
        if match and first and last and segment_bytes:
            number = int(match.group(1), 16) * (0x100000000 // segment_bytes) + int(match.group(2), 16)
            # The last record may go on in the segment that follows.
            if not parse_lsn(first) // segment_bytes <= number <= parse_lsn(last) // segment_bytes + 1:
                continue
        elif not match and not name.endswith(".history"):
            continue
        found.append(name)
    return found


#: What pg_rewind says where WAL of the target is gone, in its versions from 9.5 on.
_WAL_GONE = (
    "could not find previous WAL record",
    "could not find common ancestor",
    "could not read WAL record",
    "pg_wal/",
    "pg_xlog/",
)


def is_wal_gone(said: str) -> bool:
    """Whether pg_rewind ended since the target lacks WAL.

    >>> is_wal_gone("pg_rewind: error: could not find previous WAL record at 0/3000060: ...")
    True
    """
    return any(words in said for words in _WAL_GONE)


def usable_restore_command(command: str, version: int) -> str:
    """The command by which pg_rewind can fetch WAL from an archive; empty where it cannot (fe_archive.c refuses %r).

    >>> [usable_restore_command(text, 150000) for text in ("cp /a/%f %p", "get %f %p %r", "")]
    ['cp /a/%f %p', '', '']
    >>> usable_restore_command("cp /a/%f %p", 120000)
    ''
    """
    refused = re.search(r"(?<!%)(%%)*%r", command)
    return "" if refused or not supports(version, "rewind_restores_wal") else command.strip()


def explained(said: str, *, asked_archive: bool = False) -> str:
    """What stands behind an error of pg_rewind's, as a sentence.

    >>> explained('pg_rewind: error: could not open file "/d/pg_wal/000000010000000000000006": No such file')[:51]
    'The WAL back to where the ways parted is gone here '
    """
    line = " ".join(said.split())
    if is_wal_gone(line):
        where = "here, and restore_command does not bring it" if asked_archive else "here"
        archive = "" if asked_archive else " Where an archive has it, set pgtandem_restore_command."
        return f"The WAL back to where the ways parted is gone {where} (pg_rewind: {line}).{archive}"
    return f"pg_rewind refuses: {line}."
