#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_checkpoint
short_description: Have a primary write the checkpoint that others need to see it was promoted
version_added: 1.0.0
description:
  - Runs C(CHECKPOINT) where the last checkpoint of the server is of an older timeline than the one it writes, as right
    after a promotion. Up to version 15 C(pg_rewind) goes by that checkpoint, and without it takes a server that was
    promoted for one that was not.
  - Does nothing on a standby.
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
  - pgtandem.replication.login
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: pgtandem.replication.pg_rewind
  - name: CHECKPOINT
    description: What it does, and who may run it.
    link: https://www.postgresql.org/docs/current/sql-checkpoint.html
"""

EXAMPLES = r"""
- name: Let others be rewound to this server, which was promoted just now
  pgtandem.replication.pg_checkpoint:
  become: true
"""

RETURN = r"""
timeline:
  description: The timeline that the server writes.
  returned: success
  type: int
  sample: 2
checkpoint_timeline:
  description: The timeline of its last checkpoint before the run.
  returned: success
  type: int
  sample: 1
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: ["write a checkpoint on timeline 2"]
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_from, login_options
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import open_session
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.checkpoint import ensure_checkpoint

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Write the checkpoint on the server that the parameters describe."""
    session = t.cast(t.Any, open_session(host, login_from(module.params), or_none=False))
    with session as database:
        return ensure_checkpoint(database, check_mode=module.check_mode)


def main() -> None:
    """The module's entry."""
    run_job(job, login_options())


if __name__ == "__main__":
    main()
