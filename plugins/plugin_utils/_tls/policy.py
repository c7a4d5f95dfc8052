# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What pgtandem_tls asks for, and what follows from it: rules, options of the connection, names in certificates.

Pure. Sources: the manual's Secure TCP/IP Connections with SSL, SSL Support (libpq), Certificate Authentication.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import (
    AUTHORITY_PEM,
    CLIENT_PEM,
    TLS_SUFFIX,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import as_text
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import parse_major, supports

Node = t.Mapping[str, t.Any]

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SOURCES = ("managed", "controller", "host")
AUTHENTICATIONS = ("password", "certificate", "both")
#: The map of pg_ident.conf that leads from the name in a certificate to the role for replication.
MAP = "pgtandem"

FILES = ("authority", "certificate", "key", "client_certificate", "client_key")
_DEFAULTS: dict[str, t.Any] = {
    "mode": "verify-full",
    "source": "managed",
    "directory": "",
    "names": [],
    "days": 365,
    "renew_days": 30,
    "new_authority": False,
    "authentication": "password",
    "client_name": "",
    **dict.fromkeys(FILES, ""),
}
#: Parameters that follow from pgtandem_tls.
OWN_PARAMETERS = ("ssl", "ssl_ca_file", "ssl_cert_file", "ssl_key_file")


def tls_from(said: t.Any, *, inventory_directory: str) -> dict[str, t.Any]:
    """pgtandem_tls with its defaults; empty where nothing is asked. What is wrong with it is C(tls_problems)."""
    if not said:
        return {}
    if not isinstance(said, dict):
        return {"wrong": f"pgtandem_tls is {as_text(said)!r}; it is a dictionary, such as mode: verify-full."}
    values = dict(_DEFAULTS, unknown=sorted(str(key) for key in set(said) - set(_DEFAULTS)))
    values.update({key: value for key, value in said.items() if key in _DEFAULTS and value is not None})
    if not values["directory"] and inventory_directory:
        values["directory"] = f"{inventory_directory}/pgtandem-tls"
    return values


def uses_tls(tls: t.Mapping[str, t.Any]) -> bool:
    """Whether the servers are to speak TLS at all."""
    return bool(tls) and "wrong" not in tls and tls["mode"] != "disable"


def insists(tls: t.Mapping[str, t.Any]) -> bool:
    """Whether a connection without TLS is to be refused."""
    return uses_tls(tls) and tls["mode"] in ("require", "verify-ca", "verify-full")


