# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a switchover does from every state in which it can find a cluster, and what it refuses."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.switchover import (
    Limits,
    Switchover,
    check_problems,
    plan_switchover,
    reach_of,
)
from nodes import Node, host, receiver, seen, sender


def primary(name: str = "pg1", *followers: str, group: str = "primary", **changes: t.Any) -> Node:
    rows = [
        sender(
            follower, client_addr=f"10.0.0.{follower[-1]}", client_port=40000 + int(follower[-1]), pid=int(follower[-1])
        )
        for follower in followers
    ]
    return seen(host(name, group), "primary", **{"wal_senders": rows, **changes})


def standby(name: str, upstream: str = "pg1", group: str = "standby", **changes: t.Any) -> Node:
    status = {
        "wal_receiver": receiver(upstream, local_port=40000 + int(name[-1])),
        "upstream": {"host": f"10.0.0.{upstream[-1]}", "port": 5432},
    }
    return seen(host(name, group), "standby", **{**status, **changes})


def stopped(name: str, role: str = "standby", group: str = "standby", **control: t.Any) -> Node:
    return seen(host(name, group), role, running=False, control=control)


def trio() -> list[Node]:
    return [primary("pg1", "pg2", "pg3"), standby("pg2"), standby("pg3")]


def kinds(plan: Switchover) -> list[str]:
    return [problem.id.removeprefix("switchover-") for problem in plan.problems]


def test_a_switch() -> None:
    plan = plan_switchover(trio(), "pg2")
    assert (plan.action, plan.primary, plan.successor, plan.problems) == ("switch", "pg1", "pg2", ())
    assert (plan.siblings, plan.slots) == (("pg1", "pg3"), ("pg1", "pg3"))
    assert plan.nodes["pg1"]["upstream"] == {"name": "pg2", "host": "10.0.0.2", "port": 5432}
    assert plan.steps[0] == "pg2 waits for the shutdown of pg1 and gets the slots pg1, pg3"


@pytest.mark.parametrize("ahead", ["pg1", "pg3"])
def test_a_host_that_was_read_later_is_not_diverged(ahead: str) -> None:
    """Clients write while the hosts are read, and the target gets all of it before its promotion."""
    nodes = trio()
    status = next(node["status"] for node in nodes if node["name"] == ahead)
    status["positions"] = {name: lsn and "0/9000000" for name, lsn in status["positions"].items()}
    assert plan_switchover(nodes, "pg2", limits=Limits(lag_bytes=1 << 40)).problems == ()


def test_back_to_the_inventory() -> None:
    nodes = [
        standby("pg1", "pg2", group="primary"),
        primary("pg2", "pg1", "pg3", group="standby"),
        standby("pg3", "pg2"),
    ]
    plan = plan_switchover(nodes, "pg1")
    assert (plan.action, plan.primary, plan.problems) == ("switch", "pg2", ())


def test_nothing_to_do_but_the_rest() -> None:
    plan = plan_switchover(trio(), "pg1")
    assert (plan.action, plan.problems) == ("finish", ())


def test_a_primary_that_was_about_to_step_down_when_the_run_was_killed() -> None:
    nodes = trio()
    nodes[0]["status"]["data_directory"].update(state="standby", signal_files=["standby.signal"])
    plan = plan_switchover(nodes, "pg2")
    assert (plan.action, plan.problems) == ("switch", ())


