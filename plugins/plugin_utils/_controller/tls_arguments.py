# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a host is sent for TLS: files that are on the controller, or certificates that the cluster's authority issues.

The private key of a managed certificate is made here, sent, and kept nowhere but on its host. What is on the host and
still good is not sent again; the module then leaves it as it is.
"""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node, Problem, apart
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.authority import (
    ensure_authority,
    read_authority,
    read_given,
    strangers,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.certificates import (
    Certificate,
    Pair,
    certificates_in,
    issue,
    why_issue,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.policy import (
    client_name,
    tls_plan,
    tls_problems,
    uses_tls,
)


class Sent(t.NamedTuple):
    """The module's options, and sentences for what is new in them."""

    options: dict[str, t.Any]
    actions: list[str]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def tls_arguments(plan: t.Mapping[str, t.Any], *, check_mode: bool) -> Sent:
    """From a host's plan, with what was C(seen) of it; check mode makes nothing."""
    if not plan.get("source"):
        return Sent({}, [])
    files = plan["files"]
    wants_client = bool(plan["client_name"])
    if plan["source"] == "host":
        return Sent(
            {
                "tls": {
                    "in_place": True,
                    "wants_client": wants_client,
                    "authority": files.get("authority"),
                    "certificate": files.get("certificate"),
                    "key_file": files.get("key"),
                    "client_certificate": files.get("client_certificate") if wants_client else None,
                    "client_key_file": files.get("client_key") if wants_client else None,
                }
            },
            [],
        )
    if plan["source"] == "controller":
        given = read_given(files, client_name=plan["client_name"], now=_now())
        return Sent(_as_option(given.authority, given.server, given.client, wants_client), [])
    return _managed(plan, wants_client, check_mode=check_mode)


def _as_option(authority: str, server: Pair | None, client: Pair | None, wants_client: bool) -> dict[str, t.Any]:
    return {
        "tls": {
            "wants_client": wants_client,
            "authority": authority or None,
            "certificate": server.certificate if server else None,
            "client_certificate": client.certificate if client else None,
        },
        "tls_key": server.key if server else None,
        "tls_client_key": client.key if client else None,
    }


def _managed(plan: t.Mapping[str, t.Any], wants_client: bool, *, check_mode: bool) -> Sent:
    seen = (plan.get("seen") or {}).get("placed") or {}
    now = _now()
    if check_mode:
        authority = read_authority(plan["directory"], plan["cluster"])
    else:
        authority = ensure_authority(plan["directory"], plan["cluster"], now=now)
    if authority is None:
        return Sent(_as_option("", None, None, wants_client), ["make an authority, and certificates by it"])
    own = Certificate(authority.certificate)
    trusted = own.pem
    if plan["new_authority"]:
        # As long as one is exchanged for another, both are trusted.
        before = certificates_in((seen.get("authority") or {}).get("certificate"))
        trusted += "".join(one.pem for one in before if one.fingerprint != own.fingerprint and one.days_left(now) > 0)
    made: dict[str, Pair | None] = {"server": None, "client": None}
    actions = []
    wanted: dict[str, tuple[str, list[str]]] = {"server": (plan["common_name"], plan["names"])}
    if wants_client:
        wanted["client"] = (plan["client_name"], [])
    for kind, (name, names) in wanted.items():
        reason = why_issue(
            seen.get(kind),
            authority=own,
            common_name=name,
            names=names,
            renew_days=plan["renew_days"],
            now=now,
        )
        if reason is None:
            continue
        actions.append(f"issue a certificate for the {kind}: {reason}")
        if not check_mode:
            made[kind] = issue(
                authority, common_name=name, names=names, server=kind == "server", days=plan["days"], now=now
            )
    return Sent(_as_option(trusted, made["server"], made["client"], wants_client), actions)


def controller_problems(nodes: t.Sequence[Node]) -> list[Problem]:
    """What is wrong with files on the controller, found before anything is touched."""
    found: list[Problem] = []
    clusters: dict[str, list[Node]] = {}
    for node in nodes:
        if uses_tls(node["tls"]) and not tls_problems(node):
            clusters.setdefault(node["cluster"], []).append(node)
    for cluster, members in clusters.items():
        managed = [node for node in members if node["tls"]["source"] == "managed"]
        if managed:
            found += _authority_problems(cluster, managed)
        for node in members:
            if node["tls"]["source"] != "controller":
                continue
            plan = tls_plan(node)
            try:
                read_given(plan["files"], client_name=plan["client_name"] and client_name(node), now=_now())
            except ReplicationError as error:
                evidence, remedy = apart(error.message, "Correct pgtandem_tls.")
                found.append(Problem("inventory-tls-files", (node["name"],), f"{node['name']}: {evidence}", remedy))
    return found


def _authority_problems(cluster: str, nodes: t.Sequence[Node]) -> list[Problem]:
    hosts = tuple(node["name"] for node in nodes)
    try:
        authorities = {node["tls"]["directory"]: read_authority(node["tls"]["directory"], cluster) for node in nodes}
    except ReplicationError as error:
        return [Problem("inventory-tls-files", hosts, *apart(error.message, "Restore it."))]
    if len(authorities) > 1:
        return [
            Problem(
                "inventory-tls-files",
                hosts,
                f"pgtandem_tls of cluster {cluster!r} names {len(authorities)} folders for its authority: "
                f"{', '.join(sorted(authorities))}.",
                "Set directory once for the whole cluster.",
            )
        ]
    ((directory, authority),) = authorities.items()
    if any(node["tls"]["new_authority"] for node in nodes):
        return []
    seen = [((node["status"] or {}).get("tls") or {}).get("placed") or {} for node in nodes]
    unknown = strangers(authority, seen)
    if not unknown:
        return []
    there = "has another authority than" if authority else "has no authority of cluster " + repr(cluster) + ", and"
    return [
        Problem(
            "inventory-tls-authority",
            hosts,
            f"The folder {directory} on this controller {there} "
            f"{'the one that' if authority else 'one'} signed the certificates on its hosts (SHA-256 "
            f"{', '.join(one[:16] for one in unknown)}).",
            "Copy the folder from the controller that made it, or set new_authority in pgtandem_tls for two runs to "
            "exchange the authority.",
        )
    ]