def _shape_problems(tls: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    if tls["unknown"]:
        yield f"pgtandem_tls has no {', '.join(tls['unknown'])}; it has {', '.join(_DEFAULTS)}."
    for key, choices in (("mode", MODES), ("source", SOURCES), ("authentication", AUTHENTICATIONS)):
        if tls[key] not in choices:
            yield f"pgtandem_tls has {key} = {tls[key]!r}; it is one of {', '.join(choices)}."
    for key in ("days", "renew_days"):
        if not str(tls[key]).isdigit():
            yield f"pgtandem_tls has {key} = {tls[key]!r}; it is a whole number of days."
    if str(tls["days"]).isdigit() and str(tls["renew_days"]).isdigit() and int(tls["days"]) <= int(tls["renew_days"]):
        yield f"pgtandem_tls has days = {tls['days']}, not more than renew_days = {tls['renew_days']}."
    if not isinstance(tls["names"], list):
        yield f"pgtandem_tls has names = {tls['names']!r}; it is a list."


def tls_problems(node: Node) -> list[str]:
    """Sentences for what the inventory asks of TLS and cannot be."""
    tls = node["tls"]
    if not tls:
        return []
    if "wrong" in tls:
        return [tls["wrong"]]
    found = list(_shape_problems(tls))
    if found or not uses_tls(tls):
        return found
    both = sorted(name for name in node["connection_options"] if name.startswith("ssl") and name in _own_options(tls))
    if both:
        found.append(f"pgtandem_connection_options has {', '.join(both)}, which pgtandem_tls sets; leave it in one.")
    both = sorted(name for name in OWN_PARAMETERS if name in {str(key).lower() for key in node["parameters"]})
    if both:
        found.append(f"pgtandem_parameters has {', '.join(both)}, which pgtandem_tls sets; leave it in one.")
    if tls["authentication"] != "password" and not insists(tls):
        found.append(
            f"pgtandem_tls asks for authentication = {tls['authentication']} with mode = {tls['mode']}, which lets a "
            "standby come without TLS; set mode to require, verify-ca or verify-full."
        )
    if tls["source"] == "managed":
        given = [name for name in FILES if tls[name]]
        if given:
            found.append(
                f"pgtandem_tls names {', '.join(given)} and makes certificates of its own (source = managed); set "
                "source to controller or host, or leave them out."
            )
        if not tls["directory"]:
            found.append("pgtandem_tls needs directory, the folder on the controller that keeps the authority.")
        return found
    needed = ["certificate", "key"]
    if tls["mode"] in ("verify-ca", "verify-full") or tls["authentication"] != "password":
        needed.insert(0, "authority")
    if tls["authentication"] != "password":
        needed += ["client_certificate", "client_key"]
    missing = [name for name in needed if not tls[name]]
    if missing:
        found.append(f"pgtandem_tls needs {', '.join(missing)} (source = {tls['source']}).")
    relative = [name for name in FILES if tls["source"] == "host" and tls[name] and not str(tls[name]).startswith("/")]
    if relative:
        found.append(f"pgtandem_tls: {', '.join(relative)} on the hosts must be absolute paths (source = host).")
    return found


def _own_options(tls: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    return ("sslmode", "sslrootcert") + (("sslcert", "sslkey") if tls["authentication"] != "password" else ())


def _data_directory(node: Node) -> str:
    """As it was derived on the host, else as the inventory has it."""
    return (
        ((node["status"] or {}).get("instance") or {}).get("data_directory") or node["options"]["data_directory"] or ""
    )


def connection_options(node: Node) -> dict[str, str]:
    """What pgtandem_tls adds to the options by which this host connects to its upstream."""
    tls = node["tls"]
    if not tls or "wrong" in tls:
        return {}
    options = {"sslmode": str(tls["mode"])}
    if not uses_tls(tls):
        return options
    folder = _data_directory(node) + TLS_SUFFIX
    placed = tls["source"] != "host"
    if tls["source"] == "managed" or tls["authority"]:
        options["sslrootcert"] = f"{folder}/{AUTHORITY_PEM}" if placed else tls["authority"]
    if tls["authentication"] != "password":
        options["sslcert"] = f"{folder}/{CLIENT_PEM}" if placed else tls["client_certificate"]
        options["sslkey"] = f"{folder}/{CLIENT_PEM}" if placed else tls["client_key"]
    return options


def client_name(node: Node) -> str:
    """The common name in the certificate that a standby shows.

    With C(both) the server compares it with the role's own name; with C(certificate) a map leads from it to the role.
    """
    tls = node["tls"]
    if tls["client_name"]:
        return str(tls["client_name"])
    return str(node["replication_user"] if tls["authentication"] == "both" else node["name"])


def server_names(node: Node) -> list[str]:
    """The names and addresses in a server's certificate: those by which others reach it.

    An address is there as such, and as a name too: libpq before 15 compares it only with names.
    """
    wanted = [node["address"], node["name"], *map(str, node["tls"]["names"])]
    found = []
    for name in wanted:
        try:
            address = str(ipaddress.ip_address(name))
        except ValueError:
            if _is_host_name(name):
                found.append(f"DNS:{name}")
            continue
        found += [f"IP:{address}", f"DNS:{address}"] if ":" not in address else [f"IP:{address}"]
    return sorted(set(found))


def _is_host_name(text: str) -> bool:
    return (
        bool(text) and len(text) < 254 and all(char.isascii() and (char.isalnum() or char in "-._*") for char in text)
    )


def _version_of(node: Node) -> int | None:
    said = ((node["status"] or {}).get("instance") or {}).get("version") or node["options"]["version"]
    try:
        return parse_major(said) if said else None
    except ReplicationError:
        return None


def secured(rules: t.Sequence[dict[str, t.Any]], node: Node) -> list[dict[str, t.Any]]:
    """The rules of pg_hba.conf for replication as pgtandem_tls wants them on this host."""
    tls = node["tls"]
    if not insists(tls):
        return list(rules)
    more: dict[str, t.Any] = {"type": "hostssl"}
    if tls["authentication"] == "certificate":
        more.update(method="cert", options=f"map={MAP}")
    elif tls["authentication"] == "both":
        version = _version_of(node)
        new = version is None or supports(version, "clientcert_verify_full")
        more["options"] = "clientcert=verify-full" if new else "clientcert=1"
    # A rule of the user's further down must not let the role in without TLS after all.
    closed = [
        {
            "type": "hostnossl",
            "database": database,
            "user": node["replication_user"],
            "address": "all",
            "method": "reject",
        }
        for database in ("replication", "all")
    ]
    return [dict(rule, **more) for rule in rules] + closed


def ident_rules(node: Node, nodes: t.Sequence[Node]) -> list[dict[str, str]]:
    """The lines of pg_ident.conf that let each host's certificate in as the role for replication."""
    if not insists(node["tls"]) or node["tls"]["authentication"] != "certificate":
        return []
    names = sorted({client_name(other) for other in nodes if uses_tls(other["tls"])})
    return [{"map": MAP, "system_user": name, "role": node["replication_user"]} for name in names]


def tls_plan(node: Node) -> dict[str, t.Any]:
    """What the action plugins need to place a host's certificates; empty where there are none."""
    tls = node["tls"]
    if not uses_tls(tls):
        return {}
    return {
        "source": tls["source"],
        "directory": tls["directory"],
        "cluster": node["cluster"],
        "common_name": node["name"],
        "names": server_names(node),
        "client_name": client_name(node) if tls["authentication"] != "password" else "",
        "days": int(tls["days"]),
        "renew_days": int(tls["renew_days"]),
        "new_authority": bool(tls["new_authority"]),
        "files": {name: str(tls[name]) for name in FILES if tls[name]},
    }
