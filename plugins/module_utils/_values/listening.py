# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Where a server listens, and whether that is where others look for it (manual, listen_addresses): pure values."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import names_in_list

_EVERYWHERE = {4: "0.0.0.0", 6: "::"}
_LOCALHOST = "localhost"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _is_loopback(text: str) -> bool:
    address = _address(text)
    return address.is_loopback if address else text.lower() == _LOCALHOST


def listens_at(address: str, *, on: t.Collection[str], own: t.Collection[str]) -> bool | None:
    """Whether a server that listens on some addresses is found at another one; None where that is not known.

    C(own) are the addresses of its host. What is not one of them is a name, or is translated on the way.

    >>> listens_at("10.0.0.2", on=["127.0.0.1", "::1"], own=["10.0.0.2"])
    False
    >>> listens_at("10.0.0.2", on=["0.0.0.0"], own=[]), listens_at("203.0.113.2", on=["10.0.0.2"], own=["10.0.0.2"])
    (True, None)
    """
    wanted = _address(address)
    if wanted is None:
        return None
    if _EVERYWHERE[wanted.version] in on or wanted in [_address(one) for one in on]:
        return True
    here = wanted.is_loopback or wanted in [_address(one) for one in own]
    return False if here or all(_is_loopback(one) for one in on) else None


def would_listen_at(value: str, address: str, *, own: t.Collection[str]) -> bool | None:
    """The same of a value of listen_addresses, as far as it is certain.

    >>> would_listen_at("localhost, 10.0.0.1", "10.0.0.2", own=["10.0.0.2"]), would_listen_at("*", "pg2", own=[])
    (False, True)
    >>> would_listen_at("localhost, pg2", "10.0.0.2", own=["10.0.0.2"]) is None
    True
    """
    names = names_in_list(value)
    if "*" in names:
        return True
    on: list[str] = []
    for name in names:
        if _address(name) is None and name.lower() != _LOCALHOST:
            # What a name means only its host knows.
            return None
        on += ["127.0.0.1", "::1"] if name.lower() == _LOCALHOST else [name]
    # A server does not start to listen on what its host does not have.
    return listens_at(address, on=[name for name in on if _can_be(name, own)], own=own)


def _can_be(name: str, own: t.Collection[str]) -> bool:
    address = _address(name)
    return address is None or address.is_loopback or address.is_unspecified or address in [_address(one) for one in own]


def listening_instead(value: str | None, wanted: str, *, address: str, own: t.Collection[str] | None) -> str | None:
    """What listen_addresses has to be in place of what another file says of it; None where that is left alone.

    A value that names loopback alone is what a server is delivered with. One that names addresses of another host came
    along with a copy: this host's own takes their place.

    >>> listening_instead(None, "*", address="10.0.0.2", own=["10.0.0.2"])
    '*'
    >>> listening_instead("localhost,10.0.0.1", "*", address="10.0.0.2", own=["10.0.0.2"])
    'localhost,10.0.0.2'
    >>> listening_instead("10.0.0.2", "*", address="10.0.0.2", own=["10.0.0.2"]) is None
    True
    """
    names = names_in_list("localhost" if value is None else value)
    if not wanted or "*" in names:
        return None
    if all(_is_loopback(name) for name in names):
        return wanted
    here = [name for name in names if _is_loopback(name)]
    others = [name for name in names if name not in here]
    if own is None or any(_address(name) is None or _can_be(name, own) for name in others):
        return None
    return ",".join([*here, address]) if wanted == "*" and _can_be(address, own) and _address(address) else wanted
