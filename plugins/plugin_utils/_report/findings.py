# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What is wrong, and what will be: pure decisions over what was read, for status.yml.

An error is something that does not work now, or data in danger; a warning is something that will, or that keeps a
later step from working. The ids are stable and documented in docs/status.md.
"""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes, shown_seconds
from ansible_collections.pgtandem.replication.plugins.module_utils._values.hba import admits_replication
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import whole_number
from ansible_collections.pgtandem.replication.plugins.module_utils._versions import NEWEST, floor_parameters
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.listening import (
    REMEDY,
    deafness,
    is_deaf,
    not_reached,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.live import Row
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    UNSIGNAL,
    Node,
    is_starting,
    signalled,
    why_unread,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.stranded_slots import unmet_companions
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.upstream_login import is_loopback
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import Assessment, assess
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.certificates import certificates_in
from ansible_collections.pgtandem.replication.plugins.plugin_utils._tls.policy import insists, uses_tls

Member = t.Mapping[str, t.Any]

ERROR, WARNING = "error", "warning"

#: What the gate says of no interest here: to look takes no password for replication.
_UNRELATED = frozenset({"inventory-password", "standby-unread"})
#: What stops a run that changes things, and hurts nobody who only looks.
_MILD = frozenset({"primary-moved", "primary-followed", "collation-versions", "upstream-unread", "host-patroni"})


class Limits(t.NamedTuple):
    """From where on something is worth a warning; 0 is never."""

    lag_bytes: int = 256 * 1024**2
    lag_seconds: float = 60.0
    slot_bytes: int = 1024**3


class Finding(t.NamedTuple):
    """One thing that is wrong."""

    id: str
    severity: str
    cluster: str
    #: None where it is about the cluster as a whole.
    host: str | None
    text: str
    remedy: str

    def as_result(self) -> dict[str, t.Any]:
        """Plain values for a task's result and the documents."""
        return dict(self._asdict())


Found = t.Iterator[t.Tuple[str, str, str, str]]


def findings(
    cluster: str,
    nodes: t.Sequence[Node],
    members: t.Sequence[Member],
    limits: Limits,
    now: datetime.datetime | None = None,
) -> list[Finding]:
    """Everything that is wrong in one cluster, errors first. C(now) is the time that certificates are held against."""
    assessment = assess(cluster, nodes)
    found = list(_from_gate(assessment))
    told = {host for problem in assessment.problems for host in problem.hosts}
    statuses = {node["name"]: node["status"] for node in nodes}
    for node, member in zip(nodes, members):
        name = node["name"]
        if not member["read"]:
            if name not in told:
                found.append(
                    Finding(
                        "unread",
                        ERROR,
                        cluster,
                        name,
                        f"{why_unread(node)}; nothing is known of it.",
                        "Make it reachable, or take it out of the inventory.",
                    )
                )
            continue
        checks = [_server, _settings, _slots]
        if member["running"] and member["role"] == "standby":
            checks += [_stream, _lag]
        for check in checks:
            for kind, severity, text, remedy in check(node, member, limits):
                found.append(Finding(kind, severity, cluster, name, f"{name} {text}", remedy))
        if member["role"] == "standby":
            primary = next((one for one in members if one["role"] == "primary" and one["running"]), None)
            for kind, severity, text, remedy in _slot_synchronisation(node, nodes):
                found.append(Finding(kind, severity, cluster, name, f"{name} {text}", remedy))
            for kind, severity, text, remedy in _promotable(node, primary and statuses[primary["name"]], nodes):
                found.append(Finding(kind, severity, cluster, name, f"{name} {text}", remedy))
        for kind, severity, text, remedy in _certificates(node, now or datetime.datetime.now(datetime.timezone.utc)):
            found.append(Finding(kind, severity, cluster, name, f"{name} {text}", remedy))
        if member["running"]:
            for kind, severity, text, remedy in _synchronous(node):
                found.append(Finding(kind, severity, cluster, name, f"{name} {text}", remedy))
    for one in not_reached(nodes):
        name = one.node["name"]
        text = f"{name}: {one.evidence}"
        found.append(Finding("not-reached", ERROR if one.by_all else WARNING, cluster, name, text, REMEDY))
    ranks = {ERROR: 0, WARNING: 1}
    return sorted(found, key=lambda one: ranks[one.severity])


def _from_gate(assessment: Assessment) -> t.Iterator[Finding]:
    for problem in (*assessment.problems, *assessment.notes):
        if problem.id in _UNRELATED:
            continue
        yield Finding(
            problem.id,
            WARNING if problem.id in _MILD else ERROR,
            assessment.cluster,
            problem.hosts[0] if len(problem.hosts) == 1 else None,
            problem.evidence,
            problem.remedy,
        )


