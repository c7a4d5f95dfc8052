# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import datetime
import json
import os
import tempfile
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.pgtandem.replication.plugins.plugin_utils._findings import ERROR, Limits
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gather import gather
from ansible_collections.pgtandem.replication.plugins.plugin_utils._html import html_text
from ansible_collections.pgtandem.replication.plugins.plugin_utils._metrics import metrics_text
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report import document, findings_lines

display = Display()

_LIMITS = {"maximum_lag_bytes": int, "maximum_lag_seconds": float, "maximum_slot_bytes": int}
_COLOURS = {"error": "red", "warning": "yellow"}


class ActionModule(ActionBase):
    """Print the topology and what is wrong with it, and write it down where asked."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"fail_on", "html", "json", "metrics", "others", *_LIMITS})

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = self._task.args
        unknown = set(arguments) - self._VALID_ARGS
        if unknown:
            raise AnsibleActionFail(f"pg_report has no option {', '.join(sorted(unknown))}.")
        fail_on = str(arguments.get("fail_on") or ERROR)
        if fail_on not in ("error", "warning", "never"):
            raise AnsibleActionFail(f"fail_on is {fail_on!r}; it is one of error, warning, never.")
        report = _plain(
            document(
                gather(task_vars, self._templar.template, arguments.get("others") or []),
                limits=self._limits(),
                generated=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            )
        )
        for cluster in report["clusters"]:
            for line in cluster["tree"]:
                display.display(line)
        for finding, line in zip(report["findings"], findings_lines(report["findings"])):
            display.display(line, color=_COLOURS[finding["severity"]])
        if not report["findings"]:
            display.display("Nothing is wrong.", color="green")
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
        makers: dict[str, t.Callable[[dict[str, t.Any]], str]] = {
            "json": lambda whole: json.dumps(whole, indent=1, ensure_ascii=False) + "\n",
            "html": html_text,
            "metrics": metrics_text,
        }
        written = []
        for kind, make in makers.items():
            path = str(self._task.args.get(kind) or "")
            if path and not self._task.check_mode:
                path = os.path.abspath(os.path.expanduser(path))
                _replace(path, make(report))
                written.append(path)
        return written


def _plain(value: t.Any) -> t.Any:
    """Without what Ansible adds to values, which neither templates nor an encoder need."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _replace(path: str, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".pgtandem-", dir=os.path.dirname(path))
        try:
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            # Nothing in it is secret, and node_exporter is another account.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise AnsibleActionFail(f"{path} cannot be written on the controller: {error.strerror}.") from error
