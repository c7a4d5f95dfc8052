# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who restarts before whom where parameters change that a standby must not have lower than its primary."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._plan.parameter_order import (
    Order,
    order_of,
    too_low,
    values_after,
)
from nodes import Node, empty, host, seen

LEVELS = {"pg1": 0, "pg2": 1, "pg3": 2, "pg4": 1}
RUNS = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}


def member(name: str, asked: dict[str, t.Any], has: dict[str, int], **changes: t.Any) -> Node:
    """A running host whose inventory asks for parameters and that runs with others than the usual ones."""
    role = "primary" if name == "pg1" else "standby"
    settings = {key: str(value) for key, value in {**RUNS, **has}.items()}
    configured: dict[str, t.Any] = {"managed": {}, "elsewhere": {"max_connections": "100"}, "auto": {}}
    configured.update(changes.pop("configured", {}))
    return seen(host(name, role, parameters=asked), role, settings=settings, configured=configured, **changes)


def cascade(asked: dict[str, t.Any], has: dict[str, int] | None = None, **others: dict[str, t.Any]) -> list[Node]:
    """pg1 -> pg2 -> pg3 and pg1 -> pg4, all asked the same; C(others) are what single hosts have and are asked."""
    return [
        member(name, others.get(name, {}).get("asked", asked), others.get(name, {}).get("has", has or {}))
        for name in ("pg1", "pg2", "pg3", "pg4")
    ]


def decide(nodes: list[Node], in_run: t.Container[str] | None = None) -> Order:
    return order_of(nodes[0], nodes, LEVELS, senders=7, in_run=in_run)


def shown(order: Order) -> list[str]:
    """Each restart as C(host name=value ...)."""
    return [
        " ".join([step.host, *(f"{name}={after}" for name, (_before, after) in sorted(step.changes.items()))])
        for step in order.steps
    ]


C, L, W = "max_connections", "max_locks_per_transaction", "max_worker_processes"

ORDERS = [
    pytest.param(cascade({}), [], id="nothing asked"),
    pytest.param(cascade({"work_mem": "8MB", C: 100}), [], id="nothing of it changes"),
    pytest.param(
        cascade({C: 300}),
        [f"pg3 {C}=300", f"pg2 {C}=300", f"pg4 {C}=300", f"pg1 {C}=300"],
        id="raised: the leaf first, the primary last",
    ),
    pytest.param(
        cascade({C: 50}, {C: 300}),
        [f"pg1 {C}=50", f"pg2 {C}=50", f"pg4 {C}=50", f"pg3 {C}=50"],
        id="lowered: the primary first, the leaf last",
    ),
    pytest.param(
        cascade({C: 300, L: 64}, {L: 128}),
        [
            f"pg3 {C}=300",
            f"pg2 {C}=300",
            f"pg4 {C}=300",
            f"pg1 {C}=300 {L}=64",
            f"pg2 {L}=64",
            f"pg4 {L}=64",
            f"pg3 {L}=64",
        ],
        id="one up and one down: two phases, the primary once",
    ),  # fmt: skip
    pytest.param(
        cascade({}, {C: 300}),
        [f"pg1 {C}=100", f"pg2 {C}=100", f"pg4 {C}=100", f"pg3 {C}=100"],
        id="no longer asked for: back to what the other file says",
    ),
    pytest.param(
        cascade({C: 300}, pg2={"has": {C: 300}}, pg3={"has": {C: 400}}),
        [f"pg4 {C}=300", f"pg1 {C}=300", f"pg3 {C}=300"],
        id="a run that was stopped half-way goes on; who has more loses it last",
    ),
    pytest.param(cascade({}, pg2={"asked": {C: 400}}), [f"pg2 {C}=400"], id="a standby may have more of its own"),
    pytest.param(
        cascade({}, pg2={"asked": {C: 40}}, pg3={"asked": {W: 2}}), [], id="a standby asked for less keeps the floor"
    ),
    pytest.param(
        cascade({C: 300}, {C: 300}, pg4={"has": {C: 100}}),
        [f"pg4 {C}=300"],
        id="a standby that lacks what its primary has",
    ),
    pytest.param(
        cascade({"max_wal_senders": 20, W: 16}),
        [f"{name} max_wal_senders=20 {W}=16" for name in ("pg3", "pg2", "pg4", "pg1")],
        id="several at once, one restart",
    ),
]


@pytest.mark.parametrize(("nodes", "steps"), ORDERS)
def test_the_order(nodes: list[Node], steps: list[str]) -> None:
    order = decide(nodes)
    assert order.problems == ()
    assert shown(order) == steps
    assert len(order.lines("main")) == (len(steps) + 1 if steps else 0)


@pytest.mark.parametrize(("nodes", "steps"), ORDERS)
def test_no_standby_has_less_than_its_primary_at_any_moment(nodes: list[Node], steps: list[str]) -> None:
    """Each step is done in turn; and at the end nothing is left to do."""
    order = decide(nodes)
    now = {node["name"]: {name: int(node["status"]["settings"][name]) for name in RUNS} for node in nodes}
    lacking = {name for name, values in now.items() if any(values[key] < now["pg1"][key] for key in RUNS)}
    for step in order.steps:
        assert {name: before for name, (before, _after) in step.changes.items()} == {
            name: now[step.host][name] for name in step.changes
        }
        now[step.host].update({name: after for name, (_before, after) in step.changes.items()})
        lacking.discard(step.host)
        for name, values in now.items():
            assert name in lacking or all(values[key] >= now["pg1"][key] for key in RUNS), (step, name)
    for node in nodes:
        node["status"]["settings"].update({name: str(value) for name, value in now[node["name"]].items()})
    assert decide(nodes).steps == ()