def _server(node: Node, member: Member, _limits: Limits) -> Found:
    status = node["status"]
    if status["instance_error"]:
        return
    state = status["data_directory"]["state"]
    if status["role"] is None and state in ("absent", "empty", "incoming"):
        yield (
            "no-data",
            ERROR,
            f"holds no cluster: {status['data_directory']['description']}.",
            "Run site.yml to set it up.",
        )
    elif status["role"] and not status["running"]:
        yield (
            "not-running",
            ERROR,
            f"does not run: {member['description']}.",
            "Look at its log, then start its service; site.yml does both.",
        )
    elif status["running"] and status["accepts_connections"] is not True and status["host"]["psycopg"]:
        # What else keeps the module out has a reason of the gate.
        if is_starting(node):
            yield (
                "starting",
                ERROR,
                f"runs and lets nobody in yet: {status['database_error']}",
                "Wait; a standby that never gets consistent says why in its log.",
            )
    elif signalled(node):
        yield "standby-signal", ERROR, f"runs as a primary, and {signalled(node)}.", UNSIGNAL
    elif status["running"] and not status["host"]["psycopg"]:
        yield (
            "no-driver",
            WARNING,
            "has neither psycopg nor psycopg2 for Ansible's Python, so its server was not asked.",
            "Install python3-psycopg2 there; site.yml does it.",
        )


def _settings(node: Node, member: Member, _limits: Limits) -> Found:
    status = node["status"]
    if is_deaf(node):
        yield (
            "not-listening",
            ERROR,
            f"cannot be followed by anybody: {deafness(node)}.",
            "Correct listen_addresses, and restart the server. One that came along with a copy site.yml corrects.",
        )
    if status["pending_restart"]:
        yield (
            "pending-restart",
            WARNING,
            f"has settings that wait for a restart: {', '.join(status['pending_restart'])}.",
            "Restart it when it suits; site.yml restarts once for settings that it manages.",
        )
    if status.get("unread_files"):
        yield (
            "unread-files",
            WARNING,
            f"has not read {', '.join(status['unread_files'])} since the last change there, and runs without it.",
            "Run site.yml, or say SELECT pg_reload_conf() there.",
        )
    refused = [
        f"{line['path']} line {line['line']}" + (f" ({line['name']})" if line["name"] else "") + f": {line['error']}"
        for line in status.get("refused_lines") or []
    ]
    rules = status["settings"].get("hba_file") or "pg_hba.conf"
    refused += [
        f"{rules} line {rule['line_number']}: {rule['error']}"
        for rule in status["replication_rules"] or []
        if rule["error"]
    ]
    if refused:
        yield (
            "refused-files",
            ERROR,
            f"refuses its configuration as it lies there, and would not start with it: {'; '.join(refused)}.",
            "Correct these lines and run site.yml, or reload.",
        )
    if member["role"] == "primary":
        for setting in status["stale_settings"]:
            yield (
                "stale-setting-waits",
                WARNING,
                f"has {setting['name']} = {setting['value']!r} in {setting['path']} line {setting['line']}, which "
                "would win over the managed one once it is a standby.",
                f"ALTER SYSTEM RESET {setting['name']}.",
            )


def _slots(node: Node, _member: Member, limits: Limits) -> Found:
    for slot in node["status"]["slots"]:
        name, keeps = slot["slot_name"], slot["retained_bytes"]
        if slot["wal_status"] == "lost":
            yield (
                "slot-lost",
                ERROR,
                f"has lost the WAL that slot {name!r} was to keep ({slot.get('invalidation_reason') or 'lost'}); its "
                "standby cannot catch up from here.",
                "Copy that standby anew, or let it read the archive; drop the slot and let site.yml create it anew.",
            )
        elif slot["wal_status"] == "unreserved":
            yield (
                "slot-at-risk",
                ERROR,
                f"no longer reserves the WAL of slot {name!r}: the next checkpoint may remove it.",
                "Raise max_slot_wal_keep_size now, and get its standby to stream.",
            )
        elif not slot["active"] and not slot.get("synced") and not slot.get("temporary") and slot["restart_lsn"]:
            yield (
                "slot-inactive",
                WARNING,
                f"keeps {shown_bytes(keeps)} of WAL for slot {name!r}, which nobody uses; without an end this fills "
                "the disk.",
                "Get its standby to stream, or drop it with pg_drop_replication_slot() if that one is gone for good.",
            )
        elif limits.slot_bytes and (keeps or 0) > limits.slot_bytes:
            yield (
                "slot-large",
                WARNING,
                f"keeps {shown_bytes(keeps)} of WAL for slot {name!r}.",
                "See why its user is so far behind; max_slot_wal_keep_size (13 and later) sets an end.",
            )


