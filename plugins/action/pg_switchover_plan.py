# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import secrets
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.inventory import gather
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.terminal import show, warn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.tls_arguments import controller_problems
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import PASSWORD
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.switchover import (
    SWITCH,
    Limits,
    Switchover,
    check_problems,
    plan_switchover,
)


class ActionModule(ForeignActionBase):
    """Decide what a switchover has to do, and say every reason not to."""

    _requires_connection = False
    _VALID_ARGS = frozenset(
        {"checked", "failed_from", "leave_unreachable", "maximum_lag_bytes", "opening", "others", "plan", "target"}
    )

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        arguments = self._task.args
        unknown = set(arguments) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_switchover_plan has no option {', '.join(sorted(unknown))}.")
        plan = arguments.get("plan") or self._look(arguments, task_vars)
        problems = list(plan["problems"])
        checked = boolean(arguments.get("checked") or False)
        waits_for_checks = plan["action"] == SWITCH and not checked and plan["primary"]
        if checked:
            problems += check_problems(plan, _answers(plan, task_vars))
        if problems and not waits_for_checks:
            said = " ".join(problems if len(problems) == 1 else (f"({n}) {text}" for n, text in enumerate(problems, 1)))
            count = "" if len(problems) == 1 else f" {len(problems)} reasons:"
            opening = arguments.get("opening") or "Nothing was changed."
            result.update(failed=True, msg=f"{opening}{count} {said}", problems=problems)
            return result
        if not waits_for_checks:
            for note in plan["notes"]:
                warn(note)
            for number, step in enumerate(plan["steps"], 1):
                show(f"{number}. {step}")
        result.update(changed=False, plan=plan)
        return result

    def _look(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        nodes = gather(task_vars, self._templar.template, arguments.get("others") or [])
        lag = arguments.get("maximum_lag_bytes")
        try:
            limits = Limits(
                **({} if lag in (None, "") else {"lag_bytes": int(t.cast(str, lag))}),
                leave_unreachable=boolean(arguments.get("leave_unreachable") or False),
            )
        except ValueError:
            raise AnsibleActionFail(f"maximum_lag_bytes is {lag!r}, which is no number.") from None
        target = str(arguments.get("target") or "")
        cluster = next((node["cluster"] for node in nodes if node["name"] == target), None)
        found = plan_switchover(
            nodes,
            target,
            limits=limits,
            failed_from=str(arguments.get("failed_from") or ""),
            more=controller_problems([node for node in nodes if node["cluster"] == cluster]),
            passwords={node["name"]: str(task_vars["hostvars"][node["name"]].get(PASSWORD) or "") for node in nodes},
        )
        return _plain(found)


def _answers(plan: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the hosts of this play said that will take part, each by the task that was for it."""
    hostvars, alive = task_vars["hostvars"], task_vars.get("ansible_play_hosts") or []
    tasks = {name: "sibling" for name in plan["siblings"] if name in alive and hostvars[name].get("pgtandem_node")}
    tasks.update({plan["target"]: "target", plan["primary"]: "primary"})
    return {name: hostvars[name].get(f"__pgtandem_{task}_check") for name, task in tasks.items()}


def _plain(found: Switchover) -> dict[str, t.Any]:
    plan = found._asdict()
    plan.update(
        problems=[problem.text for problem in found.problems],
        reasons=[problem.as_result() for problem in found.problems],
        token=secrets.token_hex(8),
    )
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plan.items()}
