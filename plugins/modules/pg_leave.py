#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_leave
short_description: Take from a standby that leaves its cluster what it logs in with
version_added: 1.1.0
description:
  - Removes the password file, and the certificates and keys, that the collection placed beside the data directory. The
    server that follows by them cannot do so any more. Files of others are left.
  - With the layout of Debian, keeps the cluster from starting with its host (C(start.conf)).
  - Fails where the server runs, or where the data directory is a primary's.
options:
  secrets:
    description: Whether to remove the password file, the certificates and the keys.
    type: bool
    default: true
  delete_data:
    description: Whether to delete the standby's data directory. Folders of tablespaces stay.
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
  - module: pgtandem.replication.pg_instance
"""

EXAMPLES = r"""
- name: Stop the standby
  pgtandem.replication.pg_instance:
    state: stopped
  become: true

- name: Take from it what it logs in with
  pgtandem.replication.pg_leave:
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["remove the password file /var/lib/postgresql/15/main.pgpass"]
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.departure import leave_from

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Do what is asked for."""
    return leave_from(host, module.params, check_mode=module.check_mode)


def main() -> None:
    """The module's entry."""
    run_job(job, {"secrets": {"type": "bool", "default": True}, "delete_data": {"type": "bool", "default": False}})


if __name__ == "__main__":
    main()
