#!/usr/bin/python
# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_demote
short_description: Make the primary a standby
version_added: 1.0.0
description:
  - Shuts a primary down cleanly and starts it as a standby of O(upstream), the standby that takes its place.
  - It is one half of a switchover. The other is M(pgtandem.replication.pg_promote) with the same O(token) on the
    standby, which has to wait already; without O(token) nobody is promoted, and nobody can write until somebody is.
  - Everything that speaks against it is looked for before anything is changed, and told at once.
  - By the time the server is told to shut down its directory is a standby's, so that it cannot come back as a primary,
    whatever dies on the way.
  - A checkpoint is written first, so that the shutdown has little left to write.
  - A server that is a standby already is left as it is, and started where it does not run.
extends_documentation_fragment:
  - pgtandem.replication.attributes
  - pgtandem.replication.attributes.actiongroup_replication
  - pgtandem.replication.instance
  - pgtandem.replication.login
attributes:
  check_mode:
    support: full
    details:
      - Everything is looked at, and the login at O(upstream) is tried.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  upstream:
    description: Whom the server is to follow.
    type: dict
    required: true
    suboptions:
      host:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
      application_name:
        description: The name that this host gives itself as a standby.
        type: str
        required: true
      slot:
        description: The physical slot there that this host is to use.
        type: str
      options:
        description: More options of libpq for the connection, such as C(sslmode).
        type: dict
        default: {}
  replication_user:
    description: The role to log in with; its password is taken from the instance's password file.
    type: str
    default: replica
  successor:
    description:
      - The C(application_name) under which O(upstream) follows this primary now. It has to stream and be at most
        O(maximum_lag_bytes) behind. Empty is not looked at.
    type: str
    default: ""
  token:
    description: What M(pgtandem.replication.pg_promote) was armed with on O(upstream).
    type: str
    default: ""
  maximum_lag_bytes:
    description: Bytes of WAL that O(successor) may not have flushed yet.
    type: int
    default: 16777216
  maximum_transaction_seconds:
    description: How long the oldest open transaction may have been going on. The shutdown rolls open transactions back.
    type: float
    default: 30
  maximum_pause:
    description:
      - Seconds that the shutdown may wait for clients of WAL senders, since for as long nobody can write. After that
        the WAL senders of all but O(successor) are ended, and after twice as long that one, too.
      - Where such a wait is foreseen, or one for the archiver, the module fails before anything is changed.
    type: float
    default: 10
  patience:
    description: Seconds that the checkpoint may take, less than the standby waits.
    type: float
    default: 60
  timeout:
    description: Seconds that the shutdown, and the start, may take.
    type: float
    default: 300
seealso:
  - module: pgtandem.replication.pg_promote
  - name: Shutting down the server
    description: What a fast shutdown does.
    link: https://www.postgresql.org/docs/current/server-shutdown.html
"""

EXAMPLES = r"""
- name: Would anything speak against a switchover to pg2
  pgtandem.replication.pg_demote:
    version: "15"
    upstream:
      host: 192.0.2.12
      application_name: pg1
      slot: pg1
    successor: pg2
  become: true
  check_mode: true

- name: Step down for pg2, which waits for it
  pgtandem.replication.pg_demote:
    version: "15"
    upstream:
      host: 192.0.2.12
      application_name: pg1
      slot: pg1
    successor: pg2
    token: c0ffee
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, as sentences.
  returned: success
  type: list
  elements: str
  sample: [Write a checkpoint, Shut the server down, Start it as a standby]
clean:
  description: Whether the control file says that the server was shut down cleanly; null where it was not shut down.
  returned: success
  type: bool
checkpoint_lsn:
  description: Where the checkpoint of the shutdown begins.
  returned: success
  type: str
  sample: 0/50000D0
times:
  description:
    - Seconds since the epoch, by this host's clock, when the server was told to shut down (C(stopping)), when it had
      ended (C(stopped)), and when it was back (C(started)).
  returned: success
  type: dict
ended_wal_senders:
  description: The clients of WAL senders that the shutdown did not wait for.
  returned: success
  type: list
  elements: str
point_of_no_return:
  description: Whether the server was told to shut down. With V(false) this primary goes on as before.
  returned: always
  type: bool
problems:
  description: Each reason not to begin as a text of its own.
  returned: failure, before anything was changed
  type: list
  elements: str
"""

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import login_options
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._module import run_job
from ansible_collections.pgtandem.replication.plugins.module_utils._promotion.demotion import (
    demote,
    demote_request_from,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import (
    connection_option_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import as_text

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host


def job(host: Host, module: AnsibleModule) -> dict[str, t.Any]:
    """Step down."""
    problems = connection_option_problems(
        {str(name): as_text(value) for name, value in module.params["upstream"]["options"].items()}
    )
    if problems:
        raise ReplicationError(" ".join(problems), point_of_no_return=False)
    if module.params["maximum_pause"] <= 0:
        raise ReplicationError("maximum_pause is a number of seconds above 0.", point_of_no_return=False)
    result = demote(host, demote_request_from(module.params), check_mode=module.check_mode)
    diff = result.pop("file_diffs")
    if module._diff and diff:
        result["diff"] = diff
    return result


def main() -> None:
    """Wire the module's options to its job."""
    run_job(
        job,
        dict(
            login_options(),
            upstream={
                "type": "dict",
                "required": True,
                "options": {
                    "host": {"type": "str", "required": True},
                    "port": {"type": "int", "default": 5432},
                    "application_name": {"type": "str", "required": True},
                    "slot": {"type": "str"},
                    "options": {"type": "dict", "default": {}},
                },
            },
            replication_user={"type": "str", "default": "replica"},
            successor={"type": "str", "default": ""},
            token={"type": "str", "default": "", "no_log": False},
            maximum_lag_bytes={"type": "int", "default": 16777216},
            maximum_transaction_seconds={"type": "float", "default": 30},
            maximum_pause={"type": "float", "default": 10},
            patience={"type": "float", "default": 60},
            timeout={"type": "float", "default": 300},
        ),
    )


if __name__ == "__main__":
    main()
