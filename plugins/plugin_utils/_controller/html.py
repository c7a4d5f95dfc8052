# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The report as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

import os.path
import typing as t

import jinja2
from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes, shown_seconds
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.svg_layout import (
    NARROW,
    WIDE,
    lag_series,
    layout,
    plot,
    shorten,
    summary,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.tree import connection_text

_TEMPLATES = os.path.join(os.path.dirname(__file__), "..", "..", "..", "roles", "node", "templates")

#: What the servers' own kind of build decides is not for comparing, and passwords are struck out of the others.
_SETTINGS_APART = frozenset(
    {"config_file", "data_directory", "hba_file", "port", "primary_conninfo", "primary_slot_name", "cluster_name"}
)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(bytes=shown_bytes, seconds=shown_seconds, shorten=shorten)
    return environment


def html_text(report: t.Mapping[str, t.Any]) -> str:
    """The whole file."""
    worst: dict[tuple[str, str], str] = {}
    for finding in reversed(report["findings"]):
        # Errors come first in the list, so they are told last here and stay.
        worst[(finding["cluster"], finding["host"])] = finding["severity"]
    clusters = [_cluster(cluster, worst) for cluster in report["clusters"]]
    counts = {
        severity: sum(1 for one in report["findings"] if one["severity"] == severity)
        for severity in ("error", "warning")
    }
    return _environment().get_template("status.html.j2").render(report=report, clusters=clusters, counts=counts)


def _cluster(cluster: t.Mapping[str, t.Any], worst: t.Mapping[tuple[str, str], str]) -> dict[str, t.Any]:
    nodes = [
        dict(node, state=worst.get((cluster["name"], node["name"]), "ok"), state_text=_state_text(node))
        for node in cluster["nodes"]
    ]
    series = lag_series(nodes)
    return {
        "name": cluster["name"],
        "primary": cluster["primary"],
        "head": cluster["tree"][0],
        "nodes": nodes,
        "by_name": {node["name"]: node for node in nodes},
        "pictures": [dict(layout(nodes, WIDE), kind="wide"), dict(layout(nodes, NARROW), kind="narrow")],
        "plots": [
            dict(plot(series, width=900, height=230), kind="wide"),
            dict(plot(series, width=360, height=240), kind="narrow"),
        ]
        if series
        else [],
        "summaries": [summary(one) for one in series],
        "settings": _settings(nodes),
    }


def _state_text(node: t.Mapping[str, t.Any]) -> str:
    if not node["read"]:
        return "not read"
    if not node["running"]:
        return "not running"
    if node["connection"]:
        return connection_text(node).split(" from ", maxsplit=1)[0] + (
            ", paused" if node["connection"]["paused"] else ""
        )
    return "running"


def _settings(nodes: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """One row a setting that any server has; C(differs) where the servers do not agree and might be expected to."""
    asked = [node for node in nodes if node["status"] and node["status"]["accepts_connections"]]
    names = list(asked[0]["status"]["settings"]) if asked else []
    rows = []
    for name in names:
        values = [node["status"]["settings"].get(name) for node in asked]
        if any(value not in (None, "") for value in values):
            differs = name not in _SETTINGS_APART and len(set(values)) > 1
            waits = [node["name"] for node in asked if name in node["status"]["pending_restart"]]
            rows.append({"name": name, "values": values, "differs": differs, "waits": waits})
    return [{"hosts": [node["name"] for node in asked], "rows": rows}] if rows else []
