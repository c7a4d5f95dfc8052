# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Everything that was seen as one document, from which the JSON, the HTML and the metrics are made: pure."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.live import live_members
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import Node, quorum
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import clusters_of
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.findings import ERROR, Limits, findings
from ansible_collections.pgtandem.replication.plugins.plugin_utils._report.tree import render

#: Raised when a key changes its meaning or goes.
SCHEMA = 1


def document(nodes: t.Sequence[Node], *, limits: Limits, generated: str) -> dict[str, t.Any]:
    """The document. C(generated) is the time of the reading, in UTC as ISO 8601 has it."""
    clusters, found = [], []
    for name, members in clusters_of(nodes).items():
        live = live_members(members)
        problems = findings(name, members, live, limits)
        found += problems
        primaries = [one["name"] for one in live if one["role"] == "primary" and one["running"]]
        clusters.append(
            {
                "name": name,
                "primary": primaries[0] if len(primaries) == 1 else None,
                "quorum": quorum(members),
                "tree": render(name, live),
                "nodes": [dict(one, status=node["status"]) for one, node in zip(live, members)],
            }
        )
    return {
        "schema": SCHEMA,
        "generated": generated,
        "healthy": not any(one.severity == ERROR for one in found),
        "clusters": clusters,
        "findings": [one.as_result() for one in sorted(found, key=lambda one: one.severity != ERROR)],
    }


def findings_lines(found: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The findings for a terminal."""
    return [
        f"{one['severity'].upper()} {one['id']}: {one['text']}" + (f" {one['remedy']}" if one["remedy"] else "")
        for one in found
    ]
