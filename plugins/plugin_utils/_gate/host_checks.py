# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What is wrong on one host, from what was seen there and what is asked of it: pure decisions."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.connection_options import (
    connection_option_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import rule_from
from ansible_collections.pgtandem.replication.plugins.module_utils._values.identities import value_problems
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import (
    check_names,
    normalise,
    recovery_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import parse_major
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    apart,
    described,
    is_starting,
    postmaster_status,
    state_of,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.policy import tls_problems

#: Variables of a node that are no options of a module and reach files on every host of its cluster.
_IDENTITIES = {"address", "cluster", "replication_user"}
#: An identifier, the evidence without the host's name, and the remedy.
Found = t.Tuple[str, str, str]


def host_problems(node: Node) -> list[Problem]:
    """Every reason to stop that one host gives."""
    name, status = node["name"], node["status"]
    if status and status["instance_error"]:
        found: t.Iterable[Found] = [
            ("host-instance", *apart(status["instance_error"], "Correct the variables that say where the instance is."))
        ]
    else:
        found = [*(_seen(node) if status else ()), *(_standby(node) if status else ()), *_asked(node)]
    return _problems(name, found)


def problems_as_standby(node: Node) -> list[Problem]:
    """What stands against a host that was read becoming a standby, in what its server reads when it starts."""
    return _problems(node["name"], [*_ends(node), *_overrides(node)])


def ending_problems(node: Node) -> list[Problem]:
    """What would end the recovery of a host that was read."""
    return _problems(node["name"], _ends(node))


def _problems(name: str, found: t.Iterable[Found]) -> list[Problem]:
    return [Problem(kind, (name,), f"{name}: {evidence}", remedy) for kind, evidence, remedy in found]


def _seen(node: Node) -> t.Iterator[Found]:
    status = node["status"]
    if status["data_directory"]["error"]:
        yield (
            "host-unreadable",
            *apart(
                status["data_directory"]["error"],
                "See with ls -ld who may read it; Ansible has to become root or the server's account there.",
            ),
        )
    if status["patroni"] and status.get("patroni_running") is False:
        yield (
            "host-patroni",
            f"{status['patroni']} says that Patroni writes it, and no Patroni runs for this instance. One that starts "
            "would undo what is changed beside it.",
            "See the log of Patroni's unit and start it, or run patroni_handover.yml again; docs/patroni.md says how "
            "to take the cluster back.",
        )
    elif status["patroni"]:
        yield (
            "host-patroni",
            f"is run by Patroni, which writes {status['patroni']} and would undo what is changed beside it.",
            "Use patronictl there; docs/patroni.md says how to take the cluster back.",
        )
    if state_of(node) in ("foreign", "partial"):
        yield "host-directory", f"{described(node)}.", "Move it away, or name another pgtandem_data_directory."
    if state_of(node) == "rewinding":
        yield (
            "host-rewinding",
            f"{described(node)}.",
            f"Let rejoin.yml go on with it (--limit {node['name']}), or name the host in pgtandem_reseed to have it "
            "copied anew.",
        )
    if not status["host"]["psycopg"] and not node["manage_packages"]:
        yield (
            "host-psycopg",
            "its Python has neither psycopg nor psycopg2, and pgtandem_manage_packages is off.",
            "Install python3-psycopg2, or psycopg2-binary for the interpreter that Ansible uses there.",
        )
    elif not status["host"]["psycopg"] and status["host"].get("packages_serve_python") is False:
        yield (
            "host-psycopg",
            f"its Python is {status['host']['python_path']}, which has neither psycopg nor psycopg2, and what the "
            "system's packages bring does not reach it.",
            "Install psycopg2-binary into it, or have Ansible use the system's Python there "
            "(ansible_python_interpreter: /usr/bin/python3).",
        )
    if not status["installed"] and status["instance"]["layout"] == "custom":
        yield (
            "host-programs",
            f"there is no {status['instance']['bin_directory']}/postgres. The custom layout uses a PostgreSQL that is "
            "there already.",
            "Install it, or correct pgtandem_bin_directory.",
        )
    elif status["installed"] and {"pg_controldata", "pg_ctl"} & set(status["missing_programs"]):
        yield (
            "host-programs",
            f"{status['instance']['bin_directory']} has the server but not {', '.join(status['missing_programs'])}; "
            "pg_ctl and pg_controldata are needed.",
            "Install them, or name the folder of the client programs in pgtandem_client_bin_directory.",
        )
    elif not status["installed"] and not node["manage_packages"]:
        yield (
            "host-programs",
            f"PostgreSQL {status['instance']['version']} is not installed and pgtandem_manage_packages is off.",
            "Install it, or set pgtandem_manage_packages to true.",
        )
    if status["port_taken_by"]:
        yield (
            "host-port",
            f"port {status['instance']['port']} is taken by {status['port_taken_by']}, so the instance in "
            f"{status['data_directory']['path']} could not start.",
            "Stop that, or set another pgtandem_port.",
        )
    if status["running"] and status["host"]["psycopg"] and status["database_error"]:
        if postmaster_status(node) == "stopping":
            yield (
                "host-stopping",
                "its server is shutting down, and takes no sessions until it has ended.",
                "Wait for its end, or end what it waits for (its archive_command, its WAL senders), then run again.",
            )
        elif not is_starting(node):
            yield (
                "host-refuses",
                *apart(status["database_error"], "See its log, its pg_hba.conf and the pgtandem_login_ variables."),
            )


def _standby(node: Node) -> t.Iterator[Found]:
    """What stands against being a standby. Of a primary, which may become one at any time, only what would then make
    another primary of it; the rest waits, and status.yml tells."""
    yield from _ends(node)
    if state_of(node) == "standby":
        yield from _overrides(node)


#: What to do about something that ends a recovery, by the kind of place that it is in.
_END_REMEDIES = {
    "file": "Take that line out of {path}.",
    "auto": "Log in there and say ALTER SYSTEM RESET {name}; or, with the server stopped, take the line out of {path}.",
    "command-line": "Take it out of {path}, and say systemctl daemon-reload if that is a unit.",
    "recovery.conf": "Take that line out of {path}.",
    "signal": "If the restoration is over, delete that file; otherwise let it come to its end.",
    "running": "No file says so any more: restart that server.",
    "managed": "Correct it in the inventory, and take that line out of {path}.",
}


def ends_of(node: Node) -> list[dict[str, t.Any]]:
    """What would end a recovery on this host, but for what the run itself is about to write otherwise."""
    found = []
    for end in node["status"]["recovery_ends"]:
        command = end["name"].endswith("_command")
        asked = (node["restore_command"] if end["name"] == "restore_command" else "") or str(
            node["parameters"].get(end["name"], "")
        )
        # The managed file, and recovery.conf, are about to be written.
        if command and end["place"] in ("managed", "recovery.conf") and end["value"] != asked:
            continue
        if command and asked and end["place"] == "file":
            continue
        found.append(end)
    return found


def _ends(node: Node) -> t.Iterator[Found]:
    """Whatever would end a recovery without a promotion that somebody asked for: a second primary, or none."""
    found = ends_of(node)
    if not found:
        return
    said = []
    for end in found:
        what = f"{end['name']} = {end['value']!r}" if end["place"] != "signal" else end["path"]
        where = f" in {end['path']}" + (f" line {end['line']}" if end["line"] else "")
        said.append(f"{what}{where if end['path'] and end['place'] != 'signal' else ''} ({end['effect']})")
    remedies = [_END_REMEDIES[end["place"]].format(**end) for end in found]
    yield (
        "recovery-ends",
        f"{'; '.join(said)}. This host is, or may become, a standby, whose recovery nothing may end but a promotion "
        "that was asked for.",
        " ".join(dict.fromkeys(remedies)),
    )


def _overrides(node: Node) -> t.Iterator[Found]:
    """A standby's settings where they win over the managed ones."""
    ends = {end["name"] for end in ends_of(node)}
    for setting in node["status"]["stale_settings"]:
        if setting["name"] in ends:
            continue
        if setting["name"] != "primary_conninfo" and setting["value"] == setting["overrides"]:
            continue
        over = f"{setting['overrides']!r} in another file" if setting["overrides"] else "any other file"
        yield (
            "stale-setting",
            f"{setting['name']} in {setting['path']} line {setting['line']} ({setting['value']!r}) would win over "
            f"{over}, so the standby would go on with it.",
            "See what wrote it (ALTER SYSTEM, pg_basebackup -R, pg_rewind -R), then take it out with ALTER SYSTEM "
            f"RESET {setting['name']}, or with an editor while the server is down.",
        )


def _asked(node: Node) -> t.Iterator[Found]:
    status = node["status"]
    for text in node["wrong"]:
        yield "inventory-value", text, "Correct it."
    for text in value_problems({**node["options"], **{name: node[name] for name in sorted(_IDENTITIES)}}):
        yield "inventory-value", text, "Correct it."
    said = status["instance"]["version"] if status else node["options"]["version"]
    try:
        version = parse_major(said) if said else None
    except ReplicationError as error:
        yield ("inventory-version", *apart(error.message, "Correct pgtandem_version."))
        version = None
    if version is not None:
        wrong = check_names([str(parameter).lower() for parameter in node["parameters"]], version)
        for text in wrong:
            yield "inventory-parameter", text, "Correct pgtandem_parameters."
        if not wrong:
            try:
                normalise(node["parameters"], version)
            except ReplicationError as error:
                yield "inventory-parameter", error.message, "Correct pgtandem_parameters."
    for text in ((status or {}).get("next_start") or {}).get("problems", ()):
        evidence, remedy = apart(text, "Correct pgtandem_parameters.")
        yield "inventory-start", f"its server would not start with these parameters: {evidence}", remedy
    for text in connection_option_problems(node["connection_options"], version):
        yield "inventory-connection-option", text, "Correct pgtandem_connection_options."
    for text in tls_problems(node):
        yield "inventory-tls", text, "Correct pgtandem_tls."
    for text in recovery_problems(
        apply_delay=node["apply_delay"], restore_command=node["restore_command"], parameters=node["parameters"]
    ):
        yield "inventory-recovery", text, "Correct it."
    for rule in node["hba_rules"]:
        try:
            rule_from(rule)
        except ReplicationError as error:
            yield "inventory-hba-rule", error.message, "Correct pgtandem_hba_rules."
