# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What to do about a line of a server's or of libpq's, and which line of a log names the cause.

The words are English ones. Where a server speaks another language nothing is decided by them: a remedy is left out, or
comes by the SQLSTATE (see _login_advice).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.log_text import (
    join_continued,
    stops_a_process,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.quoting import redact_conninfo


class Cause(t.NamedTuple):
    """A line of a server's log, and the remedy where the cause is known."""

    line: str
    remedy: str | None

    def sentence(self) -> str:
        """For messages."""
        return f"Its log says: {self.line}" + (f" -- {self.remedy}" if self.remedy else "")


#: Lines that speak of the standby's own stream, not of a client that failed to log in to it.
_OF_THE_STREAM = re.compile(
    r"could not connect to the primary server|could not connect to the upstream|streaming replication receiver"
    r"|could not (?:receive data from|start|send data to) WAL stream|could not receive (?:database system|timeline)"
    r"|WAL stream(?:ing)? |recovery aborted|hot standby is not possible|forked off current database system timeline"
    r"|highest timeline \d+ of the primary|system identifier differs|requested timeline \d+|primary_conninfo"
)
#: A client's statement as the server logs it may hold any words.
_STATEMENT = re.compile(r"\bLOG:\s+(?:statement|duration|execute|parse|bind|fastpath|disconnection|connection)\b")

#: The first pattern that a line holds gives the remedy. The texts are the servers' own of 10 to 19, in English.
REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"password authentication failed",
        "the upstream does not accept the password: set pgtandem_replication_password to the role's own, see that it "
        "has not expired (VALID UNTIL), and check the standby's password file (passfile)",
    ),
    (
        r"no password supplied",
        "there was no password: set pgtandem_replication_password. The standby's password file must exist, have mode "
        "0600, and name the upstream's host literally as primary_conninfo does (passfile)",
    ),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        "the upstream's pg_hba.conf has no rule for this address, role and the database 'replication' ('all' does not "
        "cover it): run the upstream's role, or add one there and reload. A rule with a name counts only where DNS "
        "leads from this address back to that name",
    ),
    (
        r"Connection refused",
        "nothing listens there: check that the upstream runs, its port, its listen_addresses and the firewall",
    ),
    (
        r"timeout expired|timed out|No route to host|Network is unreachable",
        "the upstream cannot be reached: check its address (pgtandem_address), routes and the firewall",
    ),
    (r"could not translate host name", "the upstream's name does not resolve on this host: set pgtandem_address"),
    (
        r"has already been removed",
        "the upstream no longer has the WAL that this standby needs: seed the standby again (pgtandem_reseed), or give "
        "it the archive (pgtandem_restore_command); a slot (pgtandem_slots) keeps it from happening again",
    ),
    (
        r"can no longer (?:access|get changes from) replication slot|has been invalidated",
        "the slot on the upstream is lost: drop it and create it again, then seed the standby if its WAL is gone",
    ),
    (r"replication slot \S+ does not exist", "create that physical slot on the upstream (pgtandem_slots)"),
    (
        r"replication slot \S+ is active for PID",
        "another standby, or a left-over session of this one, uses that slot: each standby needs its own",
    ),
    (
        r"requested standby connections exceeds|sorry, too many clients|remaining connection slots"
        r"|too many connections for role",
        "the upstream has no connection left for it: raise max_wal_senders (max_connections, the role's limit) "
        "there. A base backup takes two WAL senders while it runs",
    ),
    (
        r"must be superuser or replication role|permission denied to start WAL sender|must have the \S*REPLICATION",
        "the role on the upstream lacks REPLICATION: run the primary's role, or pg_replication_role there",
    ),
    (
        r"role \S+ (?:does not exist|is not permitted to log in)",
        "make the login role on the upstream with pg_replication_role",
    ),
    (
        r"invalid connection option|invalid connection string",
        "primary_conninfo holds an option that this server's libpq does not know, as pg_basebackup -R of a newer "
        "version writes it: remove it, also from postgresql.auto.conf",
    ),
    (
        r"system identifier differs",
        "the upstream is another cluster: correct the upstream, or seed this standby from it (pgtandem_reseed)",
    ),
    (
        r"forked off current database system timeline|is not in this server's history|requested timeline \d+ is not"
        r"|highest timeline \d+ of the primary is behind",
        "this standby has WAL that the upstream does not have, so the two have diverged: rejoin it with pg_rewind (the "
        "playbook rejoin) or seed it again (pgtandem_reseed)",
    ),
    (
        r"lower setting than on the|insufficient parameter settings",
        "raise that parameter on the standby to the primary's value and restart it",
    ),
    (
        r"certificate verify failed|root certificate file|server does not support SSL|SSL error|certificate",
        "the TLS settings of both sides do not fit: check pgtandem_tls, the certificates and their dates",
    ),
    (
        r"authentication method requirement|channel binding required",
        "the upstream does not ask for the password in the way that this standby insists on. Look who listens there; "
        "where a rule of its pg_hba.conf or a proxy does it on purpose, set require_auth or channel_binding in "
        "pgtandem_connection_options",
    ),
    (r"is starting up|is shutting down", "the upstream is starting or stopping: wait for it"),
)


def remedy_for(line: str) -> str | None:
    """What to do about a line, None where it is not known."""
    for pattern, remedy in REMEDIES:
        if re.search(pattern, line):
            return remedy
    return None


#: What the WAL of a server is said to be that does not go on where a standby's own ends. Once, at the end of what lies
#: in pg_wal, that is nothing; over and over at one position it is.
_UNFIT = re.compile(
    r"(?:record with incorrect prev-link|incorrect resource manager data checksum|invalid resource manager ID"
    r"|invalid record length|invalid record offset|contrecord is requested|there is no contrecord flag"
    r"|unexpected pageaddr)\b.*? at ([0-9A-F]+/[0-9A-F]+)"
)
_OFTEN = 3
_PARTED = (
    "the upstream's WAL does not go on where this standby's own ends, so the two have diverged on one timeline, as "
    "after a start without standby.signal. pg_rewind goes by timelines: have it copied anew (pgtandem_reseed with "
    "pgtandem_reseed_mode=copy)"
)


def _parted(messages: t.Sequence[str]) -> Cause | None:
    """A standby that reads the same wrong record over and over."""
    places: dict[str, int] = {}
    for message in messages:
        match = _UNFIT.search(message)
        if match and not _STATEMENT.search(message):
            places[match.group(1)] = places.get(match.group(1), 0) + 1
            if places[match.group(1)] == _OFTEN:
                return Cause(message, _PARTED)
    return None


def cause_in(lines: t.Iterable[str]) -> Cause | None:
    """The last message about the stream, else the last that stopped a process; None where there is neither."""
    messages = join_continued(lines)
    known = [
        message
        for message in messages
        if _OF_THE_STREAM.search(message)
        and not _STATEMENT.search(message)
        and (remedy_for(message) or stops_a_process(message))
    ]
    parted = None if known else _parted(messages)
    if parted is not None:
        return parted
    fatal = [message for message in messages if stops_a_process(message)]
    if not known and not fatal:
        return None
    line = redact_conninfo((known or fatal)[-1])
    return Cause(line, remedy_for(line) if known else None)
