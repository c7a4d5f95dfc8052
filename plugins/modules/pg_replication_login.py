#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_replication_login
short_description: Try to log in at a server for replication
version_added: 1.0.0
description:
  - Logs in at another server from this host as its WAL receiver would, with the same role and password file, and asks
    the server who it is (C(IDENTIFY_SYSTEM)). So C(pg_hba.conf), password, network and WAL senders are known to be
    ready before they are needed.
  - It changes nothing.
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
attributes:
  check_mode:
    support: full
    details: It logs in all the same.
  diff_mode:
    support: N/A
    details: It changes nothing.
  idempotent:
    support: full
options:
  upstream_host:
    description: The server's address.
    type: str
    required: true
  upstream_port:
    description: Its port.
    type: int
    default: 5432
  upstream_options:
    description: More options of libpq for the connection, such as C(sslmode).
    type: dict
    default: {}
  replication_user:
    description: The role to log in with; its password is taken from the instance's password file.
    type: str
    default: replica
  system_identifier:
    description: The system that the server must belong to; empty takes any.
    type: str
    default: ""
seealso:
  - module: pgtandem.replication.pg_basebackup
  - name: Streaming Replication Protocol
    description: What IDENTIFY_SYSTEM answers.
    link: https://www.postgresql.org/docs/current/protocol-replication.html
"""

EXAMPLES = r"""
- name: Could this host follow pg2
  pgtandem.replication.pg_replication_login:
    version: "15"
    upstream_host: 192.0.2.12
  become: true
"""

RETURN = r"""
system_identifier:
  description: The system that the server belongs to.
  returned: success
  type: str
  sample: "7480000000000000000"
timeline:
  description: Its timeline.
  returned: success
  type: int
  sample: 1
lsn:
  description: How far its WAL goes.
  returned: success
  type: str
  sample: 0/5000148
"""

from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.login_probe import try_login


def main() -> None:
    """Wire the module's options to its job."""
    run_job(
        try_login,
        {
            "upstream_host": {"type": "str", "required": True},
            "upstream_port": {"type": "int", "default": 5432},
            "upstream_options": {"type": "dict", "default": {}},
            "replication_user": {"type": "str", "default": "replica"},
            "system_identifier": {"type": "str", "default": ""},
        },
    )


if __name__ == "__main__":
    main()
