#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is documentation only. The work is done on the controller by plugins/action/pg_node.py.

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_node
short_description: Read one host of a replication cluster
version_added: 1.0.0
description:
  - Takes the variables C(pgtandem_*) of a host from the inventory, with the roles' defaults, runs
    M(pgtandem.replication.pg_replication_status) on that host with them, and returns both together as one node. The
    roles register the result as C(pgtandem_node).
  - It is a building block of the collection's roles, and its result may change with them. To look at a host use
    M(pgtandem.replication.pg_replication_status).
  - The password of the replication role is not part of the result; it says only whether there is one.
options:
  name:
    description:
      - The host's name in the inventory. By default the host of the task.
      - For another host give O(name) and C(delegate_to) together, as the example does.
    type: str
  options:
    description:
      - Options of M(pgtandem.replication.pg_replication_status) that count more than the host's variables. The roles
        give what was derived on the host, C(instance) in an earlier RV(status).
    type: dict
    default: {}
  assumed:
    description:
      - What the host has to be if the inventory is right, from C(assumed) of M(pgtandem.replication.pg_topology). The
        host is then asked for that too, in the same run, by M(pgtandem.replication.pg_look).
    type: dict
    default: {}
  expect:
    description: As O(pgtandem.replication.pg_replication_status#module:expect).
    type: dict
  timeout:
    description: As O(pgtandem.replication.pg_replication_status#module:timeout).
    type: float
  judge:
    description:
      - Give the module C(pgtandem_parameters) of the host as
        O(pgtandem.replication.pg_replication_status#module:parameters),
        so that the node says what the next start would make of them.
    type: bool
  write_position:
    description: As O(pgtandem.replication.pg_replication_status#module:write_position).
    type: bool
  sizes:
    description: As O(pgtandem.replication.pg_replication_status#module:sizes).
    type: bool
  reach:
    description:
      - Try from this host whether the servers of the other hosts of its cluster are to be found at their addresses.
        RV(status) then has C(unreached).
      - A list is handed on as O(pgtandem.replication.pg_replication_status#module:reach).
    type: raw
  samples:
    description: As O(pgtandem.replication.pg_replication_status#module:samples).
    type: int
  sample_interval:
    description: As O(pgtandem.replication.pg_replication_status#module:sample_interval).
    type: float
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.controller
attributes:
  check_mode:
    details: As M(pgtandem.replication.pg_replication_status).
seealso:
  - module: pgtandem.replication.pg_replication_status
  - module: pgtandem.replication.pg_topology
"""

EXAMPLES = r"""
- name: Read this host
  pgtandem.replication.pg_node:
  register: read

- name: Read another host, and wait until it feeds pg2
  pgtandem.replication.pg_node:
    name: pg1
    expect:
      standbys: [pg2]
    timeout: 30
  delegate_to: pg1
  register: upstream
"""

RETURN = r"""
name:
  description: The host's name in the inventory.
  returned: always
  type: str
  sample: pg1
cluster:
  description: Its C(pgtandem_cluster).
  returned: always
  type: str
  sample: main
groups:
  description: In which of the two groups it is, V(primary) and V(standby), whatever the groups are called.
  returned: always
  type: list
  elements: str
  sample: [primary]
upstream:
  description: Its C(pgtandem_upstream), empty where it follows the primary.
  returned: always
  type: str
  sample: ""
address:
  description: Where the other hosts reach it.
  returned: always
  type: str
  sample: 192.0.2.1
port:
  description: Its C(pgtandem_port).
  returned: always
  type: int
  sample: 5432
wrong:
  description: What is said of variables whose values are of a wrong type; they count as their defaults.
  returned: always
  type: list
  elements: str
  sample: []
listen_addresses:
  description: Its C(pgtandem_listen_addresses).
  returned: always
  type: str
  sample: "*"
has_password:
  description: Whether C(pgtandem_replication_password) is set.
  returned: always
  type: bool
password_fits_file:
  description: Whether a password file can hold that password.
  returned: always
  type: bool
replication_user:
  description: Its C(pgtandem_replication_user).
  returned: always
  type: str
  sample: replica
login_db:
  description: Its C(pgtandem_login_db).
  returned: always
  type: str
  sample: postgres
on_role_change:
  description: Its C(pgtandem_on_role_change).
  returned: always
  type: str
  sample: fail
manage_packages:
  description: Its C(pgtandem_manage_packages).
  returned: always
  type: bool
slots:
  description: Its C(pgtandem_slots).
  returned: always
  type: bool
reseed:
  description: Its C(pgtandem_reseed).
  returned: always
  type: raw
reseed_mode:
  description: Its C(pgtandem_reseed_mode).
  returned: always
  type: str
parameters:
  description: Its C(pgtandem_parameters).
  returned: always
  type: dict
  sample: {max_connections: 200}
synchronous:
  description: Its C(pgtandem_synchronous).
  returned: always
  type: dict
connection_options:
  description: Its C(pgtandem_connection_options).
  returned: always
  type: dict
  sample: {sslmode: require}
tls:
  description: Its C(pgtandem_tls) with what is derived; empty where TLS is left alone.
  returned: always
  type: dict
  sample: {}
apply_delay:
  description: Its C(pgtandem_apply_delay).
  returned: always
  type: str
  sample: ""
restore_command:
  description: Its C(pgtandem_restore_command).
  returned: always
  type: str
  sample: ""
hba_rules:
  description: Its C(pgtandem_hba_rules).
  returned: always
  type: list
  elements: dict
  sample: []
options:
  description: The options of the instance as the inventory has them.
  returned: always
  type: dict
  sample: {layout: auto, instance: main, port: 5432}
status:
  description:
    - What was seen, as RV(pgtandem.replication.pg_replication_status#module:replication). Null where the host could
      not be read.
  returned: always
  type: dict
assumed:
  description: O(assumed); null without it.
  returned: always
  type: dict
answer:
  description:
    - What M(pgtandem.replication.pg_look) answered to that - whether M(pgtandem.replication.pg_instance) would change
      nothing (C(as_asked)), otherwise C(why) not, and whether replication was seen to flow (C(proven)). Null without
      O(assumed), and where no server runs.
  returned: always
  type: dict
  sample: {as_asked: true, proven: true, why: [], floors: {max_connections: 100}, warnings: []}
unread_reason:
  description: Why it could not be read, where that is known.
  returned: always
  type: str
samples:
  description: As RV(pgtandem.replication.pg_replication_status#module:samples).
  returned: always
  type: list
  elements: dict
expected:
  description: What was in O(expect), of which nothing is missing where the module did not fail.
  returned: always
  type: dict
  sample: {standbys: [pg2]}
"""
