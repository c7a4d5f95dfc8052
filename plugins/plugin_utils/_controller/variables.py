# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The inventory's variables of one host as a node of a cluster, with the roles' own defaults filled in."""

from __future__ import annotations

import os.path
import typing as t

import yaml
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import SECRET_OPTIONS
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import as_text
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.policy import tls_from

PREFIX = "pgtandem_"
PASSWORD = "pgtandem_replication_password"

#: Variables that are options of every module under the same name without the prefix.
INSTANCE_VARIABLES = (
    "layout",
    "version",
    "instance",
    "port",
    "bin_directory",
    "client_bin_directory",
    "data_directory",
    "config_directory",
    "service",
    "os_user",
    "log_file",
    "passfile",
)
LOGIN_VARIABLES = ("login_user", "login_password", "login_unix_socket", "login_db")

_DEFAULTS = os.path.join(os.path.dirname(__file__), "..", "..", "..", "roles", "primary", "defaults", "main.yml")


def defaults() -> dict[str, t.Any]:
    """The defaults of the roles, under their full names."""
    with open(_DEFAULTS, encoding="utf-8") as stream:
        return t.cast("dict[str, t.Any]", yaml.safe_load(stream))


#: What is written for a type, with an example. Variables that may be of several types are judged where they are read.
_EXAMPLES: dict[type, str] = {
    int: "a whole number, such as 5432",
    bool: "true or false",
    list: "a list, even of one entry",
    dict: "a dictionary of names and values",
}
_OF_SEVERAL_TYPES = ("reseed", "synchronous", "tls")


def typed(name: str, value: t.Any, default: t.Any) -> t.Any:
    """Return a variable's value as its default's type, as -e gives texts; null is the default. `ValueError` says what
    is wrong with it.

    >>> typed("slots", "no", True), typed("port", "5433", 5432), typed("hba_rules", None, [])
    (False, 5433, [])
    """
    wanted = type(default)
    if value is None or (value == "" and wanted in (list, dict)):
        return default
    if wanted not in _EXAMPLES or name in _OF_SEVERAL_TYPES:
        return value
    try:
        if wanted is bool:
            return boolean(value)
        if wanted is int and not isinstance(value, (bool, float)):
            return int(value)
    except (TypeError, ValueError):
        pass
    if (wanted is list and isinstance(value, (list, tuple))) or (wanted is dict and isinstance(value, t.Mapping)):
        return value
    raise ValueError(f"{PREFIX}{name} is {as_text(value)!r}, and has to be {_EXAMPLES[wanted]}.")


def _address_of(name: str, variable: t.Callable[[str, t.Any], t.Any]) -> str:
    address = variable(f"{PREFIX}address", "")
    if not address and variable("ansible_connection", "") == "local":
        address = "127.0.0.1"
    return str(address or variable("ansible_host", "") or name)


def reader(variables: t.Mapping[str, t.Any], template: t.Callable[[t.Any], t.Any]) -> t.Callable[[str, t.Any], t.Any]:
    """How variables are read that may be templates: each when it is asked for, or the default that is given."""
    return lambda key, default: template(variables[key]) if key in variables else default


def place_from(name: str, variable: t.Callable[[str, t.Any], t.Any]) -> dict[str, t.Any]:
    """Where the others find a host, and its cluster, from the few variables that say so."""
    filled = defaults()
    cluster, port = (variable(PREFIX + key, filled[PREFIX + key]) for key in ("cluster", "port"))
    try:
        port = typed("port", port, filled[f"{PREFIX}port"])
    except ValueError:
        # The gate tells.
        port = filled[f"{PREFIX}port"]
    return {"name": name, "host": _address_of(name, variable), "port": port, "cluster": str(cluster)}


def node_from(
    name: str, variable: t.Callable[[str, t.Any], t.Any], groups: t.Mapping[str, t.Sequence[str]]
) -> dict[str, t.Any]:
    """A host as the inventory describes it. C(variable) gives a variable's value, or the default it is given.

    No secret is in the result: it says only whether a password is there and fit to be written down.
    """
    values, wrong = {}, []
    for key, default in defaults().items():
        option = key[len(PREFIX) :]
        try:
            values[option] = typed(option, variable(key, default), default)
        except ValueError as error:
            values[option] = default
            wrong.append(str(error))
    password = variable(PASSWORD, None)
    return {
        "name": name,
        "cluster": str(values["cluster"]),
        "groups": [role for role in ("primary", "standby") if name in groups.get(str(values[f"{role}_group"]), ())],
        "upstream": str(values["upstream"] or ""),
        "address": _address_of(name, variable),
        "port": values["port"],
        # What is said of variables that no value can be made of; they have their defaults here.
        "wrong": wrong,
        "listen_addresses": str(values["listen_addresses"] or ""),
        "has_password": bool(password),
        "password_fits_file": not any(char in str(password or "") for char in "\r\n\0"),
        "replication_user": str(values["replication_user"]),
        "login_db": str(values["login_db"]),
        "on_role_change": str(values["on_role_change"]),
        "manage_packages": values["manage_packages"],
        "slots": values["slots"],
        "reseed": values["reseed"],
        "reseed_mode": str(values["reseed_mode"]),
        # What is null is not set.
        "parameters": {key: value for key, value in values["parameters"].items() if value is not None},
        "synchronous": values["synchronous"],
        # A secret in there stops the run, and is not to be told on the way.
        "connection_options": {
            str(key): "" if key in SECRET_OPTIONS else as_text(value)
            for key, value in values["connection_options"].items()
            if value is not None
        },
        "tls": tls_from(values["tls"], inventory_directory=str(variable("inventory_dir", "") or "")),
        "apply_delay": str(values["apply_delay"] or ""),
        "restore_command": str(values["restore_command"] or ""),
        "hba_rules": list(values["hba_rules"]),
        "options": {key: values[key] if key == "port" else str(values[key]) for key in INSTANCE_VARIABLES},
        "status": None,
        # What the first look took for granted of it, and what it answered.
        "assumed": None,
        "answer": None,
        "unread_reason": None,
        "samples": [],
    }
