#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is documentation only. The work is done on the controller by plugins/action/pg_failover.py.

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_failover
short_description: Decide which standby takes over from a dead primary
version_added: 1.0.0
description:
  - Chooses the standby with the most WAL received on the newest timeline, or judges the one that is named, and says how
    much WAL may be lost.
  - Fails with every reason where nobody may be promoted - the primary answers, fewer than half of the hosts were read,
    another standby has more WAL.
  - It decides and changes nothing. The playbook C(pgtandem.replication.failover) acts on it with
    M(pgtandem.replication.pg_claim) and M(pgtandem.replication.pg_promote).
  - Reads the fact C(pgtandem_node) of each host, which the role C(node) keeps. A host without it counts as not read.
options:
  target:
    description: The host to promote; empty for the one with the most WAL.
    type: str
    default: ""
  answering:
    description: Hosts from which the old primary's port could be reached since they were read.
    type: list
    elements: str
    default: []
  chosen:
    description: What an earlier run of this module found (RV(failovers)); other clusters are left alone.
    type: list
    elements: dict
    default: []
  will_fence:
    description: Whether the old primary will be fenced, so that signs of life do not stop the run yet.
    type: bool
    default: false
  fenced:
    description:
      - The clusters whose old primary was fenced. Where this is given, nobody is promoted in a cluster of O(chosen)
        that has an old primary and is not in here.
    type: list
    elements: str
  accept_loss:
    description: Promote what was named although another host is known to have more WAL.
    type: bool
    default: false
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.controller
seealso:
  - module: pgtandem.replication.pg_promote
"""

EXAMPLES = r"""
- name: Choose who takes over
  pgtandem.replication.pg_failover:
    target: pg2
  run_once: true
  register: chosen
"""

RETURN = r"""
failovers:
  description: For each cluster that needs one who is promoted (C(target)), from whom, and what that costs.
  returned: success
  type: list
  elements: dict
  sample: [{cluster: main, target: pg2, old: pg1, done: false, lsn: 0/5000148, lost_bytes: 0, timeline: 1}]
refused:
  description: For each cluster that needs a failover and cannot have one, why, as C(msg) and C(reasons).
  returned: success
  type: dict
places:
  description: Where the old primaries listened.
  returned: success
  type: list
  elements: dict
  sample: [{cluster: main, name: pg1, host: 192.0.2.1, port: 5432}]
read:
  description: The hosts that were read.
  returned: success
  type: list
  elements: str
reasons:
  description: Why nobody may be promoted, with an identifier and the hosts of each.
  returned: failure
  type: list
  elements: dict
"""
