# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What the next start of a server would make of parameters that are asked for, judged before any host restarts."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.configuration import (
    judge_settings,
    settings_to_be,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.restart_checks import (
    start_conf_problem,
    start_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import (
    Login,
    find_postmaster,
    open_database,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._status.observation import Status
from ansible_collections.pgtandem.replication.plugins.module_utils._system.identity import NOBODY
from ansible_collections.pgtandem.replication.plugins.module_utils._values.conf import last_values, parse_lines
from ansible_collections.pgtandem.replication.plugins.module_utils._values.data_directory import DirectoryState
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import OFF, ON, normalise
from ansible_collections.pgtandem.replication.plugins.module_utils._values.server_settings import memory_bytes

_SWITCH = {"on": ON, "off": OFF}
_BLOCKS = {"8kB": 8192, "kB": 1024, "MB": 1024**2, "B": 1}


def look_at_next_start(
    host: Host, login: Login, status: Status, parameters: t.Mapping[str, t.Any]
) -> dict[str, list[str]] | None:
    """What would keep the server from starting with these parameters, and for which of them it has to restart.

    None where the host has no server program yet, or the parameters cannot be used anywhere.
    """
    if not host.instance.installed or host.files.identity() is NOBODY:
        return None
    try:
        asked = normalise(parameters, host.instance.version)
    except ReplicationError:
        # The gate says why without looking at a host.
        return None
    path = host.instance.settings_file
    managed = {
        name: setting.value
        for name, setting in last_values(parse_lines(host.files.read_text(path) or "", path)).items()
    }
    changed = {name: value for name, value in asked.items() if managed.get(name) != value}
    waiting = {*status["pending_restart"]} & {*asked, *managed}
    restarts = sorted(waiting | _for_restart(host, login, status, changed))
    problems = _problems(host, status, {**managed, **asked}) if changed else []
    stopped = start_conf_problem(host) if restarts else ""
    return {"problems": [*problems, stopped] if stopped else problems, "restarts": restarts}


def _problems(host: Host, status: Status, values: t.Mapping[str, str]) -> list[str]:
    try:
        judge_settings(host, values)
    except ReplicationError as error:
        return [f"{sentence.rstrip('.')}." for sentence in error.details["problems"] or [error.message]]
    settings = {name: setting.value for name, setting in settings_to_be(host, values).winners().items()}
    if status["data_directory"]["state"] not in (DirectoryState.PRIMARY.value, DirectoryState.STANDBY.value):
        # What lies in the data directory comes with a copy.
        settings["ssl"] = "off"
    return start_problems(host, settings)


def _for_restart(host: Host, login: Login, status: Status, changed: t.Mapping[str, str]) -> set[str]:
    """Those of the changed parameters that the running server takes over only by a restart."""
    if not changed or not status["accepts_connections"]:
        return set()
    with open_database(host, login, find_postmaster(host)) as database:
        rows = database.rows(
            "SELECT name, setting, unit, current_setting(name) AS shown FROM pg_settings WHERE context = 'postmaster'"
        )
    return {row["name"] for row in rows if row["name"] in changed and not same_value(changed[row["name"]], **row)}


def same_value(asked: str, *, setting: str, unit: str | None, shown: str, **_others: t.Any) -> bool:
    """Whether a server runs with a value already, however that is written.

    >>> same_value("TRUE", setting="on", unit=None, shown="on")
    True
    """
    text = asked.strip().lower()
    if text in (setting.lower(), shown.lower()) or text in _SWITCH.get(setting, ()):
        return True
    block = _BLOCKS.get(unit or "")
    return block is not None and setting.isdigit() and memory_bytes(asked, block) == int(setting) * block
