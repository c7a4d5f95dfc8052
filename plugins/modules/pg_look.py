#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_look
short_description: Look whether an instance is what its inventory asks for
version_added: 1.0.0
description:
  - Reads an instance as M(pgtandem.replication.pg_replication_status) does, asks M(pgtandem.replication.pg_instance)
    what it would change, and sees whether replication flows, in one run on the host.
  - It is a building block of the collection's roles, which call it through M(pgtandem.replication.pg_node), and its
    options and result may change with them.
options:
  wanted:
    description:
      - Options of M(pgtandem.replication.pg_instance), without those that say which instance is meant and without
        passwords.
    type: dict
    required: true
  replication_password:
    description: As O(pgtandem.replication.pg_instance#module:replication_password).
    type: str
  followers:
    description:
      - The C(application_name) of every other host of the cluster, where all of them follow this one. Where all of them
        stream from here, a primary writes a position, unless in check mode, and waits until they have replayed it.
        Without this option nothing is written, and a primary is not proven.
    type: list
    elements: str
  patience:
    description: Seconds to wait for that.
    type: float
    default: 2.0
  parameters:
    description: As O(pgtandem.replication.pg_replication_status#module:parameters).
    type: dict
extends_documentation_fragment:
  - pgtandem.replication.instance
  - pgtandem.replication.login
  - pgtandem.replication.reach
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: pgtandem.replication.pg_node
"""

EXAMPLES = r"""
- name: Look whether this primary is as it should be
  pgtandem.replication.pg_look:
    version: "17"
    wanted:
      parameters:
        max_connections: 300
      slots: [pg2]
    followers: [pg2]
  register: seen
"""

RETURN = r"""
sealed:
  description:
    - RV(pgtandem.replication.pg_replication_status#module:replication) and the answer, as a text from which Ansible
      strikes no letters of a password.
  returned: success
  type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import (
    instance_from,
    login_options,
    reach_options,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host, look_at_facts
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.look import look
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import status_without_instance
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import ModuleRunner
from ansible_collections.pgtandem.replication.plugins.module_utils._values.sealed import seal


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Look at the instance."""
    return {"changed": False, "sealed": seal(look(host, module))}


def job_without_instance(error: ReplicationError, module: AnsibleModule) -> dict[str, t.Any]:
    """Say what can be said of a host on which the options describe no instance."""
    options = instance_from(module.params)
    facts = look_at_facts(options, ModuleRunner(module), Files(options.os_user))
    return {"changed": False, "sealed": seal({"replication": status_without_instance(error, facts), "answer": None})}


def main() -> None:
    """The module's entry."""
    run_job(
        job,
        dict(
            login_options(),
            wanted={"type": "dict", "required": True},
            replication_password={"type": "str", "no_log": True},
            followers={"type": "list", "elements": "str"},
            patience={"type": "float", "default": 2.0},
            **reach_options(),
            parameters={"type": "dict"},
        ),
        without_instance=job_without_instance,
    )


if __name__ == "__main__":
    main()