REFUSALS: list[tuple[str, t.Callable[[], list[Node]], str, str]] = [
    ("unknown", trio, "pg9", "target"),
    ("none", trio, "", "target"),
    ("unread target", lambda: [primary("pg1", "pg3"), host("pg2"), standby("pg3")], "pg2", "target-unread"),
    ("unread sibling", lambda: [primary("pg1", "pg2"), standby("pg2"), host("pg3")], "pg2", "unreachable"),
    ("stopped target", lambda: [primary("pg1"), stopped("pg2")], "pg2", "target-down"),
    (
        "no WAL receiver",
        lambda: [primary("pg1"), standby("pg2", wal_receiver=None)],
        "pg2",
        "target-not-streaming",
    ),
    (
        "catching up",
        lambda: [primary("pg1", wal_senders=[sender("pg2", state="catchup", client_port=40002)]), standby("pg2")],
        "pg2",
        "target-not-streaming",
    ),
    (
        "behind",
        lambda: [primary("pg1", "pg2", positions={"current": "1/5000000"}), standby("pg2")],
        "pg2",
        "lag",
    ),
    (
        "a standby of a standby",
        lambda: [primary("pg1", "pg2"), standby("pg2", wal_senders=[sender("pg3")]), standby("pg3", "pg2")],
        "pg3",
        "target-cascades",
    ),
    (
        "no WAL sender left",
        lambda: [primary("pg1", "pg2"), standby("pg2", settings={"max_wal_senders": "1"})],
        "pg2",
        "senders",
    ),
    (
        "a backup from the target",
        lambda: [primary("pg1", "pg2"), standby("pg2", wal_senders=[sender("", state="backup")])],
        "pg2",
        "backup",
    ),
    (
        "a stopped primary",
        lambda: [stopped("pg1", "primary", "primary", state="shut down", checkpoint_lsn="0/5000000"), standby("pg2")],
        "pg2",
        "primary-down",
    ),
    (
        "no primary, somebody unread",
        lambda: [standby("pg1", group="primary"), standby("pg2"), host("pg3")],
        "pg2",
        "no-primary-unread",
    ),  # fmt: skip
    (
        "no primary, and the old one has more",
        lambda: [standby("pg1", "pg2", group="primary", positions={"replay": "0/5000060"}), standby("pg2")],
        "pg2",
        "behind",
    ),
    (
        "no primary, and the last record of the old one is missing",
        lambda: [stopped("pg1", group="primary", state="shut down", checkpoint_lsn="0/5000000"), standby("pg2")],
        "pg2",
        "behind",
    ),
    (
        "no primary, and somebody is on a newer timeline",
        lambda: [standby("pg1", "pg2", group="primary"), standby("pg2"), standby("pg3", timeline=2)],
        "pg2",
        "behind",
    ),
]


