# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""How a standby insists that it talks to its upstream: what libpq is to demand before it answers with the password.

Pure. Only what the inventory says and what was read on the hosts themselves counts: what a server asks for when it is
tried may be somebody else's question. Sources: the manual's require_auth and channel_binding (Parameter Key Words).
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import default_auth_method, parse_major
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.policy import insists, uses_tls

SCRAM = "scram-sha-256"
#: With these a standby's password is asked for in a way that does not show it; a certificate has its own options.
_ASKING = ("scram-sha-256", "md5", "reject", "cert")
_ENCRYPTED = ("require", "verify-ca", "verify-full")


def login_options(node: Node, upstream: Node | None) -> dict[str, str]:
    """What a host's connection demands of its upstream, for every libpq: each client takes what its own one has."""
    tls = node["tls"]
    if upstream is None or (uses_tls(tls) and tls["authentication"] == "certificate") or _lets_in_unasked(upstream):
        return {}
    if not all(_stores_scram(one) for one in (node, upstream)):
        # Never in clear; what the verifier of such a cluster is need not be known.
        return {"require_auth": f"{SCRAM},md5"}
    return {"require_auth": SCRAM, **({"channel_binding": "require"} if _is_encrypted(node, upstream) else {})}


def _settings_of(node: Node) -> t.Mapping[str, t.Any]:
    return (node["status"] or {}).get("settings") or {}


def _stores_scram(node: Node) -> bool:
    """Whether passwords are stored for SCRAM. The server's own word counts more than what it is to become."""
    wanted = {str(name).lower(): value for name, value in node["parameters"].items()}.get("password_encryption")
    said = _settings_of(node).get("password_encryption")
    if said is None or str(said) == SCRAM:
        said = wanted if wanted is not None else said
    version = ((node["status"] or {}).get("instance") or {}).get("version") or node["options"]["version"]
    try:
        return default_auth_method(parse_major(str(version)), None if said is None else str(said)) == SCRAM
    except ReplicationError:
        return False


def _is_encrypted(node: Node, upstream: Node) -> bool:
    """Whether there is TLS on every connection, so that a server without it is not the right one."""
    if insists(node["tls"]):
        return True
    return node["connection_options"].get("sslmode") in _ENCRYPTED and _settings_of(upstream).get("ssl") == "on"


def _lets_in_unasked(upstream: Node) -> bool:
    """Whether a rule that the upstream has for other addresses than its own lets the role in without a password, or
    asks for it in clear: a standby that comes from there could not insist."""
    return any(
        rule["type"] != "local"
        and not rule["error"]
        and rule["auth_method"] not in _ASKING
        and any(name in ("all", upstream["replication_user"]) or name[:1] in "+/" for name in rule["user_name"] or [])
        and not is_loopback(rule["address"])
        for rule in (upstream["status"] or {}).get("replication_rules") or []
    )


def is_loopback(address: str | None) -> bool:
    """Whether an address leads to its own host."""
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False
