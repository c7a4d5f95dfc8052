#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_set_aside
short_description: Delete, keep or bring back a data directory that was set aside for a new copy
version_added: 1.0.0
description:
  - M(pgtandem.replication.pg_basebackup) sets a data directory aside with its option C(replace). What lies there, and
    where, is noted in a journal beside the data directory; nothing else is ever touched.
  - Does nothing where nothing was set aside.
options:
  state:
    description:
      - V(absent) deletes it, where a whole cluster has taken its place. V(kept) notes that the new one is proven and
        the old one stays. V(restored) brings it back, where nothing whole has taken its place.
    type: str
    choices: [absent, kept, restored]
    required: true
  unproven:
    description: Leave alone what V(kept) was said of before, which is there on purpose.
    type: bool
    default: false
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: pgtandem.replication.pg_basebackup
"""

EXAMPLES = r"""
- name: The new copy streams, so the old directory may go
  pgtandem.replication.pg_set_aside:
    state: absent
  become: true

- name: The copy failed for good, and the old directory is still of use
  pgtandem.replication.pg_set_aside:
    state: restored
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["delete /var/lib/postgresql/15/main.pgtandem-aside, which had been set aside"]
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.set_aside import (
    keep,
    read_journal,
    remove,
    restore,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host

_JOBS = {"absent": remove, "kept": keep, "restored": restore}


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Do what the state asks for."""
    if module.params["unproven"] and read_journal(host).get("proven"):
        return {"changed": False, "actions": []}
    actions = _JOBS[module.params["state"]](host, check_mode=module.check_mode)
    return {"changed": bool(actions), "actions": actions}


def main() -> None:
    """The module's entry."""
    run_job(
        job,
        {
            "state": {"type": "str", "choices": list(_JOBS), "required": True},
            "unproven": {"type": "bool", "default": False},
        },
    )


if __name__ == "__main__":
    main()
