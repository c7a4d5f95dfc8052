# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import (
    shown_bytes,
    shown_progress,
    shown_seconds,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.terminal import show, warn
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.tls_arguments import tls_arguments

#: Seconds that each short run of the module waits on the host: the first covers small copies without a word. To begin
#: one takes half a second of a core there, which the copy would rather have.
FIRST_WAIT = 4.0
NEXT_WAITS = (3.0, 3.0, 5.0)
LONGEST_WAIT = 10.0
#: Seconds for which a host that cannot be reached is tried again; the copy goes on there meanwhile.
PATIENCE = 300.0


class ActionModule(ForeignActionBase):
    """Run the module in short turns, and say on the controller how far the copy is."""

    _requires_connection = True
    _supports_check_mode = True

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        arguments = dict(self._task.args)
        name = str(task_vars.get("inventory_hostname", ""))
        try:
            sent = tls_arguments(arguments.pop("tls_plan", None) or {}, check_mode=self._task.check_mode)
        except ReplicationError as error:
            result.update(failed=True, **error.result())
            return result
        arguments.update(sent.options)
        if self._task.check_mode or self._task.async_val or arguments.get("wait_timeout") is not None:
            # The caller wants one turn.
            result.update(self._turn(arguments, task_vars))
            if self._task.check_mode:
                for action in result.get("actions") or []:
                    show(f"{name}: would {action}")
            return result
        upstream = str(arguments.get("upstream_host"))
        actions: list[str] = []
        shown = 0
        wait = FIRST_WAIT
        while True:
            answer = self._turn(dict(arguments, wait_timeout=wait), task_vars, patient=shown > 0)
            actions += [action for action in answer.get("actions") or [] if action not in actions]
            if not answer.get("running"):
                break
            arguments["job"] = answer["job"]
            if answer.get("progress"):
                show(f"{name}: {shown_progress(answer['progress'], upstream)}")
            wait = NEXT_WAITS[shown] if shown < len(NEXT_WAITS) else LONGEST_WAIT
            shown += 1
        if shown and not answer.get("failed"):
            show(f"{name}: {self._summary(answer, upstream)}")
        result.update(answer)
        if "actions" in answer:
            result["actions"] = actions
        return result

    def _turn(
        self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any], *, patient: bool = False
    ) -> dict[str, t.Any]:
        """One run of the module. C(patient): the copy is under way, and a lost connection does it no harm."""
        deadline = time.monotonic() + PATIENCE
        pause = 1.0
        while True:
            try:
                return t.cast(
                    "dict[str, t.Any]",
                    self._execute_module(
                        module_name="pgtandem.replication.pg_basebackup",
                        module_args=arguments,
                        task_vars=task_vars,
                        wrap_async=self._task.async_val,
                    ),
                )
            except AnsibleConnectionFailure as error:
                if not patient or time.monotonic() >= deadline:
                    raise
                warn(f"The connection was lost; the copy goes on, and it is tried again: {error}")
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_WAIT)

    def _summary(self, answer: dict[str, t.Any], upstream: str) -> str:
        if not answer.get("copied_bytes") or not answer.get("seconds"):
            return f"the copy of {upstream} is whole"
        amount, seconds = answer["copied_bytes"], answer["seconds"]
        return (
            f"copied {shown_bytes(amount)} from {upstream} in {shown_seconds(int(seconds))} "
            f"({shown_bytes(amount / max(seconds, 0.1))}/s)"
        )
