# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Act as another account for a moment, inside this process, with its groups; only root can.

The kernel then decides what may be read and written, so that no link, and no race, makes root do it. Three traps: an
import in such a section fails, since a module's own archive is root's; a program must not be started in one, since the
real uid is still root's; and C(os.access) asks for the real uid unless it is told otherwise.
"""

from __future__ import annotations

import functools
import os
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import account


class Identity(t.NamedTuple):
    """The ids by which the kernel judges."""

    uid: int
    gid: int
    groups: tuple[int, ...]


#: Who reads where the account is not there yet: what everybody may read.
NOBODY = Identity(65534, 65534, ())


@functools.lru_cache(maxsize=None)
def identity_of(user: str) -> Identity:
    """An account's ids with its supplementary groups; Debian's TLS key is readable through one of them."""
    entry = account(user)
    return Identity(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def become(identity: Identity) -> None:
    """Take an account's ids for good. Without root, or for root, nothing is taken."""
    if os.getuid() != 0 or identity.uid == 0:
        return
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)


class acting_as:
    """A section in which this process has an account's effective ids. Without root, or for root, nothing is taken.

    A section may stand in another one of the same account. Peer authentication looks at the effective uid of whoever
    opens the socket, and the kernel shows a process's details to its own uid and gid.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._before: tuple[int, list[int]] | None = None

    def __enter__(self) -> None:
        wanted, effective = self._identity, os.geteuid()
        if effective == wanted.uid or os.getuid() != 0:
            return
        if effective != 0:
            raise RuntimeError(f"uid {wanted.uid} cannot be taken in a section of uid {effective}")
        before = (os.getegid(), os.getgroups())
        try:
            os.setgroups(wanted.groups)
            os.setegid(wanted.gid)
            os.seteuid(wanted.uid)
        except BaseException:
            self._give_back(before)
            raise
        self._before = before

    def __exit__(self, *_unused: object) -> None:
        if self._before is not None:
            self._give_back(self._before)
            self._before = None

    @staticmethod
    def _give_back(before: tuple[int, list[int]]) -> None:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])
