# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Act as another account for a moment, inside this process; only root can."""

from __future__ import annotations

import contextlib
import os
import typing as t


@contextlib.contextmanager
def effective_user(uid: int, gid: int) -> t.Iterator[None]:
    """Take an account's effective ids. Without root, or for root, nothing is taken.

    Peer authentication looks at the effective uid of whoever opens the socket, and the kernel shows a process's
    details to its own uid and gid.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    before = os.getegid()
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(before)
