# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What the kernel's tables say of a host's addresses and of who listens on them (proc(5)): pure text in."""

from __future__ import annotations

import ipaddress
import re
import struct

_LISTENING = "0A"


def parse_listeners(text: str, port: int) -> list[str]:
    """The addresses of the rows of /proc/net/tcp or tcp6 that listen on a port.

    >>> row = "   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1"
    >>> parse_listeners("head\\n" + row, 5432), parse_listeners("head\\n" + row, 5433)
    (['127.0.0.1'], [])
    """
    found = []
    for row in text.splitlines()[1:]:
        fields = row.split()
        address, _colon, own_port = fields[1].partition(":")
        if fields[3] == _LISTENING and int(own_port, 16) == port:
            # Each group of four bytes is written as a number of this machine.
            words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
            found.append(str(ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))))
    return found


def local_addresses(tree: str, six: str) -> list[str]:
    r"""The addresses in /proc/net/fib_trie and /proc/net/if_inet6.

    >>> local_addresses("  |-- 10.0.0.2\n     /32 host LOCAL\n  |-- 10.0.0.255\n     /32 link BROADCAST\n", "")
    ['10.0.0.2']
    >>> local_addresses("", "fd000000000000000000000000000002 02 40 00 80 eth0\n")
    ['fd00::2']
    """
    found = set(re.findall(r"\|-- ([0-9.]{7,15})\n\s+/32 host LOCAL", tree))
    for row in six.splitlines():
        address = ipaddress.ip_address(bytes.fromhex(row.split()[0]))
        if not address.is_link_local:
            found.add(str(address))
    return sorted(found)
