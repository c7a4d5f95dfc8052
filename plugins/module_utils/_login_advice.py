# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What to do about a refused login: for replication by the words of the server or of libpq, on the host itself by the
SQLSTATE."""

from __future__ import annotations

import typing as t


class Answer(t.Protocol):
    """What a server answers to a start-up packet."""

    @property
    def sqlstate(self) -> str: ...

    @property
    def asks(self) -> bool: ...

    @property
    def silent(self) -> bool: ...


#: The first whose words are in the message counts.
_LOGIN_ADVICE = (
    (
        "password authentication failed",
        "Check pgtandem_replication_user and pgtandem_replication_password, and that the password has not expired "
        "(VALID UNTIL).",
    ),
    ("no password supplied", "Set pgtandem_replication_password."),
    (
        "authentication method requirement",
        "Look who listens there: it does not ask for the password as that server does. Where it is meant, set "
        "require_auth in pgtandem_connection_options.",
    ),
    (
        "channel binding required",
        "Look who listens there: it does not prove that it is that server. Where a proxy ends TLS on purpose, set "
        "channel_binding in pgtandem_connection_options.",
    ),
    ("no pg_hba.conf entry", "Let pg_hba.conf on that server admit this host's address; run its role first."),
    ("Connection refused", "Is that server running, does it listen on this address, and is the port right?"),
    ("could not translate host name", "Set pgtandem_address of that host to a name or address this host can resolve."),
    ("timeout expired", "A firewall or a wrong address is likely."),
    (
        "number of requested standby connections exceeds",
        "A base backup takes two WAL senders while it runs: raise max_wal_senders on that server, or wait until "
        "others have ended.",
    ),
    ("too many connections for role", "A base backup logs in twice at once: raise that role's connection limit."),
    ("must be superuser or replication role", "That role lacks REPLICATION; run the primary's role first."),
    ("permission denied to start WAL sender", "That role lacks REPLICATION; run the primary's role first."),
)


def login_advice(message: str) -> str:
    """One sentence.

    >>> login_advice('connection failed: FATAL: no pg_hba.conf entry for replication connection from host "192.0.2.1"')
    "Let pg_hba.conf on that server admit this host's address; run its role first."
    """
    return next((advice for words, advice in _LOGIN_ADVICE if words in message), "Check the connection's settings.")


_SET_LOGIN = (
    "Set login_user and login_password (pgtandem_login_user, pgtandem_login_password) to a superuser, or let "
    "pg_hba.conf admit it through the socket."
)
_LOCAL_ADVICE = {
    # It is starting up, shutting down, or recovers without hot_standby.
    "57P03": "Wait until it accepts connections, and run again; its log says what it is waiting for.",
    "53300": "All its connections are taken: end sessions, or raise max_connections. A superuser has those of "
    "superuser_reserved_connections.",
    "3D000": "Name a database that is there in login_db, or create that one.",
    "28000": _SET_LOGIN,
    "28P01": _SET_LOGIN,
}


def local_login_advice(answer: Answer) -> str:
    """One sentence where the cause is known, nothing where it is not."""
    if answer.silent:
        return (
            "It accepts the connection and says nothing: its main process may have been stopped by a signal "
            "(kill -CONT lets it go on), or the host is overloaded."
        )
    return _SET_LOGIN if answer.asks else _LOCAL_ADVICE.get(answer.sqlstate, "")
