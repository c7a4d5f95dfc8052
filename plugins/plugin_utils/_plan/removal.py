# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Whether a standby may leave its cluster: pure decisions."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.names import application_name, slot_name
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameter_value import parameter_texts
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.nodes import (
    Node,
    Problem,
    described,
    leads,
    named,
    state_of,
)


def waited_for(name: str, setting: str | None) -> bool:
    """Whether synchronous_standby_names says a standby by its name; C(*) is nobody's.

    >>> waited_for("pg3", 'FIRST 1 (pg2, "pg3")'), waited_for("pg3", "ANY 1 (pg30, *)"), waited_for("pg3", None)
    (True, False, False)
    """
    words = re.findall(r'"(?:[^"]|"")*"|[^\s,()]+', setting or "")
    found = {word[1:-1].replace('""', '"') if word.startswith('"') else word for word in words}
    return application_name(name).lower() in {word.lower() for word in found}


def removal_problems(cluster: str, nodes: t.Sequence[Node], leaving: t.Collection[str]) -> list[Problem]:
    """Every reason why the hosts that are to leave may not."""
    problems = []
    for node in nodes:
        if node["name"] not in leaving:
            continue
        name = node["name"]
        if state_of(node) == "primary" or leads(node) or "primary" in node["groups"]:
            problems.append(
                Problem(
                    "remove-primary",
                    (name,),
                    f"{name} is the primary of cluster {cluster!r}"
                    + (f" ({described(node)})" if node["status"] else " in the inventory")
                    + ".",
                    "Move the primary to another host first (switchover.yml), and correct the inventory.",
                )
            )
        below = [other for other in nodes if other["upstream"] == name and other["name"] not in leaving]
        if below:
            problems.append(
                Problem(
                    "remove-upstream",
                    (name, *(other["name"] for other in below)),
                    f"{named(below)} of cluster {cluster!r} follow {name} (pgtandem_upstream).",
                    f"Let them follow another host, run site.yml, and remove {name} then.",
                )
            )
        waiting = [
            other
            for other in nodes
            if other["name"] not in leaving
            and waited_for(name, parameter_texts(other["parameters"])[0].get("synchronous_standby_names", ""))
        ]
        if waiting:
            problems.append(
                Problem(
                    "remove-synchronous",
                    (name,),
                    f"synchronous_standby_names in pgtandem_parameters of {named(waiting)} names {name}, so commits "
                    "would wait for it.",
                    "Take it out there, run site.yml, and remove it then.",
                )
            )
    return problems


def left_slots(cluster: str, nodes: t.Iterable[Node], leaving: t.Container[str]) -> list[str]:
    """The slots that nobody reads once those hosts have left their cluster."""
    return sorted(slot_name(node["name"]) for node in nodes if node["cluster"] == cluster and node["name"] in leaving)
