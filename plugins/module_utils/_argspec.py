# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The options that several modules share. Each function has a documentation fragment of the same name."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._host.server import Login
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import InstanceOptions


def instance_options() -> dict[str, t.Any]:
    """Keep in step with plugins/doc_fragments/instance.py."""
    return {
        "layout": {"type": "str", "choices": ["auto", "debian", "redhat", "custom"], "default": "auto"},
        "version": {"type": "str", "default": ""},
        "instance": {"type": "str", "default": "main"},
        "port": {"type": "int", "default": 5432},
        "bin_directory": {"type": "path", "default": ""},
        "client_bin_directory": {"type": "path", "default": ""},
        "data_directory": {"type": "path", "default": ""},
        "config_directory": {"type": "path", "default": ""},
        "service": {"type": "str", "default": ""},
        "os_user": {"type": "str", "default": "postgres"},
        "log_file": {"type": "path", "default": ""},
        "passfile": {"type": "path", "default": "", "no_log": False},
    }


def login_options() -> dict[str, t.Any]:
    """Keep in step with plugins/doc_fragments/login.py; the names are those of community.postgresql."""
    return {
        "login_host": {"type": "str", "default": "", "aliases": ["host"]},
        "login_port": {"type": "int", "default": 0},
        "login_user": {"type": "str", "default": "", "aliases": ["login"]},
        "login_password": {"type": "str", "no_log": True},
        "login_unix_socket": {"type": "path", "default": "", "aliases": ["unix_socket"]},
        "login_db": {"type": "str", "default": "postgres"},
        "ssl_mode": {
            "type": "str",
            "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
            "default": "prefer",
        },
        "ca_cert": {"type": "path", "aliases": ["ssl_rootcert"]},
        "ssl_cert": {"type": "path"},
        "ssl_key": {"type": "path"},
        "connect_params": {"type": "dict", "default": {}},
    }


def tls_options() -> dict[str, t.Any]:
    """Keep in step with plugins/doc_fragments/tls.py.

    The keys are options of their own: Ansible writes a dictionary into the system's log as Python shows it, where it
    does not recognise a secret of several lines.
    """
    return {
        "tls": {
            "type": "dict",
            "options": {
                "in_place": {"type": "bool", "default": False},
                "wants_client": {"type": "bool", "default": False},
                "authority": {"type": "str"},
                "certificate": {"type": "str"},
                "key_file": {"type": "path", "no_log": False},
                "client_certificate": {"type": "str"},
                "client_key_file": {"type": "path", "no_log": False},
            },
        },
        "tls_key": {"type": "str", "no_log": True},
        "tls_client_key": {"type": "str", "no_log": True},
        "tls_plan": {"type": "dict", "default": {}},
    }


#: A server of another host, where it is to be found.
PLACE: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
}


#: Servers of other hosts.
REACH: dict[str, t.Any] = {"type": "list", "elements": "dict", "options": PLACE}


def reach_options() -> dict[str, t.Any]:
    """The servers of other hosts that a module tries to reach; the fragment C(reach) documents them."""
    return {"reach": REACH}


def instance_from(parameters: t.Mapping[str, t.Any]) -> InstanceOptions:
    """The instance that a module's parameters describe."""
    return InstanceOptions(**{name: parameters[name] for name in instance_options()})


def login_from(parameters: t.Mapping[str, t.Any]) -> Login:
    """The login that a module's parameters describe."""
    options = {"sslmode": parameters["ssl_mode"]} if parameters["login_host"] else {}
    for name, key in (("ca_cert", "sslrootcert"), ("ssl_cert", "sslcert"), ("ssl_key", "sslkey")):
        if parameters[name]:
            options[key] = parameters[name]
    options.update({name: str(value) for name, value in parameters["connect_params"].items()})
    return Login(
        host=parameters["login_host"],
        port=parameters["login_port"],
        user=parameters["login_user"],
        password=parameters["login_password"],
        unix_socket=parameters["login_unix_socket"],
        dbname=parameters["login_db"],
        options=options,
    )
