# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The state of the clusters in the Prometheus text format, for node_exporter's textfile collector: pure text.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/. A value that is not known has no sample, since 0
would be a claim.
"""

from __future__ import annotations

import datetime
import typing as t

Labels = t.Dict[str, str]
Sample = t.Tuple[Labels, t.Optional[float]]

_FAMILIES: dict[str, str] = {
    "up": "Whether the host was read and its server lets sessions in.",
    "role_info": "The role that the server has now; always 1.",
    "timeline": "The timeline that is written or received.",
    "wal_position_bytes": "How far a primary has written or a standby has replayed, as a number of bytes.",
    "streaming": "Whether a standby streams from its upstream.",
    "lag_bytes": "WAL that the upstream has and the standby has not replayed.",
    "lag_seconds": "The age of the last replayed transaction while there is more to replay; 0 where there is not.",
    "replay_paused": "Whether a standby's replay is paused.",
    "synchronous_standby": "Whether commits on the upstream wait for this standby.",
    "sender_state": "The state of a WAL sender; always 1.",
    "sender_lag_bytes": "WAL that a receiver has not reported as replayed.",
    "slot_active": "Whether a replication slot is in use.",
    "slot_retained_bytes": "WAL that a replication slot keeps.",
    "slot_lost": "Whether a replication slot no longer keeps the WAL that its user needs.",
    "pending_restart_settings": "Settings that wait for a restart.",
    "findings": "What is wrong, by severity.",
    "primaries": "Running primaries of a cluster; anything but 1 is wrong.",
    "status_timestamp_seconds": "When the status was read, in seconds since 1970.",
}


def escape_label(value: str) -> str:
    r"""A label's value.

    >>> print(escape_label('a"b'), escape_label("back" + chr(92)), escape_label("line" + chr(10)))
    a\"b back\\ line\n
    """
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _position(lsn: str | None) -> float | None:
    if not lsn:
        return None
    high, low = lsn.split("/")
    return float((int(high, 16) << 32) + int(low, 16))


def _of_node(node: t.Mapping[str, t.Any], add: t.Callable[..., None]) -> None:
    status = node["status"]
    up = bool(status and status["accepts_connections"])
    add("up", up)
    if not status:
        return
    if node["role"]:
        add("role_info", 1, role=node["role"])
    add("timeline", node["timeline"])
    add("wal_position_bytes", _position(node["position"]))
    connection = node["connection"]
    if connection and up:
        labels = {"upstream": node["upstream"]["name"] or node["upstream"]["host"] or ""}
        add("streaming", connection["streaming"], **labels)
        add("lag_bytes", connection["lag_bytes"], **labels)
        add("lag_seconds", connection["lag_seconds"], **labels)
        add("replay_paused", connection["paused"])
        if connection["sync_state"]:
            add("synchronous_standby", connection["sync_state"] in ("sync", "quorum"))
    for row in _unique(status["wal_senders"], ("application_name", "client_addr", "client_port")):
        labels = {
            "application_name": row["application_name"] or "",
            "client": f"{row['client_addr'] or 'local'}:{row['client_port']}",
        }
        add("sender_state", 1, state=row["state"] or "unknown", sync_state=row["sync_state"] or "unknown", **labels)
        add("sender_lag_bytes", row["lag_bytes"], **labels)
    for slot in status["slots"]:
        labels = {"slot": slot["slot_name"], "type": slot["slot_type"]}
        add("slot_active", slot["active"], **labels)
        add("slot_retained_bytes", slot["retained_bytes"], **labels)
        add("slot_lost", slot["wal_status"] == "lost", **labels)
    if up:
        add("pending_restart_settings", len(node["pending_restart"]))


def _adder(samples: dict[str, list[Sample]], place: Labels) -> t.Callable[..., None]:
    """What adds a sample of one host."""

    def add(family: str, value: float | None, **labels: str) -> None:
        samples[family].append(({**place, **labels}, value))

    return add


def _unique(rows: t.Iterable[t.Mapping[str, t.Any]], keys: tuple[str, ...]) -> list[t.Mapping[str, t.Any]]:
    """One row for each set of labels: the format allows no sample twice."""
    return list({tuple(row[key] for key in keys): row for row in rows}.values())


def metrics_text(report: t.Mapping[str, t.Any]) -> str:
    """The whole file."""
    samples: dict[str, list[Sample]] = {name: [] for name in _FAMILIES}
    for cluster in report["clusters"]:
        for node in cluster["nodes"]:
            _of_node(node, _adder(samples, {"cluster": cluster["name"], "host": node["name"]}))
        primaries = sum(1 for node in cluster["nodes"] if node["role"] == "primary" and node["running"])
        samples["primaries"].append(({"cluster": cluster["name"]}, primaries))
        for severity in ("error", "warning"):
            count = sum(
                1 for one in report["findings"] if one["cluster"] == cluster["name"] and one["severity"] == severity
            )
            samples["findings"].append(({"cluster": cluster["name"], "severity": severity}, count))
    moment = datetime.datetime.fromisoformat(report["generated"].replace("Z", "+00:00")).timestamp()
    samples["status_timestamp_seconds"].append(({}, moment))
    lines: list[str] = []
    for family, rows in samples.items():
        known = [(labels, value) for labels, value in rows if value is not None]
        if not known:
            continue
        name = f"pgtandem_{family}"
        lines += [f"# HELP {name} {_FAMILIES[family]}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_labels(labels)} {_value(value)}" for labels, value in known]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{escape_label(value)}"' for name, value in labels.items()) + "}"


def _value(value: float) -> str:
    """Whole numbers in full: a position has more digits than the shortest form of a float would keep."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
