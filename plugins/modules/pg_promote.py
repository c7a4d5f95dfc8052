#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_promote
short_description: Make a standby the primary
version_added: 1.0.0
description:
  - Ends the recovery of a standby, so that it accepts writes on a timeline of its own. All the WAL that it has
    received is replayed before.
  - A server that is a primary already is left as it is.
  - The module looks at this host alone. That no other primary is running is for the caller to see, as the playbooks do.
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
  - pgtandem.replication.login
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  system_identifier:
    description: The system that the standby must belong to; another one is refused. Empty takes any.
    type: str
    default: ""
  minimum_lsn:
    description:
      - A WAL position, such as V(0/3000060). A standby that has not received the WAL up to it is not promoted.
      - This is how nothing is lost when the old primary has stopped, and how a standby that is behind another one is
        not promoted by mistake.
    type: str
    default: ""
  slots:
    description:
      - Physical replication slots to create just before the promotion, for the standbys that are to follow the new
        primary. A slot that is there stays as it is.
    type: list
    elements: str
    default: []
  checkpoint:
    description:
      - Whether to write a checkpoint after the promotion. C(pg_rewind) of versions 13 to 15 takes the new primary for
        one of the old timeline until there is one.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for the end of the recovery.
    type: float
    default: 60
seealso:
  - module: pgtandem.replication.pg_replication_status
  - name: Failover
    description: What a promotion is.
    link: https://www.postgresql.org/docs/current/warm-standby-failover.html
"""

EXAMPLES = r"""
- name: Promote the standby that has everything
  pgtandem.replication.pg_promote:
    version: "15"
    minimum_lsn: 0/5000148
    slots: [pg1, pg3]
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: [Promote this standby]
timeline:
  description: The timeline that the server writes.
  returned: success, but for a standby in check mode
  type: int
  sample: 2
previous_timeline:
  description: The timeline that it came from; null on the first.
  returned: success, but for a standby in check mode
  type: int
  sample: 1
switch_lsn:
  description: Where the timeline begins; null on the first.
  returned: success, but for a standby in check mode
  type: str
  sample: 0/5000148
received_lsn:
  description: How far the standby had received WAL before; null for a primary and for a standby that never streamed.
  returned: success
  type: str
  sample: 0/5000148
replayed_lsn:
  description: How far it had replayed before; null for a primary.
  returned: success
  type: str
  sample: 0/5000148
seconds:
  description: How long the promotion took; null where there was none.
  returned: success
  type: float
  sample: 0.061
"""

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_options
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._promote import run_promotion


def main() -> None:
    """Wire the module's options to its job."""
    run_job(
        run_promotion,
        dict(
            login_options(),
            system_identifier={"type": "str", "default": ""},
            minimum_lsn={"type": "str", "default": ""},
            slots={"type": "list", "elements": "str", "default": []},
            checkpoint={"type": "bool", "default": False},
            timeout={"type": "float", "default": 60},
        ),
    )


if __name__ == "__main__":
    main()
