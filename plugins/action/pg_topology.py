# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._topology import settle
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tree import render
from ansible_collections.pgtandem.replication.plugins.plugin_utils._variables import defaults, node_from

display = Display()


class ActionModule(ActionBase):
    """Settle the topology from what was read, or show it."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"accept", "others", "show"})

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unknown = set(self._task.args) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_topology has no option {', '.join(sorted(unknown))}.")
        nodes = self._nodes(task_vars)
        if self._task.args.get("show"):
            plans = task_vars["pgtandem_topology"]["nodes"]
            tree = render(plans, {node["name"]: node["status"] for node in nodes})
            for line in tree:
                display.display(line)
            result.update(changed=False, tree=tree)
            return result
        try:
            topology = settle(nodes, [str(kind) for kind in self._task.args.get("accept") or []])
        except ReplicationError as error:
            result.update(failed=True, **error.result())
            return result
        in_run = task_vars.get("ansible_play_hosts_all") or []
        for name, plan in topology["nodes"].items():
            plan["in_run"] = name in in_run
        for note in topology["notes"]:
            display.warning(note)
        result.update(changed=False, topology=topology)
        return result

    def _nodes(self, task_vars: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        """Every host of the two groups: as it was read in this run, else as the inventory has it."""
        groups, hostvars = task_vars["groups"], task_vars["hostvars"]
        read, reasons = {}, {}
        for answer in self._task.args.get("others") or []:
            if "node" in answer:
                read[answer["node"]["name"]] = answer["node"]
            else:
                reasons[answer.get("item")] = answer.get("msg")
        nodes = []
        for name in self._members(task_vars):
            variables = hostvars[name]
            seen = variables.get("pgtandem_node") or read.get(name)
            if seen is None:
                seen = node_from(name, variables.get, groups)
                seen["unread_reason"] = variables.get("pgtandem_unread_reason") or reasons.get(name)
            nodes.append(seen)
        return nodes

    def _members(self, task_vars: dict[str, t.Any]) -> list[str]:
        filled = defaults()
        names: list[str] = []
        for key in ("pgtandem_primary_group", "pgtandem_standby_group"):
            group = self._templar.template(task_vars.get(key, filled[key]))
            names += [name for name in task_vars["groups"].get(group, []) if name not in names]
        return names