def changed(nodes: list[Node], name: str, **changes: t.Any) -> list[Node]:
    for node in nodes:
        if node["name"] == name:
            seen(
                node,
                "standby",
                **{"settings": node["status"]["settings"], "configured": node["status"]["configured"], **changes},
            )
    return nodes


def without(nodes: list[Node], name: str) -> list[Node]:
    return [dict(node, status=None) if node["name"] == name else node for node in nodes]


@pytest.mark.parametrize(
    ("nodes", "in_run", "kind", "words"),
    [
        (without(cascade({C: 300}), "pg4"), None, "parameters-unread", "max_connections from 100 to 300, and pg4, a"),
        (without(cascade({C: 50}), "pg4"), None, None, ""),
        (cascade({C: 300}), ["pg1", "pg2"], "parameters-left-out", "runs with max_connections = 100 and is not part"),
        (cascade({C: 300}), ["pg2", "pg3"], None, ""),
        (cascade({C: 50}), ["pg1"], None, ""),
        (
            changed(cascade({C: 300}), "pg2", configured={"managed": {}, "elsewhere": {}, "auto": {C: "100"}}),
            None,
            "parameters-overridden",
            "ALTER SYSTEM RESET max_connections",
        ),
        (changed(cascade({C: 300}), "pg2", running=False), None, None, ""),
    ],
    ids=[
        "raised beside one that was not read", "lowered beside one that was not read", "raised without all",
        "only standbys", "lowered alone", "ALTER SYSTEM wins", "a stopped one gets it when it is started",
    ],
)  # fmt: skip
def test_what_keeps_a_primary_from_raising(
    nodes: list[Node], in_run: list[str] | None, kind: str | None, words: str
) -> None:
    problems = decide(nodes, in_run).problems
    assert [problem.id for problem in problems][:1] == ([kind] if kind else [])
    assert not kind or words in problems[0].text


def test_a_primary_that_is_yet_to_be_made_or_left_out_changes_nothing() -> None:
    nodes = cascade({C: 300})
    assert order_of(empty(host("pg1", "primary")), nodes[1:], LEVELS, senders=7).steps == ()
    order = decide(nodes, ["pg2", "pg3", "pg4"])
    assert order.raised == {} and order.after[C] == 100
    assert [step.host for step in order.steps] == ["pg2", "pg4", "pg3"]


def test_a_primary_that_is_stopped_is_known_by_its_control_file() -> None:
    nodes = cascade({C: 300})
    status = nodes[0]["status"]
    status.update(running=False, settings=dict.fromkeys(status["settings"]))
    status["control"]["floors"] = RUNS
    order = decide(nodes)
    assert list(order.raises) == ["pg3", "pg2", "pg4"]
    assert order.steps[-1].host == "pg4", "it is started and not restarted"


def test_what_nobody_names_is_the_versions_own_default() -> None:
    node = member("pg2", {}, {}, configured={"managed": {}, "elsewhere": {}, "auto": {}})
    assert values_after(node, senders=1, floors={}) == {**RUNS, "max_wal_senders": 10}
    node["status"]["server_version"] = 190000
    assert values_after(node, senders=1, floors={})[L] == 128
    node["status"]["server_version"] = 110000
    assert "max_wal_senders" not in values_after(node, senders=1, floors={})


def test_a_primary_sees_who_has_less() -> None:
    nodes = cascade({}, pg2={"has": {C: 300}})
    assert too_low({C: 300}, nodes[1:]) == [
        "pg3 runs with max_connections = 100",
        "pg4 runs with max_connections = 100",
    ]
    assert too_low({C: 100}, nodes[1:]) == []


# --- What has no order between hosts ---

LIBRARIES = "shared_preload_libraries"


def restarting(nodes: list[Node], *names: str, streaming: t.Container[str] = ("pg2", "pg3", "pg4")) -> list[Node]:
    """The same hosts, each of which restarts for parameters."""
    for node in nodes:
        status = node["status"]
        status["next_start"] = {"problems": [], "restarts": list(names)}
        status["wal_receiver"] = {"status": "streaming"} if node["name"] in streaming else None
    return nodes


@pytest.mark.parametrize(
    ("nodes", "steps"),
    [
        pytest.param(restarting(cascade({}), LIBRARIES), ["pg3", "pg1"], id="a leaf goes first"),
        pytest.param(restarting(cascade({}), LIBRARIES, streaming=["pg4"]), ["pg4", "pg1"], id="one that streams"),
        pytest.param(restarting(cascade({}), LIBRARIES, streaming=[]), [], id="none streams"),
        pytest.param(restarting(cascade({})), [], id="nothing restarts"),
        pytest.param(
            restarting(cascade({C: 300}), LIBRARIES, C),
            [f"pg3 {C}=300", f"pg2 {C}=300", f"pg4 {C}=300", f"pg1 {C}=300"],
            id="all go first anyway",
        ),
        pytest.param(
            restarting(cascade({C: 50}, {C: 300}), LIBRARIES, C),
            ["pg3", f"pg1 {C}=50", f"pg2 {C}=50", f"pg4 {C}=50", f"pg3 {C}=50"],
            id="what is lowered stays high on the one that goes first",
        ),
    ],
)
def test_a_standby_tries_what_has_no_order_before_its_primary(nodes: list[Node], steps: list[str]) -> None:
    order = decide(nodes)
    assert order.problems == ()
    assert shown(order) == steps
    assert all(LIBRARIES in step.text() for step in order.steps if step.host == "pg1")


def test_a_primary_outside_of_the_run_is_tried_for_by_nobody() -> None:
    assert decide(restarting(cascade({}), LIBRARIES), in_run=["pg2", "pg3"]).steps == ()