def _stream(node: Node, member: Member, _limits: Limits) -> Found:
    connection, upstream = member["connection"], member["upstream"]
    status = node["status"]
    if status["accepts_connections"] is not True:
        return
    if not connection["streaming"]:
        said = f"{upstream['name'] or upstream['host']}" if upstream["name"] or upstream["host"] else "anybody"
        how = connection["receiver_status"] or "no WAL receiver"
        if connection["sender_state"]:
            how += f", WAL sender: {connection['sender_state']}"
        yield (
            "not-streaming",
            ERROR,
            f"is a standby and does not stream from {said} ({how}).",
            "Its log says why: the password, pg_hba.conf, the network, WAL that is gone. site.yml quotes that line.",
        )
    elif upstream["name"] is None:
        yield (
            "unknown-upstream",
            WARNING,
            f"streams from {upstream['host']}:{upstream['port']}, which is no host of this cluster.",
            "Put that host into the inventory, or give it the address that standbys use (pgtandem_address).",
        )
    elif member["wanted_upstream"] not in (None, upstream["name"]):
        yield (
            "other-upstream",
            WARNING,
            f"streams from {upstream['name']}, and the inventory wants {member['wanted_upstream']}.",
            "Run site.yml, or correct pgtandem_upstream.",
        )
    if connection["paused"]:
        yield (
            "replay-paused",
            WARNING,
            "receives and does not replay: replay is paused.",
            "SELECT pg_wal_replay_resume(), unless somebody wants it so.",
        )


def _lag(node: Node, member: Member, limits: Limits) -> Found:
    connection = member["connection"]
    delay = node["status"]["settings"].get("recovery_min_apply_delay") not in (None, "0")
    behind, seconds = connection["lag_bytes"], connection["lag_seconds"]
    if delay:
        return
    if limits.lag_bytes and behind is not None and behind > limits.lag_bytes:
        yield (
            "lag-bytes",
            WARNING,
            f"is {shown_bytes(behind)} behind its upstream, more than {shown_bytes(limits.lag_bytes)}.",
            "See whether the network, its disk or a long query there (max_standby_streaming_delay) holds it up.",
        )
    if limits.lag_seconds and seconds is not None and seconds > limits.lag_seconds:
        yield (
            "lag-seconds",
            WARNING,
            f"is {shown_seconds(seconds)} behind its upstream, more than {shown_seconds(limits.lag_seconds)}.",
            "See whether the network, its disk or a long query there (max_standby_streaming_delay) holds it up.",
        )


def _number(text: t.Any) -> int | None:
    return whole_number(str(text))


def _kept_out(node: Node, nodes: t.Sequence[Node]) -> list[str]:
    """The hosts that could not follow a host, as its pg_hba.conf surely would not let them in."""
    rules = node["status"]["replication_rules"]
    others = [other for other in nodes if other is not node]
    return [
        f"{other['name']} ({other['address']})"
        for other in (others if rules is not None else ())
        if admits_replication(rules, user=other["replication_user"], address=other["address"]) is False
    ]


def _promotable(node: Node, primary: t.Mapping[str, t.Any] | None, nodes: t.Sequence[Node]) -> Found:
    """What keeps a standby from doing the primary's work, as far as its settings and rules tell."""
    hosts = len(nodes)
    status = node["status"]
    settings = status["settings"]
    reasons = []
    if settings["wal_level"] == "minimal":
        reasons.append("wal_level is minimal, so nobody could follow it")
    for name in ("max_wal_senders", "max_replication_slots"):
        value = _number(settings[name])
        if value is not None and value < hosts - 1:
            reasons.append(f"{name} = {value} is too few for {hosts - 1} standbys")
    for name in floor_parameters(NEWEST) if primary else ():
        ours, theirs = _number(settings[name]), _number((primary or {})["settings"][name])
        if ours is not None and theirs is not None and ours < theirs:
            reasons.append(f"{name} = {ours} is below the primary's {theirs}")
    kept_out = _kept_out(node, nodes)
    if kept_out:
        reasons.append(f"its pg_hba.conf does not let {node['replication_user']} in from {', '.join(kept_out)}")
    if reasons:
        yield (
            "cannot-become-primary",
            WARNING,
            f"cannot take over as it is: {'; '.join(reasons)}.",
            "Run site.yml, which gives every host the same settings and rules, and restart where it says so.",
        )
    if settings["hot_standby"] == "off":
        yield (
            "no-hot-standby",
            WARNING,
            "lets nobody read and cannot be asked how it is: hot_standby is off.",
            "Set hot_standby to on.",
        )
    delay = settings["recovery_min_apply_delay"]
    if delay not in (None, "0"):
        yield (
            "delayed",
            WARNING,
            f"replays {delay} late on purpose, so a promotion would first have to catch up or lose that much.",
            "Promote another one.",
        )
    if settings["wal_log_hints"] == "off" and settings["data_checksums"] == "off":
        yield (
            "cannot-rewind",
            WARNING,
            "could not be rewound after a failover: it has neither checksums nor wal_log_hints.",
            "Set wal_log_hints to on, or enable checksums while the cluster is stopped.",
        )


