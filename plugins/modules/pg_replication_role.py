#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_replication_role
short_description: Manage the login role that standbys use for replication
version_added: 1.0.0
description:
  - Creates a role with C(LOGIN) and C(REPLICATION) and nothing more, and grants these two to a role that lacks them.
    Nothing else is ever granted but what O(rewind) asks for, and nothing is ever taken away; a role that has more than
    replication needs is named in a warning.
  - Compares O(password) with the stored verifier, SCRAM or md5, so that a second run changes nothing. Where the server
    makes SCRAM verifiers (its C(password_encryption)), a password that is stored as md5 is stored anew.
  - The verifier is made on the host that runs the module, so the password itself is never part of a statement. The
    statement with the verifier is kept out of the server's log.
  - On a standby nothing can be changed. A role that is as described is fine there; a difference is an error, since the
    roles of a standby come from its primary.
  - A role that WAL senders use, or that owns anything, is not dropped; nothing it owns is dropped with it.
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
  - pgtandem.replication.login
attributes:
  check_mode:
    support: full
    details:
      - Where no server runs on the host yet, the role is taken for missing.
  diff_mode:
    support: full
    details:
      - Passwords and verifiers are not shown.
  idempotent:
    support: full
options:
  name:
    description: The name of the role.
    type: str
    required: true
  password:
    description:
      - The role's password, as the standbys send it. Any characters but line breaks and the zero byte.
      - Left out, the role's password stays as it is, and a new role has none.
      - Give it as a variable, best from a vault. A text with C({{) in it needs the tag C(!unsafe).
    type: str
  update_password:
    description:
      - V(always) stores the password when it differs, V(on_create) only when the role is created.
    type: str
    choices: [always, on_create]
    default: always
  state:
    description: Whether the role is there.
    type: str
    choices: [present, absent]
    default: present
  connection_limit:
    description:
      - How many sessions the role may have at once; V(-1) is no limit. A base backup takes two, a standby one.
      - Left out, it stays as it is.
    type: int
  valid_until:
    description:
      - Until when the password is accepted, as a date with time and zone such as V(2030-12-31 23:59:59+00), or
        V(infinity).
      - Left out, it stays as it is.
    type: str
  rewind:
    description:
      - Let the role also be C(pg_rewind)'s on a server that another one is rewound from, with EXECUTE on the four
        functions that the manual names. They read files of the data directory, as a base backup does. Version 11 and
        newer; before that only a superuser can.
      - Functions are granted in O(login_db), which is the database that C(pg_rewind) has to log in to.
    type: bool
    default: false
seealso:
  - module: pgtandem.replication.pg_rewind
  - module: pgtandem.replication.pg_replication_slot
  - name: Role attributes
    description: What LOGIN and REPLICATION allow.
    link: https://www.postgresql.org/docs/current/role-attributes.html
"""

EXAMPLES = r"""
- name: The role that standbys use
  pgtandem.replication.pg_replication_role:
    name: replica
    password: "{{ vault_replication_password }}"
  become: true

- name: The same on an instance of one's own making, at most five sessions, until the end of 2030
  pgtandem.replication.pg_replication_role:
    name: replica
    password: "{{ vault_replication_password }}"
    connection_limit: 5
    valid_until: "2030-12-31 23:59:59+00"
    bin_directory: /usr/local/pgsql-15/bin
    data_directory: /data/pgsql/data2
  become: true

- name: A password that is set once and changed by somebody else later
  pgtandem.replication.pg_replication_role:
    name: replica
    password: "{{ vault_replication_password }}"
    update_password: on_create
  become: true

- name: No longer needed
  pgtandem.replication.pg_replication_role:
    name: old_replica
    state: absent
  become: true
"""

RETURN = r"""
role:
  description: The role after the run; in check mode as it would be.
  returned: success
  type: dict
  sample:
    name: replica
    exists: true
    login: true
    replication: true
    superuser: false
    create_role: false
    create_db: false
    bypass_row_security: false
    connection_limit: -1
    valid_until: infinity
    password_stored_as: scram-sha-256
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["Create the role replica with LOGIN and REPLICATION, with a password as scram-sha-256"]
queries:
  description: The statements that were run, or in check mode would be run, with secrets replaced.
  returned: success
  type: list
  elements: str
  sample: ["CREATE ROLE \"replica\" LOGIN REPLICATION PASSWORD '********'"]
"""

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_options
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.login_role import manage_role


def main() -> None:
    """Wire the module's options to its job."""
    run_job(
        manage_role,
        dict(
            login_options(),
            name={"type": "str", "required": True},
            password={"type": "str", "no_log": True},
            update_password={
                "type": "str",
                "choices": ["always", "on_create"],
                "default": "always",
                "no_log": False,
            },
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            connection_limit={"type": "int"},
            valid_until={"type": "str"},
            rewind={"type": "bool", "default": False},
        ),
    )


if __name__ == "__main__":
    main()
