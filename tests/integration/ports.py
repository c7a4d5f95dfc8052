# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports for servers, which no other worker of the session hands out and no client's connection is given.

A port that the kernel picks is one of those that it picks for connections as well, and for the next worker that asks,
until a server listens on it.
"""

from __future__ import annotations

import itertools
import os
import random
import socket

#: Below net.ipv4.ip_local_port_range.
_FIRST, _LAST = 15000, 32000
_WORKERS = 12
_EACH = (_LAST - _FIRST) // _WORKERS
_worker = int("0" + "".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", "")))) % _WORKERS
#: Sessions side by side begin in different places.
_numbers = itertools.count(random.SystemRandom().randrange(_EACH))


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    for number in itertools.islice(_numbers, _EACH):
        port = _FIRST + _worker * _EACH + number % _EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("every port is taken")
