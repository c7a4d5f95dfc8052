# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.listening import unreached_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.live import live_members
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.inventory import (
    absent,
    cluster_of,
    gather,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.terminal import show, warn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.tls_arguments import controller_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import PASSWORD
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import (
    clusters_of,
    in_the_run,
    refusal,
    settle,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.assumption import assumed_plans, group_of
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.parameter_order import too_low
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.rejoin import Asked
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.tree import render


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
        {
            "absent",
            "accept",
            "assume",
            "dead",
            "ended",
            "follow",
            "judged",
            "sort",
            "leaving",
            "opening",
            "others",
            "raised",
            "rejoin",
            "show",
            "skip",
            "stop_old_primary",
        }
    )

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        unknown = set(self._task.args) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_topology has no option {', '.join(sorted(unknown))}.")
        in_run = task_vars.get("ansible_play_hosts_all") or []
        if self._task.args.get("absent"):
            skip = {str(name) for name in self._task.args.get("skip") or []}
            result.update(changed=False, hosts=absent(task_vars, self._templar.template, skip))
            return result
        if "judged" in self._task.args:
            return {**result, **self._judged(task_vars, self._task.args["judged"] or {})}
        if self._task.args.get("sort"):
            return {**result, **self._sorted(task_vars)}
        nodes = gather(task_vars, self._templar.template, self._task.args.get("others") or [])
        if "assume" in self._task.args:
            names = [node["name"] for node in in_the_run(nodes, in_run or None)]
            result.update(
                changed=False,
                assumed=self._assume(nodes, in_run),
                hosts=[name for name in names if name not in in_run],
            )
            return result
        if self._task.args.get("ended"):
            self._tell_what_failed(task_vars, nodes)
            result.update(changed=False)
            return result
        if self._task.args.get("show"):
            nodes = in_the_run(nodes, in_run or None)
            tree = [
                line
                for cluster, members in clusters_of(nodes).items()
                for line in render(cluster, live_members(members))
            ]
            for line in tree:
                show(line)
            self._tell_what_failed(task_vars, nodes)
            result.update(changed=False, tree=tree)
            accept = [str(kind) for kind in self._task.args.get("accept") or []]
            problems = [
                problem
                for members in clusters_of(nodes).values()
                for problem in unreached_problems(members)
                if problem.id not in accept
            ]
            if problems:
                result.update(refusal(problems, "The run has done all else.").result(), failed=True)
            return result
        strategy = _strategy_of(self._task)
        if strategy.endswith(("free", "host_pinned")) and len(task_vars.get("ansible_play_hosts_all") or []) > 1:
            raise AnsibleActionFail(
                f"This play runs with strategy {strategy}, which lets each host run ahead of the others, and a standby "
                "needs its upstream to be set up before it. Nothing was changed. Set strategy: linear for this play "
                "(mitogen_linear with Mitogen)."
            )
        if "raised" in self._task.args:
            return {**result, **self._confirm(task_vars, nodes)}
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
                in_run=in_run or None,
                opening=str(self._task.args.get("opening") or ""),
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
        alive = set(task_vars.get("ansible_play_hosts") or [])
        for cluster, refused in topology["refused"].items():
            # Where one of its hosts is there, that one fails and tells it.
            if alive.isdisjoint(node["name"] for node in nodes if node["cluster"] == cluster):
                show(refused["msg"], color="red")
        for note in topology["notes"]:
            warn(note)
        for node in nodes:
            if topology["nodes"].get(node["name"], {}).get("settled"):
                # What pg_instance would have warned of, which does not run there.
                for text in node["answer"]["warnings"]:
                    warn(text)
        for line in topology["parameter_plan"]:
            show(line)
        result.update(changed=False, **topology)
        return result

    def _assume(self, nodes: t.Sequence[Node], in_run: t.Container[str]) -> dict[str, t.Any]:
        """Say what each host has to be if the inventory is right; only of clusters that are in the run as a whole."""
        assumed: dict[str, t.Any] = {}
        if boolean(self._task.args["assume"]):
            for cluster, members in clusters_of(nodes).items():
                if all(node["name"] in in_run for node in members):
                    assumed.update(assumed_plans(cluster, members))
        return assumed

    def _sorted(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Put the host into the group of those that need the same, or fail it with its cluster."""
        topology = task_vars["pgtandem_topology"]
        judged = self._judged(task_vars, topology["refused"])
        plan = topology["nodes"].get(task_vars["inventory_hostname"])
        if not judged.get("failed") and plan is not None:
            self.group = f"pgtandem_live_{group_of(plan)}"
        return judged

    def _judged(self, task_vars: dict[str, t.Any], refusals: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
        """Fail on the hosts of a cluster that was refused, so that they take no part in what comes."""
        own = cluster_of(str(task_vars["inventory_hostname"]), task_vars, self._templar.template)
        refused = refusals.get(own)
        if not refused:
            return {"changed": False}
        hosts = task_vars.get("ansible_play_hosts") or []
        first = next(name for name in hosts if cluster_of(name, task_vars, self._templar.template) == own)
        if first == task_vars["inventory_hostname"]:
            return {**refused, "failed": True}
        return {"failed": True, "msg": f"Cluster {own!r} has a reason to stop, which {first} tells above."}

    def _tell_what_failed(self, task_vars: dict[str, t.Any], nodes: t.Sequence[t.Mapping[str, t.Any]]) -> None:
        """The hosts that dropped out of the run, cluster by cluster: their own errors are far above by now."""
        left = set(task_vars.get("ansible_play_hosts_all") or []) - set(task_vars.get("ansible_play_hosts") or [])
        failed: dict[str, list[str]] = {}
        for node in nodes:
            if node["name"] in left:
                failed.setdefault(node["cluster"], []).append(node["name"])
        for cluster, names in sorted(failed.items()):
            show(
                f"cluster {cluster}: {', '.join(names)} failed or could not be reached (the errors are above), and "
                "this run did nothing more there.",
                color="red",
            )

    def _confirm(self, task_vars: dict[str, t.Any], nodes: list[dict[str, t.Any]]) -> dict[str, t.Any]:
        """See that no standby that went first failed, or has less than this primary is about to get."""
        plans = task_vars["pgtandem_topology"]["nodes"]
        own = plans[task_vars["inventory_hostname"]]
        failed = [name for name in own["tried_by"] if task_vars["hostvars"][name].get("__pgtandem_tried") is False]
        if failed:
            return {
                "failed": True,
                "msg": f"{', '.join(failed)} was to restart before this primary and did not come back to it (its own "
                "error is above), so this primary was left as it is. See what is wrong there and run again.",
            }
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
