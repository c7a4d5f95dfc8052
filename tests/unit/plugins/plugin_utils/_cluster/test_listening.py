# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.parameters import Needs, compose
from ansible_collections.pgtandem.replication.plugins.plugin_utils._cluster.listening import (
    is_deaf,
    listening_problems,
    not_reached,
    unreached_problems,
)
from ansible_collections.pgtandem.replication.plugins.plugin_utils._role_change.failover import Failover, Wish, takeover
from nodes import Node, empty, host, seen

OWN = ["10.0.0.2", "127.0.0.1", "::1"]


def standby(name: str, on: list[str] | None = None, **changes: t.Any) -> Node:
    own = [f"10.0.0.{name[-1]}", "127.0.0.1"]
    return seen(host(name), "standby", network={"addresses": own, "listens_on": on or ["0.0.0.0"]}, **changes)


def primary(**changes: t.Any) -> Node:
    network = {"addresses": ["10.0.0.1"], "listens_on": ["0.0.0.0", "::"]}
    return seen(host("pg1", "primary"), "primary", network=network, **changes)


def configured(**places: str) -> dict[str, t.Any]:
    names = ("managed", "elsewhere", "auto", "command-line")
    said = {place.replace("_", "-"): {"listen_addresses": value} for place, value in places.items()}
    return {name: said.get(name, {}) for name in names}


@pytest.mark.parametrize(
    ("elsewhere", "written"),
    [
        pytest.param({}, "*", id="nothing"),
        pytest.param({"listen_addresses": "localhost"}, "*", id="as-delivered"),
        pytest.param({"listen_addresses": "localhost,10.0.0.1"}, "localhost,10.0.0.2", id="of-another-host"),
        pytest.param({"listen_addresses": "10.0.0.1"}, "10.0.0.2", id="of-another-host-alone"),
        pytest.param({"listen_addresses": "localhost,10.0.0.2"}, None, id="own"),
        pytest.param({"listen_addresses": "0.0.0.0"}, None, id="everywhere"),
        pytest.param({"listen_addresses": "localhost,pg2"}, None, id="a-name"),
    ],
)
def test_what_came_with_a_copy_is_replaced(elsewhere: dict[str, str], written: str | None) -> None:
    needs = Needs(listen_addresses="*", address="10.0.0.2", own_addresses=OWN)
    assert compose(version=150000, user={}, elsewhere=elsewhere, needs=needs).get("listen_addresses") == written


@pytest.mark.parametrize(
    ("on", "deaf"),
    [(["127.0.0.1"], True), (["0.0.0.0"], False), (["10.0.0.2"], False), (["::"], True), (["10.9.9.9"], True)],
)
def test_where_a_server_listens(on: list[str], deaf: bool) -> None:
    assert is_deaf(standby("pg2", on)) is deaf


def test_what_is_translated_on_the_way_is_not_judged() -> None:
    node = standby("pg2", ["10.0.0.2"])
    node["address"] = "203.0.113.2"
    assert not is_deaf(node)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"auto": "10.0.0.1"}, "ALTER SYSTEM RESET listen_addresses on pg1"),
        ({"elsewhere": "localhost,10.0.0.1"}, ""),
        ({"elsewhere": "*"}, ""),
    ],
)
def test_what_a_copy_brings_along_is_judged_before_it(places: dict[str, str], words: str) -> None:
    new = empty(host("pg2"))
    new["status"]["network"] = {"addresses": OWN, "listens_on": None}
    new["status"]["instance"].update(config_directory="/data", data_directory="/data")
    problems = listening_problems([primary(configured=configured(**places)), new])
    assert [problem.id for problem in problems if problem.hosts == ("pg2",)] == ["host-listens"] * bool(words)
    assert all(words in problem.text for problem in problems if problem.hosts == ("pg2",))


def test_a_variable_that_leaves_its_own_address_out() -> None:
    node = standby("pg2", configured=configured())
    node["listen_addresses"] = "10.0.0.1"
    assert [problem.id for problem in listening_problems([primary(), node])] == ["host-listens"]


@pytest.mark.parametrize(
    ("said", "on", "stops"),
    [
        pytest.param("127.0.0.1", ["10.0.0.2", "127.0.0.1"], False, id="another-process"),
        pytest.param("127.0.0.1", ["127.0.0.1"], True, id="nobody"),
        pytest.param("*", ["0.0.0.0", "::"], True, id="itself-until-it-restarts"),
        pytest.param("pg2", ["10.0.0.2", "127.0.0.1"], True, id="a-name"),
    ],
)
def test_another_process_that_listens_at_its_address(said: str, on: list[str], stops: bool) -> None:
    node = host("pg1", "primary")
    network = {"addresses": ["10.0.0.2", "127.0.0.1"], "listens_on": on}
    node = seen(node, "primary", network=network, settings={"listen_addresses": said}, configured=configured())
    node["address"], node["listen_addresses"] = "10.0.0.2", "127.0.0.1"
    assert [problem.id for problem in listening_problems([node])] == ["host-listens"] * stops


def row(name: str) -> dict[str, t.Any]:
    return {"name": name, "host": f"10.0.0.{name[-1]}", "port": 5432, "reason": "No route to host"}


def test_what_no_other_host_reaches() -> None:
    nodes = [primary(unreached=[row("pg2")]), standby("pg2", unreached=[]), standby("pg3", unreached=[row("pg2")])]
    assert [(one.node["name"], one.by_all) for one in not_reached(nodes)] == [("pg2", True)]
    assert [problem.id for problem in unreached_problems(nodes)] == ["not-reached"]
    nodes[0]["status"]["unreached"] = []
    assert [one.by_all for one in not_reached(nodes)] == [False]
    assert unreached_problems(nodes) == []


def test_one_that_others_reach_takes_over() -> None:
    dead = host("pg1", "primary")
    follows = {"upstream": {"host": "10.0.0.1", "port": 5432}}
    nodes = [dead, standby("pg2", ["127.0.0.1"], **follows), standby("pg3", unreached=[], **follows)]
    found = takeover("main", nodes, Wish())
    assert isinstance(found, Failover) and found.target["name"] == "pg3"
    refused = takeover("main", nodes, Wish(target="pg2"))
    assert isinstance(refused, list) and [problem.id for problem in refused] == ["target-deaf"]
    nodes[1]["status"]["network"]["listens_on"] = ["0.0.0.0"]
    nodes[1]["status"]["unreached"] = [row("pg3")]
    nodes[2]["status"]["unreached"] = [row("pg2")]
    refused = takeover("main", nodes, Wish())
    assert isinstance(refused, list) and [problem.id for problem in refused] == ["target-unreached"]
    found = takeover("main", nodes, Wish(target="pg2"))
    assert isinstance(found, Failover) and any("No route to host" in note for note in found.notes)
