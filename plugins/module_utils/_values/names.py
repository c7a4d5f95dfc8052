# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Names that the collection derives from inventory names."""

from __future__ import annotations

import re

#: NAMEDATALEN - 1 of a stock server: the length of a slot's name and of an application_name in bytes.
NAME_LENGTH = 63


def slot_name(host: str) -> str:
    """The physical slot of a standby: lower case letters, digits and underscores (manual, Replication Slots).

    >>> slot_name("PG-2.example.com")
    'pg_2_example_com'
    """
    return re.sub(r"[^a-z0-9_]", "_", host.lower())[:NAME_LENGTH]


def application_name(host: str) -> str:
    """The name a standby gives itself: what a server would change in it is changed here, so that rows can be matched.

    >>> application_name("pg-2")
    'pg-2'
    """
    return re.sub(r"[^\x20-\x7e]", "?", host)[:NAME_LENGTH]
