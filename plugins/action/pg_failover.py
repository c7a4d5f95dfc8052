# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide on the controller who takes over from a dead primary; the thinking is in _role_change/failover.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node, Problem
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.inventory import gather
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.terminal import show, warn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.tls_arguments import controller_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import PASSWORD
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import (
    clusters_of,
    in_the_run,
    refusal,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.failover import (
    Failover,
    Wish,
    takeovers,
    who_reached,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.foresight import problems_after


class ActionModule(ForeignActionBase):
    """Choose the standby to promote from what was read, or say why nobody may be."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"accept_loss", "answering", "chosen", "fenced", "target", "will_fence"})

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        arguments = self._task.args
        unknown = set(arguments) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_failover has no option {', '.join(sorted(unknown))}.")
        nodes = gather(task_vars, self._templar.template)
        clusters = clusters_of(in_the_run(nodes, task_vars.get("ansible_play_hosts_all") or None))
        chosen = {str(one["cluster"]): one for one in arguments.get("chosen") or []}
        fenced = {str(cluster) for cluster in arguments.get("fenced") or []}
        # Those that were to be fenced.
        to_fence = {cluster for cluster, one in chosen.items() if one["old"] and not one["done"]}
        answer = takeovers(
            {cluster: members for cluster, members in clusters.items() if not chosen or cluster in chosen},
            Wish(
                target=str(arguments.get("target") or ""),
                will_fence=boolean(arguments.get("will_fence") or False),
                answering=frozenset(str(name) for name in arguments.get("answering") or []).union(
                    *(who_reached(members) for members in clusters.values())
                ),
                accept_loss=boolean(arguments.get("accept_loss") or False),
            ),
            fenced=fenced,
            unfenced=to_fence - fenced if "fenced" in arguments else (),
            gate=lambda failover, members: self._after(failover, members, task_vars),
        )
        refused = {
            cluster: refusal(problems, f"Nobody was promoted in cluster {cluster!r}.").result()
            for cluster, problems in answer.refused.items()
        }
        if not answer.found:
            problems = [problem for problems in answer.refused.values() for problem in problems]
            result.update(refusal(problems, "Nobody was promoted.").result(), failed=True)
            return result
        alive = set(task_vars.get("ansible_play_hosts") or [])
        for cluster, why in refused.items():
            if alive.isdisjoint(node["name"] for node in clusters[cluster]):
                show(why["msg"], color="red")
        for one in answer.found:
            show(one.told())
            for note in one.notes:
                warn(note)
        olds = [(one.cluster, one.old) for one in answer.found if one.old is not None]
        result.update(
            changed=False,
            failovers=[one.as_result() for one in answer.found],
            refused=refused,
            places=[
                {"cluster": cluster, "name": old["name"], "host": old["address"], "port": old["port"]}
                for cluster, old in olds
            ],
            read=[node["name"] for node in nodes if node["status"]],
        )
        return result

    def _after(self, failover: Failover, members: t.Sequence[Node], task_vars: dict[str, t.Any]) -> t.Sequence[Problem]:
        """What would stop the rest of the run after the promotion."""
        old = failover.old["name"] if failover.old else ""
        hostvars = task_vars["hostvars"]
        return problems_after(
            members,
            failover.target["name"],
            {old, *failover.ahead},
            passwords={node["name"]: str(hostvars[node["name"]].get(PASSWORD) or "") for node in members},
            dead=[name for name in (old, *(node["name"] for node in members if not node["status"])) if name],
            more=controller_problems(members),
        )
