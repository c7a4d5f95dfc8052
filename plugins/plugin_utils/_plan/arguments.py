# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The options that pg_instance gets for a host: what its plan says, and its own variables. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import PREFIX, defaults

Plan = t.Mapping[str, t.Any]
Reader = t.Callable[[str, t.Any], t.Any]

#: What of a plan the options are made of, besides what the options of a module say of the instance itself.
PLANNED = (
    "role",
    "upstream",
    "application_name",
    "slot",
    "connection_options",
    "parameters",
    "recovery",
    "ident_rules",
    "hba_rules",
    "peers",
    "senders",
    "address",
    "downstream_slots",
)
#: Variables that are options under the same name.
_OWN = ("listen_addresses", "replication_user", "timeout", "login_user", "login_unix_socket", "login_db")
_PASSWORDS = ("replication_password", "login_password")


def instance_arguments(plan: Plan, variable: Reader) -> dict[str, t.Any]:
    """Return the options for a host. `variable` gives one of its variables, or the default it is given.

    An empty password is left out, so that the module sees that there is none.
    """
    filled = defaults()

    def own(name: str) -> t.Any:
        return variable(PREFIX + name, filled.get(PREFIX + name))

    arguments: dict[str, t.Any] = {
        "parameters": {**(own("parameters") or {}), **plan["parameters"]},
        **{name: plan[name] for name in ("recovery", "ident_rules", "hba_rules", "peers", "senders", "address")},
        **{name: own(name) for name in _OWN},
        **{name: own(name) for name in _PASSWORDS if own(name)},
    }
    if plan["role"] == "primary":
        return {**arguments, "initdb_options": own("initdb_options")}
    return {
        **arguments,
        "upstream": {
            "host": plan["upstream"]["host"],
            "port": plan["upstream"]["port"],
            "application_name": plan["application_name"],
            "slot": plan["slot"],
            "options": plan["connection_options"],
        },
    }


def whole_arguments(plan: Plan, variable: Reader) -> dict[str, t.Any]:
    """Return them with what pg_instance does besides, in a run of all parts: the role and the slots."""
    more: dict[str, t.Any] = {"slots": plan["downstream_slots"]}
    if plan["role"] == "primary":
        more["role"] = True
    return {**instance_arguments(plan, variable), **more}
