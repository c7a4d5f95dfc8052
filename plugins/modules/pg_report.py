#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is documentation only. The work is done on the controller by plugins/action/pg_report.py.

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_report
short_description: Say how the clusters of an inventory are, and write it down
version_added: 1.0.0
description:
  - Prints the tree of each cluster as its servers say it themselves, and what is wrong with it; fails then.
  - Writes it on the controller as JSON, as a page of HTML that needs nothing else, and as metrics, where asked. A
    reader of such a file sees the old one or the new one, never half of it.
  - Takes every host of the groups of primaries and standbys as M(pgtandem.replication.pg_node) read it, from the fact
    C(pgtandem_node). A host without it counts as not read.
  - The playbook C(pgtandem.replication.status) is made of it.
options:
  others:
    description: Results of M(pgtandem.replication.pg_node) for hosts that are not part of the play.
    type: list
    elements: dict
    default: []
  json:
    description: The file for everything that was seen, on the controller.
    type: path
  html:
    description: The file for the report, on the controller.
    type: path
  metrics:
    description: The file for the metrics in the Prometheus text format, on the controller, for node_exporter.
    type: path
  fail_on:
    description: What makes it fail.
    type: str
    choices: [error, warning, never]
    default: error
  maximum_lag_bytes:
    description: A standby that is further behind gets a warning; V(0) is never.
    type: int
    default: 268435456
  maximum_lag_seconds:
    description: The same in seconds.
    type: float
    default: 60
  maximum_slot_bytes:
    description: A slot that keeps more WAL gets a warning; V(0) is never.
    type: int
    default: 1073741824
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.controller
attributes:
  check_mode:
    details: It writes no files then.
  idempotent:
    details: Files that it writes have the time of the reading in them and are no change.
seealso:
  - module: pgtandem.replication.pg_node
"""

EXAMPLES = r"""
- name: Say how the clusters are, and write a report
  pgtandem.replication.pg_report:
    html: /var/www/replication.html
    metrics: /var/lib/prometheus/node-exporter/pgtandem.prom
    maximum_lag_seconds: 10
  run_once: true
"""

RETURN = r"""
report:
  description: Everything that was seen, as the file of O(json) has it.
  returned: always
  type: dict
  contains:
    schema:
      description: The shape's version.
      type: int
      sample: 1
    generated:
      description: When, in UTC.
      type: str
      sample: "2026-11-22T17:39:52+00:00"
    healthy:
      description: Whether there is no error.
      type: bool
    clusters:
      description: Each cluster with its C(name), C(primary), C(quorum), C(tree) and C(nodes).
      type: list
      elements: dict
    findings:
      description: What is wrong, errors first, with C(id), C(severity), C(cluster), C(host), C(text), C(remedy).
      type: list
      elements: dict
written:
  description: The files that were written.
  returned: always
  type: list
  elements: str
  sample: [/var/www/replication.html]
"""
