# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What does not fit between the hosts of one cluster: pure decisions."""

from __future__ import annotations

import typing as t

from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    described,
    named,
    runs,
    state_of,
    system_of,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.timelines import divergence


def _grouped(nodes: t.Sequence[Node], value: t.Callable[[dict[str, t.Any]], t.Any]) -> dict[str, list[str]]:
    """The hosts that were read by a value, where it is known."""
    groups: dict[str, list[str]] = {}
    for node in nodes:
        found = value(node["status"]) if node["status"] else None
        if found is not None:
            groups.setdefault(str(found), []).append(node["name"])
    return groups


def _shown(groups: dict[str, list[str]], what: str) -> str:
    return "; ".join(f"{what} {value}".strip() + f" on {', '.join(names)}" for value, names in sorted(groups.items()))


def _control(key: str) -> t.Callable[[dict[str, t.Any]], t.Any]:
    return lambda status: (status["control"] or {}).get(key)


def sameness_problems(nodes: t.Sequence[Node]) -> list[Problem]:
    """What has to be the same on all hosts and is not."""
    needed: tuple[tuple[str, str, t.Callable[[dict[str, t.Any]], t.Any], str, str], ...] = (
        (
            "versions",
            "PostgreSQL",
            lambda status: (status["instance"] or {}).get("version"),
            "physical replication needs one major version on all hosts of a cluster",
            "Set pgtandem_version.",
        ),
        (
            "architectures",
            "",
            lambda status: status["host"]["architecture"],
            "physical replication needs one processor architecture on all hosts of a cluster",
            "Take the other hosts out of the cluster.",
        ),
        (
            "block-sizes",
            "block size",
            _control("block_size"),
            "physical replication needs one block size on all hosts of a cluster",
            "Install servers that were built with the same one.",
        ),
        (
            "segment-sizes",
            "WAL segments of size",
            _control("wal_segment_bytes"),
            "physical replication needs one size of WAL segments on all hosts of a cluster",
            "They are not copies of one cluster: correct pgtandem_cluster, or the host's data directory.",
        ),
    )
    problems = []
    for kind, what, value, rule, remedy in needed:
        groups = _grouped(nodes, value)
        if len(groups) > 1:
            hosts = tuple(sorted(name for names in groups.values() for name in names))
            problems.append(
                Problem(
                    kind,
                    hosts,
                    f"{_shown(groups, what)}: {rule}.",
                    remedy,
                )
            )
    return problems


def collation_notes(nodes: t.Sequence[Node]) -> list[Problem]:
    """A library that sorts otherwise does not stop replication; it may break indexes on text, so it is told."""
    versions: dict[str, dict[str, list[str]]] = {}
    for node in nodes:
        collation = (node["status"] or {}).get("collation")
        if collation and collation["version"]:
            place = versions.setdefault(f"{collation['locale']} of provider {collation['provider']}", {})
            place.setdefault(collation["version"], []).append(node["name"])
    return [
        Problem(
            "collation-versions",
            tuple(sorted(name for names in groups.values() for name in names)),
            f"{_shown(groups, f'Collation {collation} in version')}: text may sort otherwise there, and indexes "
            "on text that came with the copy may miss rows.",
            "Use the same release of the system on all hosts, or REINDEX after a promotion.",
        )
        for collation, groups in sorted(versions.items())
        if len(groups) > 1
    ]


def primaries_problem(cluster: str, primaries: t.Sequence[Node]) -> Problem:
    """Two or more hosts of one system that are primaries, or would start as such."""
    seen = "; ".join(
        f"{node['name']} (timeline {node['status']['timeline']}), {'running' if runs(node) else 'stopped'}: "
        f"{described(node)}"
        for node in primaries
    )
    running = [node for node in primaries if runs(node)]
    remedy = "Find out which of them has the data that counts, "
    if len(running) == 1:
        old = named(node for node in primaries if node is not running[0])
        remedy += (
            f"most likely {running[0]['name']}, which runs; do not start {old} as it is, put {running[0]['name']} into "
            f"the group of primaries, and make {old} a standby again (rejoin.yml)."
        )
    else:
        remedy += "stop the other, and make that one a standby again (rejoin.yml)."
    many = "has two primaries of system" if len(primaries) == 2 else f"has {len(primaries)} primaries of system"
    return Problem(
        "two-primaries",
        tuple(node["name"] for node in primaries),
        f"Cluster {cluster!r} {many} {system_of(primaries[0])}: {seen}.",
        remedy,
    )


def follower_problems(cluster: str, primary: Node, others: t.Iterable[Node]) -> list[Problem]:
    """Hosts that cannot follow a primary: those of another system, and those that left its timeline."""
    problems = []
    for node in others:
        state = state_of(node)
        if state not in ("primary", "standby"):
            continue
        hosts = (node["name"],)
        if system_of(node) != system_of(primary):
            if state == "primary":
                evidence = (
                    f"{node['name']}: {described(node)}, but it is to become a standby of {primary['name']} (system "
                    f"{system_of(primary)}). A base backup would destroy it."
                )
                remedy = "Move that directory away, or name another pgtandem_data_directory."
                instance = node["status"]["instance"] or {}
                if instance.get("layout") == "debian" and instance.get("instance") == "main":
                    # Debian's package makes one at its installation.
                    remedy += (
                        " If it is the empty cluster that Debian's package made, and nobody needs it: pg_dropcluster "
                        f"--stop {instance['version']} main."
                    )
            else:
                evidence = (
                    f"{node['name']}: {described(node)}, but {primary['name']} is system {system_of(primary)}. That "
                    "standby belongs to another cluster."
                )
                remedy = "Correct pgtandem_cluster or the host's data directory."
            problems.append(Problem("foreign-system", hosts, evidence, remedy))
        elif state == "standby":
            reason = divergence(primary["status"], node["status"])
            if reason:
                problems.append(
                    Problem(
                        "diverged",
                        hosts,
                        f"{node['name']} has diverged from {primary['name']}, the primary of cluster {cluster!r}: "
                        f"{reason}. It holds changes that the primary does not have and cannot follow it.",
                        "Save what counts there, then let rejoin.yml rewind it, or have it copied anew.",
                    )
                )
    return problems
