# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which servers of other hosts a module tries to reach; module_utils/_argspec.py has the same options."""

    DOCUMENTATION = r"""
options:
  reach:
    description:
      - Servers of other hosts. Each is tried by a TCP connection from this host, all of them at once, within two
        seconds. C(unreached) in C(replication) has those to which none could be made.
    type: list
    elements: dict
    suboptions:
      name:
        description: The host's name in the inventory.
        type: str
        required: true
      host:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        required: true
"""
