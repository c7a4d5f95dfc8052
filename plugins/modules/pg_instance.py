#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_instance
short_description: Make, configure and start an instance of PostgreSQL for replication
version_added: 1.0.0
description:
  - Brings one instance into the state that its place in a replication cluster asks for. Creates it where a primary is
    asked for and nothing is there; writes one managed file of settings, a managed block in C(pg_hba.conf), the password
    file and what makes a standby; starts the server, reloads it, or restarts it where a parameter needs that.
  - Every parameter is judged by the server program itself before any file is written, and C(pg_hba.conf) by the running
    server before it is loaded; a file that is refused is put back.
  - Never removes or overwrites a data directory, and never turns a primary into a standby or the other way round.
options:
  state:
    description:
      - With V(started) the instance is made, configured and running.
      - With V(stopped) a running server is stopped in fast mode, and nothing else is looked at or changed.
    type: str
    choices: [started, stopped]
    default: started
  upstream:
    description: Whom the instance follows; it makes the instance a standby. Without it the instance is a primary.
    type: dict
    suboptions:
      host:
        description: The upstream's address.
        type: str
        required: true
      port:
        description: The upstream's port.
        type: int
        default: 5432
      application_name:
        description: The name this standby gives itself.
        type: str
        required: true
      slot:
        description: The physical slot on the upstream.
        type: str
      options:
        description: More options of libpq for the connection, such as C(sslmode).
        type: dict
        default: {}
  plan:
    description:
      - What M(pgtandem.replication.pg_topology) says of the host. On the controller it and the host's variables become
        the options from O(upstream) to O(timeout), of which those that the task gives count more; O(parameters) are
        merged. It is for the roles, and may change with them.
    type: dict
    default: {}
  parameters:
    description:
      - Server parameters. Names that the version does not have and values that it would refuse stop the module.
    type: dict
    default: {}
  hba_rules:
    description: The lines of the managed block in C(pg_hba.conf), in order.
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description: C(local), C(host), C(hostssl) and so on.
        type: str
        default: host
      database:
        description: The database field.
        type: str
        default: all
      user:
        description: The user field.
        type: str
        default: all
      address:
        description: The address field; none for C(local).
        type: str
        default: ""
      method:
        description: The method; V(auto) is what fits the way this server stores passwords.
        type: str
        required: true
      options:
        description: Options of the method.
        type: str
        default: ""
  peers:
    description: Every server that this one may have to follow; each gets a line in the password file.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
  replication_user:
    description: The role for replication.
    type: str
    default: replica
  replication_password:
    description: Its password, for the password file.
    type: str
  senders:
    description: How many WAL senders, and slots, must fit at least.
    type: int
    default: 0
  floors:
    description: Values of the upstream's parameters that this instance must not have lower.
    type: dict
    default: {}
  lowered_lsn:
    description:
      - Where the primary's WAL was after it began to run with less of O(floors). A standby waits up to 20 seconds until
        it has replayed that and its control file says so; what it has not heard of by then it keeps high.
    type: str
  only_parameters:
    description:
      - Write the parameters alone. Whom the instance follows, C(pg_hba.conf) and the password file stay as they are.
    type: bool
    default: false
  restart:
    description:
      - Whether a running server is restarted where a parameter asks for it. Otherwise the files are written and loaded,
        RV(restart_needed) says what waits, and the same task with V(true) restarts.
    type: bool
    default: true
  recovery:
    description:
      - Settings of recovery under the server's names, such as C(restore_command) and C(recovery_min_apply_delay). They
        go where this version keeps them; before 12 that is C(recovery.conf), on a standby only.
    type: dict
    default: {}
  ident_rules:
    description: The lines of the managed block in C(pg_ident.conf), in order.
    type: list
    elements: dict
    default: []
    suboptions:
      map:
        description: The map's name, as a rule of C(pg_hba.conf) names it.
        type: str
        required: true
      system_user:
        description: The name in the certificate.
        type: str
        required: true
      role:
        description: The role that this name may log in as.
        type: str
        required: true
  listen_addresses:
    description:
      - Written where the configuration would otherwise listen on the loopback address alone, or on addresses that this
        host does not have, since they came along with a copy. In place of those V(*) becomes O(address).
    type: str
    default: "*"
  address:
    description: Where the other hosts look for this server.
    type: str
    default: ""
  initdb_options:
    description: Options of C(initdb) for an instance that is created.
    type: list
    elements: str
    default: ["--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8"]
  timeout:
    description: How many seconds a start or a stop of the server may take.
    type: int
    default: 300
  role:
    description:
      - Whether the role O(replication_user) is seen to as well, as M(pgtandem.replication.pg_replication_role) does it
        with C(rewind).
    type: bool
    default: false
  slots:
    description: Physical slots that are to be there as well, as M(pgtandem.replication.pg_replication_slot) makes them.
    type: list
    elements: str
    default: []
  look:
    description:
      - After all that, look at the instance, as M(pgtandem.replication.pg_replication_status) does, and return
        that. What is not as it is expected here is told and fails nothing. Of a standby the role and O(upstream) are
        expected too. In check mode this is left out where something would change.
    type: dict
    suboptions:
      write_position:
        description: On a primary, write a record that changes no data, and return where it ends.
        type: bool
        default: false
      sizes:
        description: Measure what a base backup would copy.
        type: bool
        default: false
      standbys:
        description: Expect WAL senders that stream to standbys of these names.
        type: list
        elements: str
      streaming:
        description: Expect that the WAL receiver streams.
        type: bool
      replayed_lsn:
        description: Expect that this position is replayed.
        type: str
      received_lsn:
        description: Expect that this position is received.
        type: str
      patience:
        description: Seconds to wait for the WAL receiver to stream, where that is expected. V(0) looks once.
        type: float
        default: 0.0
      fed:
        description: Whether the upstream was seen to feed this standby. Without that RV(proven) is V(false).
        type: bool
        default: true
      reach:
        description: As O(pgtandem.replication.pg_replication_status#module:reach).
        type: list
        elements: dict
        suboptions:
          name:
            description: The host's name in the inventory.
            type: str
            required: true
          host:
            description: Its address.
            type: str
            required: true
          port:
            description: Its port.
            type: int
            required: true
extends_documentation_fragment:
  - pgtandem.replication.instance
  - pgtandem.replication.tls
  - pgtandem.replication.login
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
notes:
  - "PostgreSQL's manual: Creating a Database Cluster; Setting Parameters; The pg_hba.conf File; Log-Shipping Standby
    Servers."
seealso:
  - module: pgtandem.replication.pg_basebackup
  - module: pgtandem.replication.pg_replication_role
"""

EXAMPLES = r"""
- name: Create and start a primary
  pgtandem.replication.pg_instance:
    version: "17"
    parameters:
      max_connections: 300
    hba_rules:
      - {database: replication, user: replica, address: 10.12.12.12/32, method: auto}

- name: Start what a base backup made, as a standby
  pgtandem.replication.pg_instance:
    version: "17"
    upstream:
      host: 10.12.12.10
      application_name: pg2
      slot: pg2
    peers:
      - {host: 10.12.12.10}
    replication_password: "{{ pgtandem_replication_password }}"

- name: Stop an instance
  pgtandem.replication.pg_instance:
    version: "17"
    state: stopped
"""

RETURN = r"""
actions:
  description: What was done, or would be, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/postgresql/17/main/conf.d/99-pgtandem.conf", "reload the configuration"]
instance:
  description: The instance with everything derived; each key is an option of every module of the collection.
  returned: success
  type: dict
data_directory_state:
  description: The state of its data directory.
  returned: always
  type: str
  sample: primary
system_identifier:
  description: The system that the data directory belongs to.
  returned: success
  type: str
  sample: "7480000000000000000"
tls:
  description:
    - The certificates that were placed, as RV(pgtandem.replication.pg_replication_status#module:replication.tls).
  returned: with O(tls)
  type: dict
floors:
  description: The values in its control file that a standby must not have lower.
  returned: success
  type: dict
  sample: {max_connections: 100}
role:
  description: As of M(pgtandem.replication.pg_replication_role).
  returned: with O(role)
  type: dict
  sample: {name: replica, exists: true, login: true, replication: true}
replication:
  description: As RV(pgtandem.replication.pg_replication_status#module:replication).
  returned: with O(look)
  type: dict
unmet:
  description: As RV(pgtandem.replication.pg_replication_status#module:unmet).
  returned: with O(look)
  type: list
  elements: str
  sample: []
receives:
  description: Whether the WAL receiver of a standby streams from O(upstream), and nothing waits for a restart.
  returned: with O(look)
  type: bool
  sample: true
proven:
  description: Whether all was as expected, nothing was changed and nothing waits for a restart.
  returned: with O(look)
  type: bool
  sample: true
restart_needed:
  description:
    - Parameters that wait for a restart, without O(restart) or in check mode.
    - Without O(restart) also those that are to go lower and may not yet, since this standby has not replayed that its
      primary has less; with it the module waits for that.
  returned: success
  type: list
  elements: str
  sample: [max_connections]
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_from
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.tls_files import look
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import alone_with_cluster
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.instance import (
    ensure_instance,
    stop_instance,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.options import own_options, request_from
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.extras import do_also

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Bring the instance into the state that the parameters describe."""
    stops = module.params["state"] == "stopped"
    if stops:
        result, report = stop_instance(host, timeout=module.params["timeout"], check_mode=module.check_mode)
    else:
        request = request_from(module.params)
        with alone_with_cluster(host, timeout=request.timeout):
            result, report = ensure_instance(host, request, check_mode=module.check_mode)
        if request.tls is not None:
            # The next task of the same run need not send again what is there now.
            result["tls"] = look(host, {}, {})
    for warning in report.warnings:
        module.warn(warning)
    result.update(changed=bool(report.actions), actions=report.actions)
    if module._diff and report.diff:
        result["diff"] = report.diff
    if not stops:
        do_also(host, module, login_from(module.params), result)
    return result


def main() -> None:
    """The module's entry."""
    run_job(job, own_options())


if __name__ == "__main__":
    main()
