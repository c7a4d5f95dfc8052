# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import secrets
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgtandem.replication.plugins.plugin_utils._foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gather import gather
from ansible_collections.pgtandem.replication.plugins.plugin_utils._switchover import (
    SWITCH,
    Limits,
    Switchover,
    plan_switchover,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._terminal import show, warn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._variables import PASSWORD


class ActionModule(ForeignActionBase):
    """Decide what a switchover has to do, and say every reason not to."""

    _requires_connection = False
    _VALID_ARGS = frozenset(
        {"checks", "failed_from", "leave_unreachable", "maximum_lag_bytes", "opening", "others", "plan", "target"}
    )

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        arguments = self._task.args
        unknown = set(arguments) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_switchover_plan has no option {', '.join(sorted(unknown))}.")
        plan = arguments.get("plan") or self._look(arguments, task_vars)
        problems = list(plan["problems"])
        waits_for_checks = plan["action"] == SWITCH and "checks" not in arguments and plan["primary"]
        for check in arguments.get("checks") or []:
            problems += _problems_of(check)
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
        found = plan_switchover(
            nodes,
            str(arguments.get("target") or ""),
            limits=limits,
            failed_from=str(arguments.get("failed_from") or ""),
            passwords={node["name"]: str(task_vars["hostvars"][node["name"]].get(PASSWORD) or "") for node in nodes},
        )
        return _plain(found)


def _problems_of(check: t.Any) -> list[str]:
    """What a module that looked at a host has against it, with the host's name."""
    if not isinstance(check, dict) or not (check.get("failed") or check.get("unreachable")):
        return []
    texts = check.get("problems") or [check.get("msg") or "it failed without a word"]
    return [f"{check.get('host', 'a host')}: {' '.join(str(text).split())}" for text in texts]


def _plain(found: Switchover) -> dict[str, t.Any]:
    plan = found._asdict()
    plan.update(
        problems=[problem.text for problem in found.problems],
        reasons=[problem.as_result() for problem in found.problems],
        token=secrets.token_hex(8),
    )
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plan.items()}
