# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gather import gather
from ansible_collections.pgtandem.replication.plugins.plugin_utils._live import live_members
from ansible_collections.pgtandem.replication.plugins.plugin_utils._parameter_order import too_low
from ansible_collections.pgtandem.replication.plugins.plugin_utils._rejoin import Asked
from ansible_collections.pgtandem.replication.plugins.plugin_utils._terminal import show, warn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls_arguments import controller_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._topology import clusters_of, settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tree import render
from ansible_collections.pgtandem.replication.plugins.plugin_utils._variables import PASSWORD


def _strategy_of(task: t.Any) -> str:
    """The strategy of the play that a task belongs to."""
    parent = task
    while parent is not None and getattr(parent, "_play", None) is None:
        parent = getattr(parent, "_parent", None)
    return str(parent._play.strategy) if parent is not None else ""


class ActionModule(ForeignActionBase):
    """Settle the topology from what was read, or show it."""

    _requires_connection = False
    _VALID_ARGS = frozenset(
        {"accept", "dead", "follow", "leaving", "others", "raised", "rejoin", "show", "stop_old_primary"}
    )

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        unknown = set(self._task.args) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_topology has no option {', '.join(sorted(unknown))}.")
        nodes = gather(task_vars, self._templar.template, self._task.args.get("others") or [])
        if self._task.args.get("show"):
            tree = [
                line
                for cluster, members in clusters_of(nodes).items()
                for line in render(cluster, live_members(members))
            ]
            for line in tree:
                show(line)
            result.update(changed=False, tree=tree)
            return result
        strategy = _strategy_of(self._task)
        if strategy.endswith(("free", "host_pinned")) and len(task_vars.get("ansible_play_hosts_all") or []) > 1:
            raise AnsibleActionFail(
                f"This play runs with strategy {strategy}, which lets each host run ahead of the others, and a standby "
                "needs its upstream to be set up before it. Nothing was changed. Set strategy: linear for this play "
                "(mitogen_linear with Mitogen)."
            )
        if self._task.args.get("raised"):
            return {**result, **self._confirm(task_vars, nodes)}
        in_run = task_vars.get("ansible_play_hosts_all") or []
        try:
            if boolean(self._task.args.get("follow") or False):
                for node in nodes:
                    node["on_role_change"] = "follow"
            # Not part of the nodes, which are facts and get printed.
            variables = {node["name"]: task_vars["hostvars"][node["name"]] for node in nodes}
            topology = settle(
                nodes,
                {name: str(of.get(PASSWORD) or "") for name, of in variables.items()},
                more=controller_problems(nodes),
                accept=[str(kind) for kind in self._task.args.get("accept") or []],
                in_run=in_run,
                asked=Asked(
                    frozenset(str(name) for name in self._task.args.get("rejoin") or []),
                    dead=frozenset(str(name) for name in self._task.args.get("dead") or []),
                    leaving=frozenset(str(name) for name in self._task.args.get("leaving") or []),
                    stop=boolean(self._task.args.get("stop_old_primary") or False),
                ),
            )
        except ReplicationError as error:
            result.update(failed=True, **error.result())
            return result
        for name, plan in topology["nodes"].items():
            plan["in_run"] = name in in_run
        for note in topology["notes"]:
            warn(note)
        for line in topology["parameter_plan"]:
            show(line)
        result.update(changed=False, topology=topology)
        return result

    def _confirm(self, task_vars: dict[str, t.Any], nodes: list[dict[str, t.Any]]) -> dict[str, t.Any]:
        """See that no standby has less than this primary is about to get."""
        plans = task_vars["pgtandem_topology"]["nodes"]
        own = plans[task_vars["inventory_hostname"]]
        standbys = [
            node for node in nodes if node["cluster"] == own["cluster"] and plans.get(node["name"], {}).get("in_run")
        ]
        values = {str(name): int(value) for name, value in self._task.args["raised"].items()}
        low = too_low(values, standbys)
        if not low:
            return {"changed": False}
        asked = ", ".join(f"{name} = {value}" for name, value in sorted(values.items()))
        return {
            "failed": True,
            "msg": f"This primary is to run with {asked}, and {'; '.join(low)}. With less than its primary a standby "
            "stops replaying or goes down, so the standbys come first, and this primary was left as it is. Where one "
            "of them failed, its own error is above.",
        }
