# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What to do about a refused login, where its cause is known: by the SQLSTATE, or for replication also by English words
of the server's or of libpq's."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.log_causes import remedy_for


class Answer(t.Protocol):
    """What a server answers to a start-up packet."""

    @property
    def sqlstate(self) -> str: ...

    @property
    def asks(self) -> bool: ...

    @property
    def admits(self) -> bool: ...

    @property
    def silent(self) -> bool: ...

    @property
    def failed(self) -> str: ...


#: For a login from another host: why there was no connection, and SQLSTATEs. Each is looked up by English words for it.
_WORDS = {
    "refused": "Connection refused",
    "unresolved": "could not translate host name",
    "unreachable": "No route to host",
    "silent": "timeout expired",
    "53300": "sorry, too many clients",
    "57P03": "is starting up",
    "42501": "permission denied to start WAL sender",
    "28000": "no pg_hba.conf entry",
}


def login_advice(message: str, answer: Answer) -> str:
    """One sentence about a login for replication, nothing where its cause is not known.

    C(answer) is that to a start-up packet without a password, as which most refusals come.
    """
    # Where it asks for a password the refusal came after it, in words alone.
    known = _WORDS.get("silent" if answer.silent else answer.failed or answer.sqlstate, "")
    remedy = remedy_for(message) or (remedy_for(known) if known else None)
    return f"{remedy[0].upper()}{remedy[1:]}." if remedy else ""


_SET_LOGIN = (
    "Set login_user and login_password (pgtandem_login_user, pgtandem_login_password) to a superuser, or let "
    "pg_hba.conf admit it through the socket."
)
_LOCAL_ADVICE = {
    # It is starting up, shutting down, or recovers without hot_standby.
    "57P03": "Wait until it accepts connections, and run again; its log says what it is waiting for.",
    "53300": "All its connections are taken: end sessions, or raise max_connections. A superuser has those of "
    "superuser_reserved_connections.",
    "3D000": "Name a database that is there in login_db (pgtandem_login_db), or create that one.",
    "28000": _SET_LOGIN,
    "28P01": _SET_LOGIN,
}


def local_login_advice(answer: Answer, *, password: bool = False, options: bool = False) -> str:
    """One sentence where the cause is known, nothing where it is not. C(password) and C(options) were given."""
    if answer.silent:
        return (
            "It accepts the connection and says nothing: its main process may have been stopped by a signal "
            "(kill -CONT lets it go on), or the host is overloaded."
        )
    if answer.failed == "refused":
        return "Nothing listens there: check login_port and login_host (login_unix_socket), and that the server runs."
    if options and (answer.admits or answer.asks):
        return "Check connect_params, which it would not need to come that far."
    if answer.asks:
        return (
            "It asks for a password. Check login_user, login_password and login_db, and that the password has not "
            "expired (VALID UNTIL)."
            if password
            else _SET_LOGIN
        )
    return _LOCAL_ADVICE.get(answer.sqlstate, "")
