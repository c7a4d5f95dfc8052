# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For whom commits wait: what cannot be, what is written before the standbys are proven, and what then."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.plugin_utils._gate.settlement import settle
from nodes import Node, host, seen

NAMES = ("pg1", "pg-2", "pg3", "pg4")


def cluster(said: t.Any, *, runs: str | None = "", live: str = "pg1", **changes: t.Any) -> list[Node]:
    """pg1 with pg-2 and pg3, and pg4 below pg3. C(runs) is what the live primary has now."""
    nodes = []
    for name in NAMES:
        node = host(
            name,
            "primary" if name == "pg1" else "standby",
            synchronous=said,
            upstream="pg3" if name == "pg4" else "",
            on_role_change="follow",
            **changes.get(f"{name.replace('-', '')}_asked", {}),
        )
        more = changes.get(name.replace("-", ""), {})
        settings = {"synchronous_standby_names": runs if name == live else "", **more.pop("settings", {})}
        nodes.append(seen(node, "primary" if name == live else "standby", settings=settings, **more))
        nodes[-1]["status"]["instance"]["version"] = changes.get("version", "15")
    return nodes


def plan(nodes: list[Node], name: str = "pg1") -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", settle(nodes)["nodes"][name])


ANY = {"mode": "any", "count": 1, "standbys": ["pg-2", "pg3"]}
WANTED = 'ANY 1 ("pg-2", "pg3")'


@pytest.mark.parametrize(
    ("said", "runs", "before", "wanted"),
    [
        ({}, "", None, None),
        ({"mode": False, "count": 9}, "*", None, None),
        (ANY, "", "", WANTED),
        (ANY, WANTED, WANTED, WANTED),
        ({"mode": "any"}, WANTED, WANTED, WANTED),
        # Somebody new waits for the proof, somebody who is to go leaves at once.
        (ANY, 'ANY 1 ("pg-2")', 'ANY 1 ("pg-2")', WANTED),
        (ANY, "ANY 2 (\"pg-2\", pg3, other)", WANTED, WANTED),
        (dict(ANY, count=2), WANTED, WANTED, 'ANY 2 ("pg-2", "pg3")'),
        (ANY, "FIRST 1 (other)", "", WANTED),
        (ANY, "*", WANTED, WANTED),
        # The same in other words is left until the standbys are proven.
        (ANY, "ANY 1 (\"pg-2\", PG3)", WANTED, WANTED),
        ({"mode": "first", "count": 2, "standbys": ["pg3", "pg-2"], "commit": True}, "", "", 'FIRST 2 ("pg3", "pg-2")'),
    ],
)  # fmt: skip
def test_what_the_primary_gets_at_first_and_in_the_end(
    said: t.Any, runs: str, before: str | None, wanted: str | None
) -> None:
    primary = plan(cluster(said, runs=runs))
    assert primary["synchronous"]["before"] == before and primary["synchronous"]["wanted"] == wanted
    assert primary["parameters"].get("synchronous_standby_names") == before


def test_every_host_gets_the_level_and_the_primary_alone_the_names() -> None:
    nodes = cluster(dict(ANY, commit="remote_apply"))
    assert plan(nodes)["parameters"] == {"synchronous_commit": "remote_apply", "synchronous_standby_names": ""}
    assert plan(nodes, "pg-2")["parameters"] == {"synchronous_commit": "remote_apply"}
    assert plan(nodes, "pg-2")["synchronous"] == {}
    assert plan(cluster({}), "pg-2")["parameters"] == {}


def test_after_a_switchover_the_old_primary_takes_the_new_ones_place() -> None:
    assert plan(cluster(ANY, live="pg3"), "pg3")["synchronous"]["wanted"] == 'ANY 1 ("pg-2", "pg1")'
    assert plan(cluster(ANY), "pg1")["synchronous"]["wanted"] == WANTED


def test_a_stopped_primary_keeps_what_its_file_says() -> None:
    configured = {"managed": {"synchronous_standby_names": WANTED}, "elsewhere": {}, "auto": {}}
    nodes = cluster(ANY, runs=None, pg1={"running": False, "configured": configured})
    assert plan(nodes)["synchronous"]["before"] == WANTED


@pytest.mark.parametrize(
    "old", [{"mode": "any", "count": 2}, {"mode": "first", "count": 2, "standbys": ["pg3", "pg-2"]}]
)
def test_as_many_as_there_are_is_a_warning(old: dict[str, t.Any]) -> None:
    assert any("waits at every commit for 2 of 2" in note for note in settle(cluster(old))["notes"])
    assert not any("waits at every commit" in note for note in settle(cluster(ANY))["notes"])


AUTO = {"configured": {"managed": {}, "elsewhere": {}, "auto": {"synchronous_standby_names": "*"}}}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (cluster({"mode": "some"}), "mode is 'some'; it is off, first or any"),
        (cluster("any"), "has to be a mapping"),
        (cluster({"mode": "any", "number": 1}), "has no key 'number'"),
        (cluster({"mode": "any", "count": 0}), "count is 0"),
        (cluster({"mode": "any", "count": True}), "count is True"),
        (cluster({"mode": "any", "standbys": "pg3"}), "it is a list of names"),
        (cluster({"mode": "any", "standbys": ["pg3", "pg3"]}), "names a host twice"),
        (cluster({"mode": "any", "commit": "local"}), "With less nobody is waited for"),
        (cluster({"mode": "any", "commit": False}), "commit is False"),
        (cluster(dict(ANY, count=3)), "asks for 3 of pg-2, pg3, so no commit would ever end"),
        (cluster({"mode": "any", "count": 3}), "and pg1 has 2 (pg-2, pg3), so no commit would ever end"),
        (cluster({"mode": "any", "standbys": ["pg9"]}), "names pg9, which is no host of cluster 'main'"),
        (cluster({"mode": "any", "standbys": ["pg4"]}), "names pg4, which does not follow pg1 itself"),
        (cluster({"mode": "any", "standbys": ["pg1"]}), "which is the primary itself"),
        (cluster(ANY, pg1_asked={"parameters": {"Synchronous_Commit": "on"}}), "pgtandem_synchronous sets it too"),
        ([*cluster(ANY)[:-1], cluster({})[-1]], "and any may become the primary"),
        (cluster(ANY, version="9.6"), "PostgreSQL 9.6 has no quorum"),
        (cluster({"mode": "first", "count": 2}, version="9.5"), "9.5 has only one synchronous standby"),
        (cluster({"mode": "first", "commit": "remote_apply"}, version="9.5"), "9.5 has no remote_apply"),
        (
            cluster(dict(ANY, commit="remote_apply"), pg3={"settings": {"recovery_min_apply_delay": "1h"}}),
            "pg3 replays late on purpose",
        ),
        (cluster(ANY, pg1=AUTO), "ALTER SYSTEM RESET synchronous_standby_names"),
    ],
)  # fmt: skip
def test_what_cannot_be_stops_the_run(nodes: list[Node], words: str) -> None:
    with pytest.raises(ReplicationError) as caught:
        settle(nodes)
    assert words in caught.value.message


def test_versions_before_the_keywords() -> None:
    said = {"mode": "first", "standbys": ["pg3", "pg-2"]}
    assert plan(cluster(said, version="9.6"))["synchronous"]["wanted"] == '1 ("pg3", "pg-2")'
    assert plan(cluster(said, version="9.5"))["synchronous"]["wanted"] == '"pg3", "pg-2"'
    off = cluster({"mode": "off"}, pg1=dict(AUTO), version="9.5")
    assert plan(off)["synchronous"]["wanted"] is None, "what is not managed is nobody's business"