@pytest.mark.parametrize(("nodes", "target", "kind"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_what_is_refused(nodes: t.Callable[[], list[Node]], target: str, kind: str) -> None:
    plan = plan_switchover(nodes(), target)
    assert kind in kinds(plan), plan.problems
    assert all(problem.evidence and problem.remedy for problem in plan.problems)


def test_all_reasons_are_told_at_once() -> None:
    nodes = [primary("pg1", "pg2", positions={"current": "1/5000000"}), standby("pg2"), host("pg3")]
    nodes[1]["status"]["settings"]["max_wal_senders"] = "1"
    assert kinds(plan_switchover(nodes, "pg2")) == ["unreachable", "lag", "senders"]


def test_limits() -> None:
    nodes = [primary("pg1", "pg2", positions={"current": "0/5000100"}), standby("pg2"), host("pg3")]
    assert kinds(plan_switchover(nodes, "pg2", limits=Limits(255))) == ["unreachable", "lag"]
    assert kinds(plan_switchover(nodes, "pg2", limits=Limits(256, leave_unreachable=True))) == []


def test_two_primaries_are_the_gates_matter() -> None:
    plan = plan_switchover([primary("pg1", "pg3"), primary("pg2", group="standby"), standby("pg3")], "pg2")
    assert any(problem.id == "two-primaries" for problem in plan.problems)


# --- What was broken off ---


@pytest.mark.parametrize(
    "old",
    [
        standby("pg1", "pg2", group="primary"),
        stopped("pg1", group="primary", state="shut down", checkpoint_lsn="0/4FFFF88"),
        stopped("pg1", group="primary", state="shut down in recovery", minimum_recovery_lsn="0/5000000"),
    ],
    ids=["runs", "stopped by the shutdown", "stopped as a standby"],
)
def test_a_switch_without_its_promotion_is_completed(old: Node) -> None:
    plan = plan_switchover([old, standby("pg2"), standby("pg3")], "pg2")
    assert (plan.action, plan.promote, plan.problems) == ("complete", "pg2", ())
    assert plan.minimum_lsn in ("0/5000000", "0/4FFFF89")
    assert plan.slots == ("pg1", "pg3")


def test_the_role_can_be_given_back_instead() -> None:
    nodes = [standby("pg1", "pg2", group="primary", positions={"replay": "0/5000060"}), standby("pg2"), standby("pg3")]
    plan = plan_switchover(nodes, "pg1")
    assert (plan.action, plan.promote) == ("complete", "pg1")


@pytest.mark.parametrize(
    ("target", "failed_from", "action"),
    [
        # The record of the shutdown never arrived: the old primary has it, and goes on.
        (standby("pg2", wal_receiver=None), "pg1", "return"),
        (stopped("pg2", state="in archive recovery", minimum_recovery_lsn="0/5000000"), "pg1", "return"),
        # Nobody knows that the target has given up, so nobody else is promoted.
        (standby("pg2", wal_receiver=None), "", "finish"),
        # It arrived after all.
        (standby("pg2", positions={"receive": "0/5000078", "replay": "0/5000000"}), "pg1", "complete"),
    ],
)
def test_a_switch_that_failed(target: Node, failed_from: str, action: str) -> None:
    old = standby("pg1", "pg2", group="primary", positions={"receive": None, "replay": "0/5000078"})
    plan = plan_switchover([old, target], "pg2", failed_from=failed_from)
    assert plan.action == action
    assert plan.promote == {"return": "pg1", "complete": "pg2", "finish": None}[action]
    assert bool(plan.problems) == (action == "finish")


def test_a_promotion_that_nobody_saw_is_no_failure() -> None:
    nodes = [standby("pg1", "pg2", group="primary"), primary("pg2", group="standby", timeline=2)]
    assert plan_switchover(nodes, "pg2", failed_from="pg1").action == "finish"


@pytest.mark.parametrize(
    ("node", "position"),
    [
        (standby("pg2", positions={"receive": "0/100", "replay": "0/200"}), 0x200),
        (stopped("pg2", state="shut down", checkpoint_lsn="0/100"), 0x101),
        (stopped("pg2", state="in production", checkpoint_lsn="0/100"), 0x100),
        (stopped("pg2", state="shut down in recovery", checkpoint_lsn="0/100", minimum_recovery_lsn="0/300"), 0x300),
        (stopped("pg2"), None),
        (host("pg2"), None),
    ],
)
def test_how_far_the_wal_of_a_host_goes(node: Node, position: int | None) -> None:
    found = reach_of(node)
    assert (found.position if found else None) == position


LOOKED = {"target": "pg2", "primary": "pg1"}
CAN: dict[str, t.Any] = {"actions": [], "state": "armed", "point_of_no_return": True}


@pytest.mark.parametrize(
    ("target", "primary_answer", "expected"),
    [
        pytest.param(CAN, CAN, [], id="neither has anything against it"),
        pytest.param(
            {"problems": ["Its replay\n is paused.", "It is late."], "msg": "Nothing was promoted."},
            {"problems": ["Transactions are open."], "msg": "Nothing was changed."},
            ["pg2: Its replay is paused.", "pg2: It is late.", "pg1: Transactions are open."],
            id="each reason by itself, with its host",
        ),
        pytest.param({"msg": "killed"}, CAN, ["pg2: killed"], id="a failure without reasons"),
        pytest.param({"unreachable": True, "msg": "gone"}, CAN, ["pg2: gone"], id="unreachable"),
        pytest.param(None, CAN, ["pg2: it was not asked"], id="not asked"),
        pytest.param({**CAN, "state": "primary"}, CAN, ["pg2 is the primary by now"], id="promoted meanwhile"),
        pytest.param(CAN, {"actions": []}, ["pg1 is a standby by now"], id="stepped down meanwhile"),
    ],
)
def test_what_the_hosts_have_against_it(
    target: dict[str, t.Any] | None, primary_answer: dict[str, t.Any] | None, expected: list[str]
) -> None:
    found = check_problems(LOOKED, {"pg2": target, "pg1": primary_answer})
    assert len(found) == len(expected) and all(text.startswith(word) for text, word in zip(found, expected)), found
