#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is documentation only. The work is done on the controller by plugins/action/pg_topology.py.

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_topology
short_description: Settle who follows whom in the clusters of an inventory, or show it
version_added: 1.0.0
description:
  - Takes every host of the groups of primaries and standbys as M(pgtandem.replication.pg_node) read it, and decides
    what each of them is - its role, its upstream, its rules for C(pg_hba.conf), its slots.
  - Fails with every reason at once where the inventory contradicts itself, or contradicts what was seen. Nothing has
    been touched by then.
  - It is a building block of the collection's roles, and its result may change with them.
  - Reads the fact C(pgtandem_node) of each host, which the role C(node) keeps. A host without it counts as not read.
options:
  absent:
    description:
      - Instead of settling the topology, name the C(hosts) of this play's clusters that were not read in this
        run. A cluster without a host in the play is left alone.
    type: bool
    default: false
  accept:
    description:
      - Identifiers of reasons that do not stop, as RV(reasons) has them, for a playbook whose job is that very state.
      - Where such a reason keeps the primary from being known, the cluster has none and its hosts have no plan.
    type: list
    elements: str
    default: []
  assume:
    description:
      - Instead of settling the topology, say what each host has to be if the inventory is right (RV(assumed)), and name
        the C(hosts) of this play's clusters that the play leaves out. With V(false) nothing is said of any host.
    type: bool
  dead:
    description: Hosts that are known to be dead, so that a standby which still believes to stream from one counts for
      nothing.
    type: list
    elements: str
    default: []
  ended:
    description: Instead of settling the topology, print which hosts of the play dropped out of the run.
    type: bool
    default: false
  follow:
    description: Go on with the live primary where it is not the inventory's, whatever C(pgtandem_on_role_change) says.
    type: bool
    default: false
  judged:
    description:
      - Instead of settling the topology, fail on the hosts of the clusters that are in here, as C(refused) of
        the settled topology has them.
    type: dict
  leaving:
    description: Hosts that are about to leave their clusters. The plans are those of the clusters without them.
    type: list
    elements: str
    default: []
  opening:
    description: What the run has changed before, as a sentence for the messages; empty where that is nothing.
    type: str
    default: ''
  others:
    description: Results of M(pgtandem.replication.pg_node) for hosts that are not part of the play.
    type: list
    elements: dict
    default: []
  raised:
    description:
      - Instead of settling the topology, see that every running standby of this host's cluster has at least these
        values, from the facts C(pgtandem_node); fails where one has not.
    type: dict
    default: {}
  rejoin:
    description:
      - Hosts that are to come back as standbys, an old primary for instance. Their plan then says how, and what they
        are now stops nobody.
    type: list
    elements: str
    default: []
  skip:
    description: Hosts that O(absent) does not name.
    type: list
    elements: str
    default: []
  sort:
    description:
      - Instead of settling the topology, put the host into a group by what C(pgtandem_topology) says of it,
        C(pgtandem_live_primary), C(pgtandem_live_standby), C(pgtandem_live_settled) where nothing is left to do for its
        cluster, or C(pgtandem_live_later) where it is left alone. Fails on the hosts of a cluster that has a reason to
        stop.
    type: bool
    default: false
  stop_old_primary:
    description: Whether a server of O(rejoin) may be stopped that runs as a second primary.
    type: bool
    default: false
  show:
    description:
      - Print the topology as a tree instead of settling it, as the servers say it themselves, from the facts
        C(pgtandem_node).
    type: bool
    default: false
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.controller
seealso:
  - module: pgtandem.replication.pg_node
"""

EXAMPLES = r"""
- name: Settle the topology
  pgtandem.replication.pg_topology:
  run_once: true
  register: pgtandem_topology

- name: Sort the hosts by what they need
  pgtandem.replication.pg_topology:
    sort: true
  changed_when: false

- name: Show the topology
  pgtandem.replication.pg_topology:
    show: true
  run_once: true
"""

RETURN = r"""
nodes:
  description: For each host its C(role), C(level) below the primary, C(upstream), C(downstream), C(slot) and more.
  returned: success, where the topology is settled
  type: dict
  sample:
    pg1: {role: primary, level: 0, upstream: null, downstream: [pg2]}
    pg2: {role: standby, level: 1, upstream: {name: pg1, host: 192.0.2.1, port: 5432}, downstream: []}
depth:
  description: The highest level of a standby; V(1) where all follow the primary.
  returned: success, where the topology is settled
  type: int
  sample: 1
clusters:
  description:
    - For each cluster its C(primary), the hosts that were not read (C(unread)), whether at least half of them were
      (C(quorum), without which nothing may be promoted or deleted), and what O(accept) let through (C(accepted)).
  returned: success, where the topology is settled
  type: dict
  sample: {main: {primary: pg1, unread: [], quorum: true, accepted: []}}
parameter_plan:
  description: Which hosts restart for parameters that have an order, in that order, and why; it is also printed.
  returned: success, where the topology is settled
  type: list
  elements: str
  sample:
    - cluster main  parameters in order, one restart after the other
    - "  1. pg2 restarts: max_connections 100 -> 300 (before its primary, since a standby must not have less)"
notes:
  description: What the user should know, which is also shown as warnings.
  returned: success, where the topology is settled
  type: list
  elements: str
  sample: ["pg2 is the primary of cluster 'main' now; the run follows it."]
assumed:
  description:
    - For each host what it has to be if the inventory is right, for O(pgtandem.replication.pg_node#module:assumed).
  returned: success, with O(assume)
  type: dict
problems:
  description: Each reason to stop as a text of its own.
  returned: failure
  type: list
  elements: str
  sample: ["pgtandem_replication_password is not set for pg1, pg2. Set it for the whole cluster, in a vault."]
reasons:
  description: The same with an identifier and the hosts of each, and with evidence and remedy apart.
  returned: failure
  type: list
  elements: dict
  sample:
    - id: inventory-password
      hosts: [pg1, pg2]
      text: pgtandem_replication_password is not set for pg1, pg2. Set it for the whole cluster, in a vault.
      evidence: pgtandem_replication_password is not set for pg1, pg2.
      remedy: Set it for the whole cluster, in a vault.
tree:
  description: The lines that were shown.
  returned: success, with O(show)
  type: list
  elements: str
  sample:
    - cluster main  PostgreSQL 18  system 7711044474033452012
    - pg1  192.0.2.1:5432  primary  timeline 1  at 0/3000140
    - "└─ pg2  192.0.2.2:5432  standby  timeline 1  replayed 0/3000140  streaming  async, lag 0 B"
"""
