# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide on the controller who takes over from a dead primary; all of the thinking is in plugin_utils/_failover.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgtandem.replication.plugins.plugin_utils._failover import Wish, takeovers
from ansible_collections.pgtandem.replication.plugins.plugin_utils._foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gather import gather
from ansible_collections.pgtandem.replication.plugins.plugin_utils._terminal import show, warn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._topology import clusters_of


class ActionModule(ForeignActionBase):
    """Choose the standby to promote from what was read, or say why nobody may be."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"accept_loss", "answering", "fenced", "target", "will_fence"})

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        arguments = self._task.args
        unknown = set(arguments) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_failover has no option {', '.join(sorted(unknown))}.")
        nodes = gather(task_vars, self._templar.template)
        found, problems = takeovers(
            clusters_of(nodes),
            Wish(
                target=str(arguments.get("target") or ""),
                fenced=boolean(arguments.get("fenced") or False),
                will_fence=boolean(arguments.get("will_fence") or False),
                answering=frozenset(str(name) for name in arguments.get("answering") or []),
                accept_loss=boolean(arguments.get("accept_loss") or False),
            ),
        )
        if problems:
            result.update(
                failed=True,
                msg="Nobody was promoted. " + " ".join(problem.text for problem in problems),
                reasons=[problem.as_result() for problem in problems],
            )
            return result
        for one in found:
            show(one.told())
            for note in one.notes:
                warn(note)
        olds = [(one.cluster, one.old) for one in found if one.old is not None]
        result.update(
            changed=False,
            failovers=[one.as_result() for one in found],
            places=[
                {"cluster": cluster, "name": old["name"], "host": old["address"], "port": old["port"]}
                for cluster, old in olds
            ],
            read=[node["name"] for node in nodes if node["status"]],
        )
        return result
