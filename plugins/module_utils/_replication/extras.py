# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a run of pg_instance does after the instance itself: the role, slots, and a look at what came of it.

Each is the job of another module, done in the same run, since a run on a host costs more than what it does there.
"""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import REACH
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.login_role import manage_role
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.slot import manage_slots
from ansible_collections.pgtandem.replication.plugins.module_utils._status.expectations import Expectations, unmet
from ansible_collections.pgtandem.replication.plugins.module_utils._status.report import Request, report_anyway

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import Login

Result = t.Dict[str, t.Any]


def options() -> dict[str, t.Any]:
    """The options of pg_instance that are about this."""
    return {
        "role": {"type": "bool", "default": False},
        "slots": {"type": "list", "elements": "str", "default": []},
        "look": {
            "type": "dict",
            "options": {
                "write_position": {"type": "bool", "default": False},
                "sizes": {"type": "bool", "default": False},
                "standbys": {"type": "list", "elements": "str"},
                "streaming": {"type": "bool"},
                "replayed_lsn": {"type": "str"},
                "received_lsn": {"type": "str"},
                "patience": {"type": "float", "default": 0.0},
                "fed": {"type": "bool", "default": True},
                "reach": REACH,
            },
        },
    }


def do_also(host: Host, module: AnsibleModule, login: Login, result: Result) -> None:
    """Do what the parameters ask for besides the instance, and add it to its result."""
    parameters = module.params
    if parameters["role"]:
        wanted = {
            "name": parameters["replication_user"],
            "password": parameters["replication_password"],
            "update_password": "always",
            "connection_limit": None,
            "valid_until": None,
            "rewind": True,
        }
        done = manage_role(host, _part(module, wanted))
        result["role"] = done["role"]
        _add(result, done)
    if parameters["slots"]:
        _add(result, manage_slots(host, _part(module, {"names": parameters["slots"], "reserve": True})))
    if parameters["look"] and not (module.check_mode and result["changed"]):
        result.update(_look(host, module, login, result))


def _part(module: AnsibleModule, parameters: dict[str, t.Any]) -> AnsibleModule:
    """The module as another job sees it: with that job's parameters."""
    part = copy.copy(module)
    part.params = dict(module.params, **parameters, state="present")
    return part


def _add(result: Result, more: Result) -> None:
    result["changed"] = result["changed"] or more["changed"]
    result["actions"] = [*result["actions"], *more["actions"]]
    if "diff" in more:
        result["diff"] = [*result.get("diff", []), more["diff"]]


def _look(host: Host, module: AnsibleModule, login: Login, result: Result) -> Result:
    """A look by which nothing fails: what is missing is for a proof to say. It waits for the WAL receiver alone."""
    look, upstream = module.params["look"], module.params["upstream"]
    stream: dict[str, t.Any] = {"streaming": look["streaming"]}
    if upstream:
        stream.update(role="standby", upstream={"host": upstream["host"], "port": upstream["port"]})
    request = Request.make(
        login=login,
        expect=stream,
        timeout=0 if result["restart_needed"] else look["patience"],
        stable=0,
        write_position=look["write_position"],
        sizes=look["sizes"],
        check_mode=module.check_mode,
        reach=look["reach"],
    )
    seen = report_anyway(host, request)
    others = {name: look[name] for name in ("standbys", "replayed_lsn", "received_lsn")}
    missing = [*seen["unmet"], *unmet(seen["replication"], Expectations.from_parameters(others))]
    return {
        "replication": seen["replication"],
        "unmet": missing,
        "receives": bool(upstream and look["streaming"]) and not (seen["unmet"] or result["restart_needed"]),
        "proven": look["fed"] and not (missing or result["changed"] or result["restart_needed"]),
    }
