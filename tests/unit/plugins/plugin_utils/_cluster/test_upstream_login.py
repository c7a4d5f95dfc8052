# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a standby demands of its upstream before it shows its password."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.upstream_login import login_options
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from nodes import host, seen

SCRAM = {"require_auth": "scram-sha-256"}
EITHER = {"require_auth": "scram-sha-256,md5"}
BOUND = {**SCRAM, "channel_binding": "require"}


def demanded(version: str = "17", settings: t.Any = None, rules: t.Any = None, **variables: t.Any) -> dict[str, str]:
    instance = {"version": version, "layout": "debian", "data_directory": "/data"}
    nodes = [
        seen(
            host(name, group, **variables),
            group,
            instance=instance,
            settings=settings or {},
            replication_rules=rules or [],
        )
        for name, group in (("pg1", "primary"), ("pg2", "standby"))
    ]
    return login_options(nodes[1], nodes[0])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({}, SCRAM, id="the server's default"),
        pytest.param({"version": "13"}, EITHER, id="an older server's default"),
        pytest.param({"settings": {"password_encryption": "md5"}}, EITHER, id="a server that stores md5"),
        pytest.param({"parameters": {"password_encryption": "md5"}}, EITHER, id="one that is to"),
        pytest.param(
            {"version": "13", "parameters": {"password_encryption": "scram-sha-256"}},
            SCRAM,
            id="one that is to be safer",
        ),
        pytest.param(
            {"settings": {"password_encryption": "md5"}, "parameters": {"password_encryption": "scram-sha-256"}},
            EITHER,
            id="one that is to be safer and has md5 yet",
        ),
        pytest.param({"tls": {"mode": "verify-full"}}, BOUND, id="managed TLS"),
        pytest.param({"tls": {"mode": "verify-full", "authentication": "both"}}, BOUND, id="with a certificate too"),
        pytest.param({"tls": {"mode": "verify-full", "authentication": "certificate"}}, {}, id="certificate alone"),
        pytest.param({"tls": {"mode": "prefer"}}, SCRAM, id="TLS that is not insisted on"),
        pytest.param({"tls": {"mode": "require"}, "version": "13"}, EITHER, id="TLS without SCRAM"),
        pytest.param(
            {"connection_options": {"sslmode": "require"}, "settings": {"ssl": "on"}}, BOUND, id="TLS of the user's own"
        ),
        pytest.param({"connection_options": {"sslmode": "require"}}, SCRAM, id="TLS that somebody else ends"),
    ],
)
def test_what_is_demanded(said: dict[str, t.Any], expected: dict[str, str]) -> None:
    assert demanded(**said) == expected


def rule(method: str, address: str = "10.0.0.0", user: str = "all", kind: str = "host") -> list[dict[str, t.Any]]:
    return [
        {"type": kind, "auth_method": method, "address": address, "netmask": "", "user_name": [user], "error": None}
    ]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (rule("trust"), {}),
        (rule("ldap", user="replica"), {}),
        (rule("trust", user="+admins"), {}),
        (rule("trust", user="other"), SCRAM),
        (rule("trust", address="127.0.0.1"), SCRAM),
        (rule("trust", kind="local"), SCRAM),
        (rule("scram-sha-256"), SCRAM),
        (rule("md5"), SCRAM),
    ],
)
def test_a_server_that_lets_in_without_a_password_goes_on(rules: t.Any, expected: dict[str, str]) -> None:
    assert demanded(rules=rules) == expected


def test_the_user_has_the_last_word() -> None:
    instance = {"version": "17", "layout": "debian", "data_directory": "/data"}
    said = {"connection_options": {"require_auth": ""}}
    nodes = [
        seen(host("pg1", "primary", **said), "primary", instance=instance),
        seen(host("pg2", **said), "standby", instance=instance),
    ]
    assert settle(nodes)["nodes"]["pg2"]["connection_options"] == {"require_auth": ""}