def _slot_synchronisation(node: Node, nodes: t.Sequence[Node]) -> Found:
    missing = unmet_companions(node, nodes)
    if missing:
        yield (
            "slots-not-synchronised",
            WARNING,
            f"has sync_replication_slots on, and it has no effect: {'; '.join(missing)}.",
            "The collection does not write dbname into primary_conninfo; without it leave the parameter out, and make "
            "logical slots anew after a change of roles.",
        )


def _synchronous(node: Node) -> Found:
    """Commits wait for ever where standbys are asked for and none is there."""
    status = node["status"]
    wanted = status["settings"]["synchronous_standby_names"]
    if status["role"] != "primary" or not wanted:
        return
    rows: list[Row] = status["wal_senders"]
    if not any(row["sync_state"] in ("sync", "quorum") and row["state"] == "streaming" for row in rows):
        yield (
            "no-sync-standby",
            ERROR,
            f"waits at every commit for synchronous standbys ({wanted}) and has none.",
            "Get one of them to stream, or take it out of synchronous_standby_names and reload.",
        )


#: From how many days on the end of a certificate is near, where pgtandem_tls does not say otherwise.
_NEAR_DAYS = 30


def _certificates(node: Node, now: datetime.datetime) -> Found:
    """Certificates that have expired or will soon, weak passwords, and plain text where there should be none."""
    status, tls = node["status"], node["tls"]
    near = int(tls["renew_days"]) if uses_tls(tls) and str(tls["renew_days"]).isdigit() else _NEAR_DAYS
    remedy = "Put a newer one in its place and run site.yml, or reload; no connection is dropped for it."
    if uses_tls(tls) and tls["source"] == "managed":
        remedy = "Run site.yml, which renews it without dropping a connection."
    for kind, seen in ((status["tls"] or {}).get("used") or {}).items():
        try:
            found = certificates_in((seen or {}).get("certificate"))
        except ReplicationError:
            continue
        # Of a chain, the one that ends first; of authorities, one that still holds is enough.
        ends = sorted(found, key=lambda one: one.not_after)
        if not ends:
            continue
        first = ends[-1] if kind == "authority" else ends[0]
        left = first.days_left(now)
        if left < 0:
            yield (
                "certificate-expired",
                ERROR,
                f"has a certificate ({kind}, {seen['path']}) that expired on {first.not_after:%Y-%m-%d}.",
                remedy,
            )
        elif left < near:
            yield (
                "certificate-expires",
                WARNING,
                f"has a certificate ({kind}, {seen['path']}) that expires on {first.not_after:%Y-%m-%d}.",
                remedy,
            )
    if status["md5_roles"] and status["role"] == "primary":
        yield (
            "weak-password",
            WARNING,
            f"stores the password of {', '.join(status['md5_roles'])} as md5, which PostgreSQL is to give up.",
            "Set password_encryption to scram-sha-256 and set the password again; site.yml does that for the role of "
            "its standbys once the server makes SCRAM verifiers.",
        )
    plain = [row for row in status["wal_senders"] if row.get("encrypted") is False]
    if insists(tls):
        if plain:
            yield (
                "plain-text",
                ERROR,
                f"sends WAL in plain text to {_names_of(plain)}, and pgtandem_tls wants it encrypted.",
                "Run site.yml; a session that is older than the change ends when its standby connects again.",
            )
        return
    plain = [row for row in plain if row["client_addr"] and not is_loopback(row["client_addr"])]
    if plain:
        yield (
            "plain-text",
            WARNING,
            f"sends WAL in plain text to {_names_of(plain)} on another host.",
            "Set pgtandem_tls; without TLS whoever is in between reads all data, and before PostgreSQL 16 whoever "
            "listens in this server's place is given the password.",
        )


def _names_of(senders: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    return ", ".join(sorted(row["application_name"] for row in senders))
