#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_rewind
short_description: Bring the data directory of an old primary, or of a diverged standby, back to the primary's history
version_added: 1.0.0
description:
  - Finds the cheapest correct way for a stopped server to follow another one. Where it holds nothing that the other one
    does not have, it is only marked as a standby. Where it does, C(pg_rewind) takes that back, and what it wrote since
    their ways parted is lost.
  - Everything that C(pg_rewind) needs is looked at first, and told with what to do. System identifiers, timelines and
    where they forked, checksums or C(wal_log_hints), C(full_page_writes), the role's rights on the other server, the
    checkpoint after its promotion, and with C(pg_rewind --dry-run) the WAL back to the fork. That is ended when it
    says how much there is to copy, since it would fetch all of it.
  - Files at the top of the data directory that are not PostgreSQL's own, configuration, keys and logs, stay this
    host's. What C(postgresql.auto.conf) says of a standby's connection is taken out, since it would win.
  - A server that was killed is recovered first, as C(pg_rewind) itself would do it.
  - From before the first write until the end a folder beside the data directory (its name with C(.pgtandem-rewind))
    says that it is half rewound, and its mode is one with which no server starts. The next run goes on with it.
  - The server is not started. Run M(pgtandem.replication.pg_instance) with an upstream next, which writes what is
    managed and starts it.
options:
  source_host:
    description: The address of the server to follow, the primary.
    type: str
    required: true
  source_port:
    description: Its port.
    type: int
    default: 5432
  source_user:
    description:
      - The role to log in as. A superuser, or from version 11 on a role that
        M(pgtandem.replication.pg_replication_role) made with O(pgtandem.replication.pg_replication_role#module:rewind).
    type: str
    default: replica
  source_password:
    description: That role's password. It travels in a password file that only O(os_user) can read.
    type: str
  source_db:
    description: The database to log in to, where the role was granted what it needs.
    type: str
    default: postgres
  source_options:
    description: More options of libpq for the connection, such as C(sslmode).
    type: dict
    default: {}
  stop:
    description:
      - Which running server may be stopped for it. V(never) refuses, V(standby) stops a standby, V(always) also one
        that runs as a primary.
    type: str
    choices: [never, standby, always]
    default: never
  or_copy:
    description:
      - Where C(pg_rewind) cannot do it, return RV(way) V(copy) with the RV(reasons) instead of failing.
    type: bool
    default: false
  restore_command:
    description:
      - How WAL that this host no longer has is fetched from an archive, as the server's parameter of that name. From
        version 13 on C(pg_rewind) asks by it for what is gone. By default it is what the server's configuration says.
      - One that holds C(%r) is not used, since C(pg_rewind) refuses it.
    type: str
  timeout:
    description: Seconds that another run is waited for, and that a stop of the server may take.
    type: int
    default: 300
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
attributes:
  check_mode:
    support: full
    details:
      - With a server that was shut down cleanly C(pg_rewind --dry-run) is run. One that runs, or was killed, can only
        be tried once it has been stopped or recovered; the note says so.
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: pgtandem.replication.pg_checkpoint
  - module: pgtandem.replication.pg_instance
  - module: pgtandem.replication.pg_basebackup
  - name: pg_rewind
    description: How it works, and what it needs.
    link: https://www.postgresql.org/docs/current/app-pgrewind.html
"""

EXAMPLES = r"""
- name: Bring the old primary back to the history of the new one
  pgtandem.replication.pg_rewind:
    source_host: 192.0.2.2
    source_user: replica
    source_password: "{{ vault_replication_password }}"
  become: true

- name: Only see whether it would have to be rewound, and whether it could
  pgtandem.replication.pg_rewind:
    source_host: 192.0.2.2
    source_password: "{{ vault_replication_password }}"
    or_copy: true
  become: true
  check_mode: true
"""

RETURN = r"""
way:
  description:
    - V(start) where the directory can follow as it is and is marked as a standby's, V(rewind) where it was rewound,
      V(copy) where only a new copy helps (with O(or_copy)).
  returned: success
  type: str
  sample: rewind
why:
  description: The evidence for that.
  returned: success
  type: str
  sample: "its last checkpoint is at 0/5000028 of timeline 1, not before 0/40001C8, where timeline 2 forked off"
reasons:
  description: Why C(pg_rewind) cannot do it.
  returned: always
  type: list
  elements: str
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["rewind /var/lib/postgresql/15/main to 192.0.2.2:5432 (412 MB to copy)"]
note:
  description: What check mode could not try.
  returned: success
  type: str
data_directory:
  description: The data directory.
  returned: success
  type: str
  sample: /var/lib/postgresql/15/main
data_directory_state:
  description: What it is after the run.
  returned: success
  type: str
  sample: standby
system_identifier:
  description: The system identifier of the cluster.
  returned: success
  type: str
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._rewind.rewind import STOP, RewindRequest, rewind
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import (
    connection_option_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import as_text

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Rewind the directory that the parameters describe."""
    parameters = module.params
    options = {str(name): as_text(value) for name, value in parameters["source_options"].items()}
    problems = connection_option_problems(options)
    if problems:
        raise ReplicationError(" ".join(problems))
    return rewind(
        host,
        RewindRequest(
            host=parameters["source_host"],
            port=parameters["source_port"],
            user=parameters["source_user"],
            password=parameters["source_password"],
            dbname=parameters["source_db"],
            options=options,
            stop=parameters["stop"],
            or_copy=parameters["or_copy"],
            timeout=parameters["timeout"],
            restore_command=parameters["restore_command"] or "",
        ),
        check_mode=module.check_mode,
    )


def main() -> None:
    """The module's entry."""
    run_job(
        job,
        {
            "source_host": {"type": "str", "required": True},
            "source_port": {"type": "int", "default": 5432},
            "source_user": {"type": "str", "default": "replica"},
            "source_password": {"type": "str", "no_log": True},
            "source_db": {"type": "str", "default": "postgres"},
            "source_options": {"type": "dict", "default": {}},
            "stop": {"type": "str", "choices": list(STOP), "default": "never"},
            "or_copy": {"type": "bool", "default": False},
            "restore_command": {"type": "str"},
            "timeout": {"type": "int", "default": 300},
        },
    )


if __name__ == "__main__":
    main()
