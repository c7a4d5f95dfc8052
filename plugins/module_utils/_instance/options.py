# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The options of pg_instance, and the request that they make."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._argspec import (
    login_from,
    login_options,
    tls_options,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.tls_files import Tls
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._instance.instance import InstanceRequest, Upstream
from ansible_collections.pgtandem.replication.plugins.module_utils._replication.extras import options as also_options
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import (
    connection_option_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import IdentRule, rule_from
from ansible_collections.pgtandem.replication.plugins.module_utils._values.lsn import parse_lsn
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import as_text


def own_options() -> dict[str, t.Any]:
    """Return the options besides those that every module has."""
    return dict(
        login_options(),
        **tls_options(),
        **also_options(),
        state={"type": "str", "choices": ["started", "stopped"], "default": "started"},
        upstream={
            "type": "dict",
            "options": {
                "host": {"type": "str", "required": True},
                "port": {"type": "int", "default": 5432},
                "application_name": {"type": "str", "required": True},
                "slot": {"type": "str"},
                "options": {"type": "dict", "default": {}},
            },
        },
        plan={"type": "dict", "default": {}},
        parameters={"type": "dict", "default": {}},
        hba_rules={
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "type": {"type": "str", "default": "host"},
                "database": {"type": "str", "default": "all"},
                "user": {"type": "str", "default": "all"},
                "address": {"type": "str", "default": ""},
                "method": {"type": "str", "required": True},
                "options": {"type": "str", "default": ""},
            },
        },
        peers={
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "host": {"type": "str", "required": True},
                "port": {"type": "int", "default": 5432},
            },
        },
        replication_user={"type": "str", "default": "replica"},
        replication_password={"type": "str", "no_log": True},
        senders={"type": "int", "default": 0},
        floors={"type": "dict", "default": {}},
        lowered_lsn={"type": "str"},
        only_parameters={"type": "bool", "default": False},
        restart={"type": "bool", "default": True},
        recovery={"type": "dict", "default": {}},
        ident_rules={
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "map": {"type": "str", "required": True},
                "system_user": {"type": "str", "required": True},
                "role": {"type": "str", "required": True},
            },
        },
        listen_addresses={"type": "str", "default": "*"},
        address={"type": "str", "default": ""},
        initdb_options={
            "type": "list",
            "elements": "str",
            "default": ["--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8"],
        },
        timeout={"type": "int", "default": 300},
    )


def request_from(parameters: t.Mapping[str, t.Any]) -> InstanceRequest:
    """The request that the parameters make."""
    said = parameters["upstream"]
    options = {str(name): as_text(value) for name, value in said["options"].items()} if said else {}
    problems = connection_option_problems(options)
    if problems:
        raise ReplicationError(" ".join(problems))
    return InstanceRequest(
        parameters=parameters["parameters"],
        hba_rules=tuple(rule_from(rule) for rule in parameters["hba_rules"]),
        login=login_from(parameters),
        upstream=Upstream(
            host=said["host"],
            port=said["port"],
            user=parameters["replication_user"],
            application_name=said["application_name"],
            slot=said["slot"] or None,
            options=options,
        )
        if said
        else None,
        peers=tuple((peer["host"], peer["port"]) for peer in parameters["peers"]),
        replication_user=parameters["replication_user"],
        replication_password=parameters["replication_password"],
        senders=parameters["senders"],
        tls=Tls.from_parameters(parameters),
        ident_rules=tuple(IdentRule(**rule) for rule in parameters["ident_rules"]),
        recovery={str(name): as_text(value) for name, value in parameters["recovery"].items()},
        floors={str(name): int(value) for name, value in parameters["floors"].items()},
        listen_addresses=parameters["listen_addresses"],
        address=parameters["address"],
        initdb_options=tuple(parameters["initdb_options"]),
        timeout=parameters["timeout"],
        only_parameters=parameters["only_parameters"],
        restart=parameters["restart"],
        lowered_lsn=parse_lsn(parameters["lowered_lsn"]) if parameters["lowered_lsn"] else None,
    )
