# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback plugin as other projects have them: it keeps everything that it is given of a task."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: record_tasks
type: aggregate
short_description: Record tasks with their arguments
description: Appends what a callback plugin is given to the file in the environment variable RECORD_TASKS.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def _record(self, result: t.Any, **_unused: t.Any) -> None:
        with open(os.environ["RECORD_TASKS"], "a", encoding="utf-8") as stream:
            stream.write(f"{result._task_fields['args']!r}\n{dict(result._result)!r}\n")

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_retry = v2_runner_item_on_ok = v2_runner_item_on_failed = _record
