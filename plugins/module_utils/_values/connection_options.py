# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Which options of libpq a user may give the replication connection (manual, Parameter Key Words).

A WAL receiver that does not know one, or whose wish nobody can meet, tries again for ever and says so only in its log;
so the run stops before.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._versions import (
    CONNECTION_OPTIONS,
    SESSION_ATTRIBUTES,
    Span,
    major_text,
)

#: Options that follow from the inventory.
DERIVED_OPTIONS = (
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "passfile",
    "port",
    "replication",
    "service",
    "servicefile",
    "user",
)
#: Options that would put a secret into a file and a view that others can read.
SECRET_OPTIONS = ("oauth_client_secret", "password", "scram_client_key", "scram_server_key", "sslpassword")

_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)
_SSL_MODES = ("allow", "disable", "prefer", "require", "verify-ca", "verify-full")


def connection_option_problems(options: t.Mapping[str, str], version: int | None = None) -> list[str]:
    """Sentences for options that a user may not set, or that this version's libpq does not have.

    >>> connection_option_problems({"sslmode": "require", "port": "1"})
    ['pgtandem_connection_options may not have port: it follows from the inventory.']
    >>> connection_option_problems({"sslsni": "0"}, 130000)
    ['pgtandem_connection_options: libpq of PostgreSQL 13 has no sslsni; it came with 14.']
    """
    return [sentence for name in sorted(options) for sentence in _problems(name, options[name], version)]


def _problems(name: str, value: str, version: int | None) -> t.Iterator[str]:
    ours = "pgtandem_connection_options"
    if name in DERIVED_OPTIONS:
        yield f"{ours} may not have {name}: it follows from the inventory."
    elif name in SECRET_OPTIONS:
        yield f"{ours} may not have {name}, as a secret does not belong in a file that others read."
    elif name not in CONNECTION_OPTIONS:
        yield f"{ours}: libpq has no option {name!r} that a replication connection takes."
    elif version is not None and not CONNECTION_OPTIONS[name].holds(version):
        since = major_text(CONNECTION_OPTIONS[name].since or 0)
        yield f"{ours}: libpq of PostgreSQL {major_text(version)} has no {name}; it came with {since}."
    elif any(char in value for char in "\r\n\0"):
        yield f"{ours}: {name} holds a line break or a NUL."
    elif name in _NUMBERS and not value.isdigit():
        yield f"{ours}: {name} is {value!r}; it is a whole number."
    elif name == "sslmode" and value not in _SSL_MODES:
        yield f"{ours}: sslmode is {value!r}; it is one of {', '.join(_SSL_MODES)}."
    elif name == "target_session_attrs":
        known = [one for one, span in SESSION_ATTRIBUTES.items() if version is None or span.holds(version)]
        if value not in known:
            libpq = f"libpq of PostgreSQL {major_text(version)}" if version is not None else "libpq"
            yield f"{ours}: {libpq} has no target_session_attrs {value!r}; it has {', '.join(known)}."


def known_options(options: t.Mapping[str, str], libpq: int) -> dict[str, str]:
    """Those of the options that a libpq of some version has: one that does not know them fails for each.

    >>> known_options({"require_auth": "scram-sha-256", "sslmode": "require", "passfile": "/p"}, 150000)
    {'sslmode': 'require', 'passfile': '/p'}
    """
    return {name: value for name, value in options.items() if CONNECTION_OPTIONS.get(name, Span()).holds(libpq)}


def unmet_session_attribute(options: t.Mapping[str, str], *, upstream_is_primary: bool) -> bool:
    """Whether target_session_attrs asks for what the upstream is not.

    >>> unmet_session_attribute({"target_session_attrs": "read-write"}, upstream_is_primary=False)
    True
    """
    wanted = options.get("target_session_attrs", "any")
    return wanted in (("read-only", "standby") if upstream_is_primary else ("primary", "read-write"))
