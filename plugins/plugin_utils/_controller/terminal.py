# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The one way of this collection to the terminal: no text of a host steers it, or looks like a line of Ansible's."""

from __future__ import annotations

from ansible.utils.display import Display
from ansible_collections.pgtandem.replication.plugins.module_utils._values.secrets import mask_secrets
from ansible_collections.pgtandem.replication.plugins.module_utils._values.text import printable, shorten

#: As wide as a line gets; the trees of large clusters are far from it.
_LINE = 2000


def one_line(text: str) -> str:
    """A text as a line of a terminal."""
    return shorten(printable(mask_secrets(str(text))), _LINE)


def show(text: str, *, color: str | None = None) -> None:
    """Print a line."""
    Display().display(one_line(text), color=color)


def warn(text: str) -> None:
    """Print a warning."""
    Display().warning(one_line(text))
