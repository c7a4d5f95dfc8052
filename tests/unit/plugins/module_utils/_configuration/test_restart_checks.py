# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would keep a server from starting on a host."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._configuration.restart_checks import (
    start_conf_problem,
    start_problems,
)
from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from stand_ins import host_on


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "data").mkdir()
    (tmp_path / "lib").mkdir()
    for name in ("plpgsql.so", "auto_explain.so"):
        (tmp_path / "lib" / name).touch()
    for name, mode in (("server.crt", 0o644), ("server.key", 0o600), ("open.key", 0o644)):
        (tmp_path / "data" / name).touch(mode=mode)
    return host_on(tmp_path, bin_directory=f"{tmp_path}/bin")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ""),
        ({"shared_preload_libraries": "auto_explain, '$libdir/auto_explain'".replace("'", '"')}, ""),
        ({"shared_preload_libraries": "auto_explain, gone"}, "'gone'"),
        ({"shared_preload_libraries": "/nowhere/gone"}, "/nowhere"),
        ({"shared_preload_libraries": "gone", "dynamic_library_path": "/nowhere:$libdir"}, "/nowhere"),
        ({"ssl": "on"}, ""),
        ({"ssl": "off", "ssl_cert_file": "/nowhere"}, ""),
        ({"ssl": "on", "ssl_cert_file": "/nowhere/server.crt"}, "ssl_cert_file is /nowhere/server.crt"),
        ({"ssl": "on", "ssl_key_file": "open.key"}, "0644"),
        ({"ssl": "on", "ssl_ca_file": "gone.crt"}, "data/gone.crt"),
        ({"shared_buffers": "128MB"}, ""),
        ({"shared_buffers": "9000TB"}, "shared_buffers is 9000 TB"),
    ],
)
def test_start_problems(host: Host, values: dict[str, str], words: str) -> None:
    found = start_problems(host, values)
    assert len(found) == bool(words) and all(words in text for text in found), found


def test_the_file_that_starts_a_cluster_of_debians(host: Host, tmp_path: Path) -> None:
    instance = dataclasses.replace(host.instance, layout="debian", config_directory=str(tmp_path))
    debian = dataclasses.replace(host, instance=instance)
    assert start_conf_problem(debian) == ""
    (tmp_path / "start.conf").write_text("# auto\nmanual\n")
    assert start_conf_problem(debian) == ""
    (tmp_path / "start.conf").write_text("disabled # for now\n")
    assert "start.conf says disabled" in start_conf_problem(debian)
    assert start_conf_problem(host) == ""
