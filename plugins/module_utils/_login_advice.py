# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What to do about a refused login for replication, by the words of the server or of libpq."""

from __future__ import annotations

#: The first whose words are in the message counts.
_LOGIN_ADVICE = (
    ("password authentication failed", "Check pgtandem_replication_user and pgtandem_replication_password."),
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
