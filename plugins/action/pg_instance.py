# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gc
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.tls_arguments import tls_arguments
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import reader
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.arguments import instance_arguments


class ActionModule(ForeignActionBase):
    """Run the module with what the plan says of its host, and certificates that are read or made on the controller."""

    _requires_connection = True
    _supports_check_mode = True

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        # Ansible forks a process for each task, which ends with it. Collecting garbage there walks through all that the
        # controller has in memory, and makes putting a module together three times as slow.
        gc.disable()
        result: dict[str, t.Any] = {}
        arguments = dict(self._task.args)
        plan = arguments.pop("plan", None)
        if plan:
            arguments = self._composed(plan, arguments, task_vars)
        try:
            sent = tls_arguments(arguments.pop("tls_plan", None) or {}, check_mode=self._task.check_mode)
        except ReplicationError as error:
            result.update(failed=True, **error.result())
            return result
        arguments.update(sent.options)
        result.update(
            self._execute_module(
                module_name="pgtandem.replication.pg_instance", module_args=arguments, task_vars=task_vars
            )
        )
        if sent.actions and not result.get("failed"):
            result.update(changed=True, actions=[*sent.actions, *(result.get("actions") or [])])
        return result

    def _composed(
        self, plan: t.Mapping[str, t.Any], arguments: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any]
    ) -> dict[str, t.Any]:
        """Add what the plan and the host's variables say; what the task says counts more."""
        planned = instance_arguments(plan, reader(task_vars, self._templar.template))
        parameters = {**planned["parameters"], **(arguments.get("parameters") or {})}
        return {**planned, **arguments, "parameters": parameters}
