# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.output import absolute_path, write_output
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.terminal import show
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.benchmark_chart import bars, page, svg, table


class ActionModule(ForeignActionBase):
    """Measure on the host, print the table and write the chart here."""

    _requires_connection = True

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        arguments = dict(self._task.args)
        path = absolute_path(arguments.get("html"))
        if path and not os.access(os.path.dirname(path), os.W_OK):
            # Before minutes of measuring, not after.
            raise AnsibleActionFail(f"{path} cannot be written on the controller. Nothing was measured.")
        answer = self._execute_module(
            module_name="pgtandem.replication.pg_benchmark", module_args=arguments, task_vars=task_vars
        )
        result.update(answer)
        levels = answer.get("levels") or []
        if answer.get("failed") or not levels:
            return result
        for line in [*table(levels), *bars(levels)]:
            show(line)
        if path:
            about = (
                f"pgbench on {task_vars.get('inventory_hostname')}, PostgreSQL {answer['server_version']}: "
                f"{arguments.get('clients', 4)} clients, scale {arguments.get('scale', 10)}, "
                f"{arguments.get('seconds', 10)} seconds a level."
            )
            text = svg(levels) if path.endswith(".svg") else page(levels, about)
            write_output(path, text)
            result["written"] = [path]
        return result
