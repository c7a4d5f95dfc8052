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
  - With O(after=shutdown) it is one half of a switchover, and M(pgtandem.replication.pg_demote) on the primary is the
    other. The standby is told beforehand, and promotes itself the moment when it has replayed the checkpoint of the
    primary's shutdown, with no task of Ansible's in between.
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
  after:
    description:
      - V(now) promotes at once.
      - V(shutdown) promotes when the primary has been shut down by M(pgtandem.replication.pg_demote) with the same
        O(token), and all its WAL is replayed here. Any other shutdown of the primary promotes nothing.
    type: str
    choices: [now, shutdown]
    default: now
  phase:
    description:
      - What is to be done of O(after=shutdown).
      - V(arm) starts a process that waits, and returns when it does. It outlives the connection and the controller, and
        ends without having changed anything where it waits in vain.
      - V(collect) waits for its end, O(timeout) seconds at most, and then calls it off. It fails where the standby was
        not promoted; RV(state) and the message say why.
      - V(disarm) calls it off. It may be too late; then the standby is promoted.
    type: str
    choices: [arm, collect, disarm]
  token:
    description: A word of letters and digits that names this switchover; O(after=shutdown) needs it.
    type: str
    default: ""
  patience:
    description: Seconds that an armed standby waits for the primary to show the token.
    type: float
    default: 60
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
    description: Seconds to wait for the end of the recovery; with O(phase=collect) for the end of the process.
    type: float
    default: 60
seealso:
  - module: pgtandem.replication.pg_demote
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

- name: Have a standby wait for the shutdown of its primary
  pgtandem.replication.pg_promote:
    version: "15"
    after: shutdown
    phase: arm
    token: c0ffee
    slots: [pg1]
  become: true
  delegate_to: pg2

- name: Say how it went
  pgtandem.replication.pg_promote:
    version: "15"
    after: shutdown
    phase: collect
    token: c0ffee
  become: true
  delegate_to: pg2
"""

RETURN = r"""
state:
  description:
    - How the standby is. V(waiting), V(promoting), V(promoted), and V(primary) for a server that was one before.
    - V(cancelled), V(expired) and V(failed) say why a standby that waited was not promoted.
  returned: always with O(after=shutdown), but for check mode
  type: str
  sample: promoted
checkpoint_lsn:
  description: Where the checkpoint of the primary's shutdown begins, as it was found in the WAL here.
  returned: when a standby that waited was promoted
  type: str
  sample: 0/50000D0
times:
  description:
    - Seconds since the epoch, by this host's clock, when the token was seen (C(shown)), when the checkpoint of the
      shutdown was replayed (C(proven)), and when the server could write (C(promoted)).
  returned: when a standby that waited was promoted
  type: dict
  sample: {shown: 1790000000.1, proven: 1790000000.2, promoted: 1790000000.26}
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: [Promote this standby]
timeline:
  description: The timeline that the server writes.
  returned: when the server is a primary in the end
  type: int
  sample: 2
previous_timeline:
  description: The timeline that it came from; null on the first.
  returned: when the server is a primary in the end
  type: int
  sample: 1
switch_lsn:
  description: Where the timeline begins; null on the first.
  returned: when the server is a primary in the end
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

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_options
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.armed_promotion import (
    arm_standby,
    checked_token,
    collect,
    disarm,
    outcome,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.promotion import (
    promote_now,
    promote_request_from,
)

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def _half_of_a_switchover(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    parameters = module.params
    token = checked_token(parameters["token"])
    if parameters["phase"] == "arm":
        request = promote_request_from(parameters)
        return arm_standby(host, request, token=token, patience=parameters["patience"], check_mode=module.check_mode)
    if module.check_mode:
        return {"changed": False, "actions": []}
    if parameters["phase"] == "collect":
        return outcome(collect(host, token=token, timeout=parameters["timeout"]), wanted=True)
    return outcome(disarm(host, token=token), wanted=False)


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Promote, now or when the primary has gone."""
    if module.params["after"] == "shutdown":
        result = _half_of_a_switchover(host, module)
    else:
        result = promote_now(host, promote_request_from(module.params), check_mode=module.check_mode)
    if module._diff:
        result["diff"] = {
            "before_header": "role",
            "after_header": "role",
            "before": "standby\n" if result["changed"] else "primary\n",
            "after": "primary\n",
        }
    return result


def main() -> None:
    """Wire the module's options to its job."""
    run_job(
        job,
        dict(
            login_options(),
            after={"type": "str", "choices": ["now", "shutdown"], "default": "now"},
            phase={"type": "str", "choices": ["arm", "collect", "disarm"]},
            token={"type": "str", "default": "", "no_log": False},
            patience={"type": "float", "default": 60},
            system_identifier={"type": "str", "default": ""},
            minimum_lsn={"type": "str", "default": ""},
            slots={"type": "list", "elements": "str", "default": []},
            checkpoint={"type": "bool", "default": False},
            timeout={"type": "float", "default": 60},
        ),
        required_if=[("after", "shutdown", ["phase"])],
    )


if __name__ == "__main__":
    main()
