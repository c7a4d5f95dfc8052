#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is documentation only. The work is done on the controller by plugins/action/pg_switchover_plan.py.

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_switchover_plan
short_description: Decide what a switchover has to do
version_added: 1.0.0
description:
  - Takes every host of the groups of primaries and standbys as M(pgtandem.replication.pg_node) read it, and decides
    what there is to do so that O(target) is the primary - the switch itself, the rest of one that was broken off, or
    nothing.
  - Fails with every reason not to begin at once. Nothing has been touched by then.
  - It is a building block of the playbook C(switchover), and its result may change with it.
options:
  target:
    description: The host that is to be the primary.
    type: str
  maximum_lag_bytes:
    description: Bytes of WAL that it may have yet to replay.
    type: int
    default: 16777216
  leave_unreachable:
    description:
      - Whether to go on without standbys that cannot be read. Neither the primary nor O(target) is one of them.
    type: bool
    default: false
  failed_from:
    description:
      - The primary that stepped down in this very run. Where O(target) cannot take its place the plan is to promote the
        old one again.
    type: str
    default: ""
  opening:
    description: What was done before, for a reason to stop that is found now. Without it nothing was changed.
    type: str
    default: ""
  others:
    description: Results of M(pgtandem.replication.pg_node) for hosts that are not part of the play.
    type: list
    elements: dict
    default: []
  plan:
    description: A plan that was made before, to be judged together with what the hosts said (O(checked)).
    type: dict
  checked:
    description:
      - Whether the modules have looked at the hosts in check mode. What they refuse is told with the rest. A switch is
        only judged with this; without it the plan is returned with its C(problems).
    type: bool
    default: false
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.controller
seealso:
  - module: pgtandem.replication.pg_demote
  - module: pgtandem.replication.pg_promote
"""

EXAMPLES = r"""
- name: See what there is to do
  pgtandem.replication.pg_switchover_plan:
    target: pg2
  run_once: true
  register: found
"""

RETURN = r"""
plan:
  description:
    - What there is to do. C(action) is V(switch), V(complete) (nobody is the primary and C(promote) is to be),
      V(return) (the old primary is to be promoted again) or V(finish) (the target is the primary; only the rest is
      left).
    - C(nodes) has what becomes of each host, C(token) names this switchover, C(steps) says it in words.
  returned: success
  type: dict
  sample: {action: switch, cluster: main, primary: pg1, target: pg2, siblings: [pg1, pg3], slots: [pg1, pg3]}
problems:
  description: Each reason to stop as a text of its own.
  returned: failure
  type: list
  elements: str
"""
