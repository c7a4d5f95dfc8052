# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What all modules of the collection have in common."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and tell what it would change, without changing anything.
  diff_mode:
    description: Returns what changed, or would change, when in diff mode.
  idempotent:
    description: A second run with the same options changes nothing.
author:
  - The pgtandem authors (@pgtandem)
"""

    ACTIONGROUP_REPLICATION = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/pgtandem.replication.replication) in C(module_defaults) to set options of all modules at once.
    support: full
    membership: [pgtandem.replication.replication]
"""

    CONTROLLER = r"""
options: {}
attributes:
  action:
    description: Has an action plugin, which runs on the controller.
    support: full
  check_mode:
    support: full
    details: It changes nothing on the hosts.
  diff_mode:
    support: N/A
    details: It changes nothing on the hosts.
  idempotent:
    support: full
notes:
  - It cannot be run by the module alone; the action plugin of the same name does the work.
"""
