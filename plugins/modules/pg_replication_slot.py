#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_replication_slot
short_description: Manage the physical replication slots of a server
version_added: 1.0.0
description:
  - Creates and drops physical replication slots, on a primary and on a standby alike.
  - A slot that the server has invalidated (C(wal_status) V(lost)) keeps no WAL any more, though some versions still let
    a standby use it. Where nobody uses it, it is dropped and created anew; where somebody does, a warning says so.
  - A logical slot is never touched, and a slot in use is never dropped.
  - Nothing is created unless there is room for all of O(names) in C(max_replication_slots).
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
  - pgtandem.replication.login
attributes:
  check_mode:
    support: full
    details:
      - Where no server runs on the host yet, the slots are taken for missing.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  names:
    description: The names of the slots. Lower case letters, digits and underscores.
    type: list
    elements: str
    required: true
    aliases: [name]
  state:
    description: Whether the slots are there.
    type: str
    choices: [present, absent]
    default: present
  reserve:
    description:
      - Whether a slot keeps WAL from its creation on, and not only from its first use. Version 9.6 and newer.
      - An unused slot that keeps no WAL yet is created anew with V(true), and left as it is with V(false).
    type: bool
    default: true
seealso:
  - module: pgtandem.replication.pg_replication_role
  - name: Replication slots
    description: What a slot keeps, and what that costs.
    link: https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS
"""

EXAMPLES = r"""
- name: A slot for each standby
  pgtandem.replication.pg_replication_slot:
    names: [pg2, pg3]
  become: true

- name: A standby that is gone for good
  pgtandem.replication.pg_replication_slot:
    name: pg3
    state: absent
  become: true
"""

RETURN = r"""
slots:
  description: Those of O(names) that are there after the run; in check mode as they are.
  returned: success
  type: list
  elements: dict
  sample:
    - name: pg2
      active: true
      active_pid: 4711
      restart_lsn: 0/3000060
      wal_status: reserved
      invalidation_reason: null
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["Create the slot pg2, reserving WAL at once"]
queries:
  description: The statements that were run, or in check mode would be run.
  returned: success
  type: list
  elements: str
  sample: ["SELECT pg_create_physical_replication_slot('pg2', true)"]
"""

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_options
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.slot import manage_slots


def main() -> None:
    """Wire the module's options to its job."""
    run_job(
        manage_slots,
        dict(
            login_options(),
            names={"type": "list", "elements": "str", "required": True, "aliases": ["name"]},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            reserve={"type": "bool", "default": True},
        ),
    )


if __name__ == "__main__":
    main()
