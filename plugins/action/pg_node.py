# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gc
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgtandem.replication.plugins.module_utils._values.sealed import unseal
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import (
    SECRET_OPTIONS,
    ForeignActionBase,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.inventory import members
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import (
    INSTANCE_VARIABLES,
    LOGIN_VARIABLES,
    PREFIX,
    defaults,
    node_from,
    place_from,
    reader,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.arguments import whole_arguments


class ActionModule(ForeignActionBase):
    """Resolve one host's variables and read its instance, in one remote run."""

    _requires_connection = True
    _VALID_ARGS = frozenset(
        {
            "name",
            "options",
            "assumed",
            "expect",
            "judge",
            "timeout",
            "write_position",
            "reach",
            "samples",
            "sample_interval",
            "sizes",
        }
    )

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        # Ansible forks a process for each task, which ends with it. Collecting garbage there walks through all that the
        # controller has in memory, and makes putting a module together three times as slow.
        gc.disable()
        result: dict[str, t.Any] = {}
        arguments = self._task.args
        unknown = set(arguments) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_node has no option {', '.join(sorted(unknown))}.")
        name = str(arguments.get("name") or task_vars["inventory_hostname"])
        variable = self._reader(name, task_vars)
        node = node_from(name, variable, task_vars["groups"])
        filled = defaults()
        module_arguments = {
            key: variable(PREFIX + key, filled[PREFIX + key]) for key in (*INSTANCE_VARIABLES, *LOGIN_VARIABLES)
        }
        module_arguments["port"] = node["port"]
        # What was resolved on the host already counts more than what other hosts can see of its variables.
        module_arguments.update(arguments.get("options") or {})
        if not module_arguments["login_password"]:
            del module_arguments["login_password"]
        for key in ("expect", "timeout", "write_position", "samples", "sample_interval", "sizes"):
            if key in arguments:
                module_arguments[key] = arguments[key]
        reach = arguments.get("reach")
        if isinstance(reach, list):
            module_arguments["reach"] = reach
        elif boolean(reach or False):
            module_arguments["reach"] = self._others(node, task_vars)
        if boolean(arguments.get("judge") or False):
            # What its next start would make of the parameters, before any host restarts for them.
            module_arguments["parameters"] = node["parameters"]
        assumed = arguments.get("assumed")
        if assumed:
            answer = self._look(assumed, module_arguments, variable, task_vars)
        else:
            answer = self._execute_module(
                module_name="pgtandem.replication.pg_replication_status",
                module_args=module_arguments,
                task_vars=task_vars,
            )
        node["assumed"], node["answer"] = assumed or None, answer.pop("answer", None)
        status = answer.pop("replication", None)
        answer.pop("invocation", None)
        node["status"] = status
        node["samples"] = answer.get("samples") or []
        # The keys of the node are those of the result, so that a role registers it as it is.
        result.update({**answer, **node}, expected=arguments.get("expect") or {}, changed=False)
        return result

    def _look(
        self,
        assumed: t.Mapping[str, t.Any],
        place: dict[str, t.Any],
        variable: t.Callable[[str, t.Any], t.Any],
        task_vars: dict[str, t.Any],
    ) -> dict[str, t.Any]:
        """Ask the host as well whether it is what its cluster's plan will want if the inventory is right."""
        wanted = whole_arguments(assumed, variable)
        secrets = {name: wanted.pop(name) for name in SECRET_OPTIONS & wanted.keys()}
        answer = self._execute_module(
            module_name="pgtandem.replication.pg_look",
            module_args={
                **place,
                **secrets,
                "wanted": wanted,
                "followers": assumed["followers"] if assumed["role"] == "primary" else None,
                "reach": assumed["reach"],
            },
            task_vars=task_vars,
        )
        sealed = answer.pop("sealed", None)
        return {**answer, **unseal(sealed)} if sealed else answer

    def _others(self, node: dict[str, t.Any], task_vars: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        """Where the other hosts of this one's cluster are to be found."""
        found = []
        for name in members(task_vars, self._templar.template):
            if name != node["name"]:
                place = place_from(name, self._reader(name, task_vars))
                if place.pop("cluster") == node["cluster"]:
                    found.append(place)
        return found

    def _reader(self, name: str, task_vars: dict[str, t.Any]) -> t.Callable[[str, t.Any], t.Any]:
        """How a host's variables are read: those of this task's own host with what the roles' callers gave them."""
        if name == task_vars["inventory_hostname"]:
            return reader(task_vars, self._templar.template)
        # What a play or a role's caller says is no host's variable in the inventory, and counts for every host.
        hostvars = task_vars["hostvars"]
        mine = hostvars.raw_get(task_vars["inventory_hostname"])
        given = {key: task_vars[key] for key in task_vars if key.startswith(PREFIX) and key not in mine}
        templar = self._templar.copy_with_new_env(
            available_variables={**hostvars.raw_get(name), **given, "hostvars": hostvars}
        )
        variables, others = hostvars[name], reader(given, templar.template)
        return lambda key, default: variables[key] if key in variables else others(key, default)
