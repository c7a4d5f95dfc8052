#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_benchmark
short_description: Measure what each level of synchronous_commit costs on a running primary
version_added: 1.0.0
description:
  - Runs pgbench on a primary that others may use, in a database of its own, once for each level, and drops the
    database. The level is set for the sessions of pgbench alone.
  - Where nobody is waited for, and a level waits for a standby, C(synchronous_standby_names) is set meanwhile, together
    with C(synchronous_commit=local) for everybody else, whose commits go on as before. Both are taken out again, also
    when the module is interrupted; where it or its host is killed, the next benchmark or the next run of C(site.yml)
    does so.
  - Prints a table, and writes a chart where O(html) asks for it.
options:
  levels:
    description: Levels to measure, among V(off), V(local), V(remote_write), V(on) and V(remote_apply), in this order.
    type: list
    elements: str
    default: [local, remote_write, "on", remote_apply]
  database:
    description: The database to create and to drop. One of that name that a benchmark did not make stops the module.
    type: str
    default: pgtandem_benchmark
  seconds:
    description: How many seconds each level is measured.
    type: int
    default: 10
  clients:
    description: How many sessions write at once.
    type: int
    default: 4
  threads:
    description: How many threads pgbench has.
    type: int
    default: 1
  scale:
    description: The size of the data; V(1) is 15 MB.
    type: int
    default: 10
  standbys:
    description: The names (C(application_name)) of standbys that may be waited for.
    type: list
    elements: str
    default: []
  html:
    description: A file on the controller to write table and chart to, C(.html), or the chart alone, C(.svg).
    type: str
    default: ""
extends_documentation_fragment:
  - pgtandem.replication.instance
  - pgtandem.replication.login
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
attributes:
  action:
    description: Has an action plugin, which prints the table and writes the chart on the controller.
    support: full
  check_mode:
    support: full
    details: Nothing is measured.
  diff_mode:
    support: N/A
    details: Nothing is left changed.
  idempotent:
    support: full
    details: Nothing is left changed.
notes:
  - "PostgreSQL's manual: pgbench; Synchronous Replication; Asynchronous Commit."
seealso:
  - module: pgtandem.replication.pg_replication_status
"""

EXAMPLES = r"""
- name: What does waiting for a standby cost here?
  pgtandem.replication.pg_benchmark:
    version: "17"
    levels: [local, remote_apply]
    seconds: 30
    standbys: [pg2]
    html: benchmark.html
"""

RETURN = r"""
levels:
  description: The figures of each level.
  returned: success
  type: list
  elements: dict
  contains:
    level:
      description: The level.
      type: str
      sample: remote_apply
    tps:
      description: Transactions a second.
      type: float
      sample: 812.5
    latency_ms:
      description: The average time of a transaction.
      type: float
      sample: 4.9
    latency_stddev_ms:
      description: Its standard deviation.
      type: float
    transactions:
      description: How many there were.
      type: int
    failed:
      description: How many failed.
      type: int
    lag_bytes_median:
      description: How far the farthest standby was behind in replay, half of the time.
      type: int
    lag_bytes_most:
      description: The same at most.
      type: int
    replay_lag_seconds_most:
      description: The longest time between a write here and its replay on a standby.
      type: float
server_version:
  description: The server's version.
  returned: success
  type: str
cleared:
  description: Whether something that an interrupted benchmark had left was taken away first.
  returned: success
  type: bool
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_from, login_options
from ansible_collections.pgtandem.replication.plugins.module_utils._benchmark.benchmark import (
    BenchmarkRequest,
    run_benchmark,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._values.pgbench import levels_from

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Measure what the parameters ask for."""
    request = BenchmarkRequest(
        levels=tuple(levels_from(module.params["levels"])),
        login=login_from(module.params),
        standbys=tuple(module.params["standbys"]),
        **{name: module.params[name] for name in ("database", "seconds", "clients", "threads", "scale")},
    )
    return dict(run_benchmark(host, request, check_mode=module.check_mode), changed=False)


def main() -> None:
    """The module's entry."""
    run_job(
        job,
        dict(
            login_options(),
            levels={"type": "list", "elements": "str", "default": ["local", "remote_write", "on", "remote_apply"]},
            database={"type": "str", "default": "pgtandem_benchmark"},
            seconds={"type": "int", "default": 10},
            clients={"type": "int", "default": 4},
            threads={"type": "int", "default": 1},
            scale={"type": "int", "default": 10},
            standbys={"type": "list", "elements": "str", "default": []},
            html={"type": "str", "default": ""},
        ),
    )


if __name__ == "__main__":
    main()
