# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The addresses of this host, where a server of it listens, and whether another one can be reached from here."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.listeners import (
    local_addresses,
    parse_listeners,
)

#: How long all of the tries together may take.
REACH_SECONDS = 2.0


def _text_of(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def listens_on(port: int) -> list[str] | None:
    """The addresses that somebody listens on at a TCP port of this host; None where that cannot be seen."""
    tables = {family: _text_of(f"/proc/net/tcp{'6' if family == 6 else ''}") for family in (4, 6)}
    if tables[4] is None:
        return None
    return sorted({one for text in tables.values() if text for one in parse_listeners(text, port)})


def own_addresses() -> list[str] | None:
    """The addresses of this host; None where they cannot be seen."""
    tree = _text_of("/proc/net/fib_trie")
    return None if tree is None else local_addresses(tree, _text_of("/proc/net/if_inet6") or "")


class Lookup(t.NamedTuple):
    """What the system knows of a host's name."""

    addresses: tuple[str, ...]
    #: Whether the look-up of each address leads back to that name, without which no rule of pg_hba.conf matches it.
    leads_back: bool
    #: The name that it leads to instead; empty where there is none.
    other: str


def look_up(name: str) -> Lookup:
    """A name there and back, as a server does it with a name in pg_hba.conf (manual, The pg_hba.conf File)."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Lookup((), False, "")
    addresses = tuple(dict.fromkeys(str(row[4][0]) for row in found))
    back = [_name_of(address) for address in addresses]
    other = next((one for one in back if one.lower() != name.lower().rstrip(".")), "")
    return Lookup(addresses, all(one.lower() == name.lower() for one in back), other)


def _name_of(address: str) -> str:
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except OSError:
        return ""


class Place(t.NamedTuple):
    """A server of another host, where it is to be found."""

    name: str
    host: str
    port: int


def unreached(places: t.Sequence[Place], seconds: float = REACH_SECONDS) -> list[dict[str, t.Any]]:
    """Those of the places that no TCP connection can be made to from here, and why.

    All of them are tried at once, at each address that a name has.
    """
    reasons: dict[Place, str] = {}
    reached: set[Place] = set()
    waiting: dict[socket.socket, Place] = {}
    for place in places:
        try:
            found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except OSError as error:
            reasons[place] = error.strerror or str(error)
            continue
        for family, kind, protocol, _name, address in found:
            try:
                trying = socket.socket(family, kind, protocol)
            except OSError as error:
                reasons[place] = error.strerror or str(error)
                continue
            trying.setblocking(False)
            status = trying.connect_ex(address)
            if status in (0, errno.EINPROGRESS):
                waiting[trying] = place
            else:
                trying.close()
                reasons[place] = os.strerror(status)
    deadline = time.monotonic() + seconds
    while waiting:
        _readable, ready, _broken = select.select([], list(waiting), [], max(0.0, deadline - time.monotonic()))
        for trying in ready or list(waiting):
            place = waiting.pop(trying)
            status = trying.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
            trying.close()
            if status:
                reasons[place] = os.strerror(status)
            else:
                reached.add(place)
    return [
        {"name": place.name, "host": place.host, "port": place.port, "reason": reasons[place]}
        for place in sorted(set(places) - reached)
    ]
