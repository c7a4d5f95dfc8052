#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_claim
short_description: Note on a host whom a run is about to promote, so that no other run promotes somebody else
version_added: 1.0.0
description:
  - Writes the name of the host that is to be promoted, with the timeline that it leaves, into a file beside the data
    directory (its name with C(.pgtandem-claim.json)). Fails where another run noted another host for that timeline.
  - A run that notes it on at least half of a cluster's hosts before it promotes keeps two runs at once from promoting
    two. A promotion begins a new timeline, so a claim needs no removal.
options:
  target:
    description: The name of the host that is to be promoted.
    type: str
    required: true
  timeline:
    description: The newest timeline that was seen, which the promotion leaves.
    type: int
    required: true
  system_identifier:
    description: The cluster's system identifier.
    type: str
    required: true
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: pgtandem.replication.pg_failover
  - module: pgtandem.replication.pg_promote
"""

EXAMPLES = r"""
- name: Let nobody else be promoted
  pgtandem.replication.pg_claim:
    target: pg2
    timeline: 1
    system_identifier: "7711038405245197515"
  become: true
"""

RETURN = r"""
path:
  description: The file with the claim.
  returned: success
  type: str
  sample: /var/lib/postgresql/15/main.pgtandem-claim.json
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._data_directory.promotion_claim import (
    Claim,
    make_claim,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Make the claim that the parameters describe."""
    values = module.params
    claim = Claim(values["target"], values["timeline"], values["system_identifier"])
    return make_claim(host, claim, check_mode=module.check_mode)


def main() -> None:
    """The module's entry."""
    run_job(
        job,
        {
            "target": {"type": "str", "required": True},
            "timeline": {"type": "int", "required": True},
            "system_identifier": {"type": "str", "required": True},
        },
    )


if __name__ == "__main__":
    main()
