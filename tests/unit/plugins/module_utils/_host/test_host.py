# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is found on a host about an instance."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host import host as host_file
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import look_at_host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import (
    CREATING,
    HostFacts,
    InstanceOptions,
)


@pytest.mark.parametrize(
    ("half_made", "expected"), [(False, "/srv/pg"), (True, "/var/lib/postgresql/15/main")], ids=["made", "half made"]
)
def test_a_half_made_configuration_does_not_say_where_the_data_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half_made: bool, expected: str
) -> None:
    facts = HostFacts(
        distribution="debian", codename="bookworm", families=("debian",), has_systemd=True, is_root=True, clusters=(),
        program_version=150000,
    )  # fmt: skip
    monkeypatch.setattr(host_file, "look_at_facts", lambda *_arguments: facts)
    (tmp_path / "postgresql.conf").write_text("data_directory = '/srv/pg'\n")
    if half_made:
        (tmp_path / CREATING).touch()
    host = look_at_host(InstanceOptions(config_directory=str(tmp_path)), t.cast(t.Any, None), Files())
    assert host.instance.data_directory == expected


@pytest.mark.parametrize("word", [r"/srv\nExecStartPre=+/bin/sh", r"/srv/\033[2J", r"/srv/\r"])
def test_a_data_directory_that_would_be_another_line_of_a_unit_is_refused(tmp_path: Path, word: str) -> None:
    """The account that may write postgresql.conf names it, and root writes the unit."""
    (tmp_path / "postgresql.conf").write_text(f"data_directory = '{word}'\n")
    options = InstanceOptions(layout="custom", version="17", config_directory=str(tmp_path))
    with pytest.raises(ReplicationError, match="control character"):
        look_at_host(options, t.cast(t.Any, None), Files())
