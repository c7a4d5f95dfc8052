# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json
import typing as t

from ansible.errors import AnsibleActionFail
from ansible_collections.pgtandem.replication.plugins.module_utils._values.results import clean_texts
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import ForeignActionBase
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.html import html_text
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.inventory import gather
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.output import (
    PRIVATE,
    PUBLIC,
    absolute_path,
    write_output,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.terminal import show
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import in_the_run
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.document import document, findings_lines
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.findings import ERROR, Limits
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.metrics import metrics_text

_LIMITS = {"maximum_lag_bytes": int, "maximum_lag_seconds": float, "maximum_slot_bytes": int}
_COLOURS = {"error": "red", "warning": "yellow"}


class ActionModule(ForeignActionBase):
    """Print the topology and what is wrong with it, and write it down where asked."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"fail_on", "html", "json", "metrics", "others", *_LIMITS})

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = {}
        arguments = self._task.args
        unknown = set(arguments) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_report has no option {', '.join(sorted(unknown))}.")
        fail_on = str(arguments.get("fail_on") or ERROR)
        if fail_on not in ("error", "warning", "never"):
            raise AnsibleActionFail(f"fail_on is {fail_on!r}; it is one of error, warning, never.")
        report = clean_texts(
            document(
                in_the_run(
                    gather(task_vars, self._templar.template, arguments.get("others") or []),
                    task_vars.get("ansible_play_hosts_all") or None,
                ),
                limits=self._limits(),
                generated=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            )
        )
        for cluster in report["clusters"]:
            for line in cluster["tree"]:
                show(line)
        for finding, line in zip(report["findings"], findings_lines(report["findings"])):
            show(line, color=_COLOURS[finding["severity"]])
        if not report["findings"]:
            show("Nothing is wrong.", color="green")
        result.update(changed=False, report=report, written=self._write(report))
        wrong = [one for one in report["findings"] if one["severity"] == ERROR or fail_on == "warning"]
        if wrong and fail_on != "never":
            named = ", ".join(dict.fromkeys(one["id"] for one in wrong))
            result.update(failed=True, msg=f"{len(wrong)} findings, told above: {named}.")
        # The report is large, and nobody reads it in the output of a task.
        result["_ansible_verbose_override"] = True
        return result

    def _limits(self) -> Limits:
        given = {}
        for name, kind in _LIMITS.items():
            value = self._task.args.get(name)
            if value not in (None, ""):
                try:
                    given[name.removeprefix("maximum_")] = kind(value)
                except ValueError:
                    raise AnsibleActionFail(f"{name} is {value!r}, which is no number.") from None
        return Limits(**given)

    def _write(self, report: dict[str, t.Any]) -> list[str]:
        makers: dict[str, tuple[t.Callable[[dict[str, t.Any]], str], int]] = {
            "json": (lambda whole: json.dumps(whole, indent=1, ensure_ascii=False) + "\n", PRIVATE),
            "html": (html_text, PRIVATE),
            "metrics": (metrics_text, PUBLIC),
        }
        written = []
        for kind, (make, mode) in makers.items():
            path = absolute_path(self._task.args.get(kind))
            if path and not self._task.check_mode:
                write_output(path, make(report), mode=mode)
                written.append(path)
        return written
