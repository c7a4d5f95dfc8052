# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The one kind of failure that reaches the user, as a sentence and not as a traceback."""

from __future__ import annotations

import typing as t


class ReplicationError(Exception):
    """A state or an input that stops the run.

    The message says what was seen, why it stops the run and what to do next. Extra keyword arguments become keys of
    the module's failed result.
    """

    def __init__(self, message: str, **details: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def result(self) -> dict[str, t.Any]:
        """The arguments for C(fail_json)."""
        return dict(self.details, msg=self.message)


#: A server that is starting up, shutting down or not consistent yet; its words are in its own language.
CANNOT_CONNECT_NOW = "57P03"


class DatabaseError(ReplicationError):
    """The server refused a connection or a statement; the message holds the server's own line."""

    def __init__(self, message: str, *, sqlstate: str | None = None, **details: t.Any) -> None:
        super().__init__(message, **details)
        self.sqlstate = sqlstate


class CommandFailed(ReplicationError):
    """A program ended with a status other than zero."""
