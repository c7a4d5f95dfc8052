# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host as the inventory describes it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.variables import (
    defaults,
    node_from,
    place_from,
)

GROUPS = {"primary": ["pg1"], "standby": ["pg2"], "masters": ["pg2"]}


def made(name: str = "pg1", **variables: t.Any) -> dict[str, t.Any]:
    return node_from(name, variables.get, GROUPS)


def test_the_defaults_are_filled_in() -> None:
    node = made()
    assert (node["cluster"], node["port"], node["groups"], node["slots"]) == ("main", 5432, ["primary"], True)
    assert node["has_password"] is False and node["status"] is None
    assert node["options"]["layout"] == defaults()["pgtandem_layout"]


ADDRESSES = [
    ({}, "pg1"),
    ({"ansible_host": "10.0.0.1"}, "10.0.0.1"),
    ({"ansible_host": "10.0.0.1", "pgtandem_address": "pg1.example.com"}, "pg1.example.com"),
    ({"ansible_connection": "local"}, "127.0.0.1"),
    ({"ansible_connection": "local", "pgtandem_address": "10.0.0.1"}, "10.0.0.1"),
]


@pytest.mark.parametrize(("variables", "address"), ADDRESSES)
def test_the_address(variables: dict[str, str], address: str) -> None:
    assert made(**variables)["address"] == address
    place = place_from("pg1", {**variables, "pgtandem_port": "5433"}.get)
    assert place == {"name": "pg1", "host": address, "port": 5433, "cluster": "main"}


@pytest.mark.parametrize(
    ("password", "has", "fits"),
    [(None, False, True), ("", False, True), ("a: \\b", True, True), ("a\nb", True, False), ("a\0b", True, False)],
)
def test_a_password_is_only_judged(password: str | None, has: bool, fits: bool) -> None:
    node = made(pgtandem_replication_password=password)
    assert (node["has_password"], node["password_fits_file"]) == (has, fits)
    assert not password or password not in str(node)


def test_groups_of_other_names() -> None:
    assert made("pg2", pgtandem_primary_group="masters")["groups"] == ["primary", "standby"]
    assert made("pg9")["groups"] == []


def test_types_from_text() -> None:
    node = made(pgtandem_port="5433", pgtandem_version=17, pgtandem_upstream=None, pgtandem_parameters=None)
    assert (node["port"], node["options"]["version"], node["upstream"], node["parameters"]) == (5433, "17", "", {})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", "nonsense", "pgtandem_port is 'nonsense', and has to be a whole number"),
        ("port", True, "pgtandem_port is 'on'"),
        ("hba_rules", "host all all all trust", "has to be a list"),
        ("parameters", ["work_mem"], "has to be a dictionary"),
        ("slots", "perhaps", "has to be true or false"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_and_not_taken(name: str, value: t.Any, words: str) -> None:
    node = made(**{f"pgtandem_{name}": value})
    (told,) = node["wrong"]
    assert words in told
    assert node[name] == defaults()[f"pgtandem_{name}"]


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("port", "5433", 5433),
        ("slots", "no", False),
        ("manage_packages", "false", False),
        ("cluster", None, "main"),
        ("hba_rules", None, []),
        ("parameters", "", {}),
        ("listen_addresses", "", ""),
    ],
)
def test_a_value_from_the_command_line_or_null_is_what_it_means(name: str, value: t.Any, taken: t.Any) -> None:
    node = made(**{f"pgtandem_{name}": value})
    assert node[name] == taken and node["wrong"] == []
