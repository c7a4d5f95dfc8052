#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_basebackup
short_description: Seed the data directory of a standby from its upstream
version_added: 1.0.0
description:
  - Copies a running server into an absent or empty data directory, as the first step of making a standby.
  - Does nothing where the directory is a standby of that system already, and refuses every other directory with
    the state that it found; it never removes or overwrites anything that it did not make itself.
  - The copy grows in a folder of its own inside the data directory and is moved up when it is whole, marked as a
    standby, so that half a copy is never taken for a cluster. What a killed run left is recognised and cleared by
    the next one.
  - Tries the replication login from this host before anything is copied.
options:
  upstream_host:
    description: The address of the server to copy.
    type: str
    required: true
  upstream_port:
    description: Its port.
    type: int
    default: 5432
  upstream_user:
    description: The role to log in as; it needs C(REPLICATION).
    type: str
    default: replica
  upstream_password:
    description: That role's password. It travels in a password file that only O(os_user) can read.
    type: str
  upstream_options:
    description: More options of libpq for the connection, such as C(sslmode).
    type: dict
    default: {}
  application_name:
    description: The name of the connection in the upstream's C(pg_stat_replication).
    type: str
    default: pgtandem
  slot:
    description: A physical slot on the upstream that keeps the WAL while the copy runs. It must exist.
    type: str
  checkpoint:
    description: Whether the upstream's checkpoint before the copy is fast, or spread out to spare its disk.
    type: str
    choices: [fast, spread]
    default: fast
  max_rate:
    description: The most that is read from the upstream in a second, such as V(100M).
    type: str
  wal_directory:
    description: A folder of its own for the WAL; absent or empty.
    type: path
  tablespace_mapping:
    description: For each tablespace of the upstream that is to lie elsewhere, the old folder and the new one.
    type: dict
    default: {}
  system_identifier:
    description: The system that the upstream must be; without it any server at O(upstream_host) is accepted.
    type: str
extends_documentation_fragment:
  - pgtandem.replication.instance
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - psycopg (3.1 or newer) or psycopg2 on the host that runs the module
notes:
  - "PostgreSQL's manual: pg_basebackup; Log-Shipping Standby Servers."
seealso:
  - module: pgtandem.replication.pg_instance
  - module: pgtandem.replication.pg_replication_status
"""

EXAMPLES = r"""
- name: Copy the primary into the standby's empty data directory
  pgtandem.replication.pg_basebackup:
    version: "17"
    upstream_host: 10.12.12.10
    upstream_user: replica
    upstream_password: "{{ pgtandem_replication_password }}"
    slot: pg2

- name: Copy slowly, with the WAL on a disk of its own
  pgtandem.replication.pg_basebackup:
    bin_directory: /usr/local/pgsql-15/bin
    data_directory: /data/pgsql/data2
    upstream_host: pg1.example.com
    upstream_password: "{{ pgtandem_replication_password }}"
    max_rate: 50M
    wal_directory: /wal/data2
"""

RETURN = r"""
actions:
  description: What was done, or would be, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["copy 10.12.12.10:5432 into /var/lib/postgresql/17/main"]
data_directory:
  description: The data directory.
  returned: success
  type: str
  sample: /var/lib/postgresql/17/main
data_directory_state:
  description: Its state afterwards, or the state that stopped the module.
  returned: always
  type: str
  sample: standby
system_identifier:
  description: The system that the directory belongs to.
  returned: success
  type: str
  sample: "7480000000000000000"
timeline:
  description: The timeline in its control file.
  returned: success
  type: int
  sample: 1
note:
  description: In check mode, why the upstream could not be asked yet.
  returned: success
  type: str
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._basebackup import BaseBackupRequest, seed
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._quoting import connection_option_problems

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Seed the directory that the parameters describe."""
    parameters = module.params
    problems = connection_option_problems(parameters["upstream_options"])
    if problems:
        raise ReplicationError(" ".join(problems))
    return seed(
        host,
        BaseBackupRequest(
            host=parameters["upstream_host"],
            port=parameters["upstream_port"],
            user=parameters["upstream_user"],
            password=parameters["upstream_password"],
            application_name=parameters["application_name"],
            slot=parameters["slot"] or None,
            checkpoint=parameters["checkpoint"],
            max_rate=parameters["max_rate"] or None,
            wal_directory=parameters["wal_directory"] or None,
            tablespace_mapping={str(old): str(new) for old, new in parameters["tablespace_mapping"].items()},
            system_identifier=parameters["system_identifier"] or None,
            options={str(name): str(value) for name, value in parameters["upstream_options"].items()},
        ),
        check_mode=module.check_mode,
    )


def main() -> None:
    """The module's entry."""
    run_job(
        job,
        {
            "upstream_host": {"type": "str", "required": True},
            "upstream_port": {"type": "int", "default": 5432},
            "upstream_user": {"type": "str", "default": "replica"},
            "upstream_password": {"type": "str", "no_log": True},
            "upstream_options": {"type": "dict", "default": {}},
            "application_name": {"type": "str", "default": "pgtandem"},
            "slot": {"type": "str"},
            "checkpoint": {"type": "str", "choices": ["fast", "spread"], "default": "fast"},
            "max_rate": {"type": "str"},
            "wal_directory": {"type": "path"},
            "tablespace_mapping": {"type": "dict", "default": {}},
            "system_identifier": {"type": "str"},
        },
    )


if __name__ == "__main__":
    main()
