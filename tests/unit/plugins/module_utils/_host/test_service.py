# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose server it is, and what is done about one of another hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._host import service as service_file
from ansible_collections.pgtandem.replication.plugins.module_utils._host.service import SystemdService
from ansible_collections.pgtandem.replication.plugins.module_utils._system.processes import Postmaster
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import Completed
from stand_ins import NoRunner, host_on

RUNNING = Postmaster(4711, 5432, "/run/postgresql", "*", "ready", 1795366034)


class Systemd(SystemdService):
    """A service whose server runs as said; C(main) is what systemd takes for its main process."""

    def __init__(self, folder: Path, *, main: str = "0") -> None:
        self.runner = NoRunner(Completed(0, main, ""))
        super().__init__(dataclasses.replace(host_on(folder), runner=self.runner), 30)

    @property
    def ran(self) -> list[str]:
        return [" ".join(words[:2]) for words in self.runner.ran if words[1] in ("stop", "start")]


@pytest.mark.parametrize(
    ("running", "group", "main", "stranger"),
    [
        (None, False, "0", False),
        (RUNNING, True, "0", False),
        (RUNNING, False, "4711", False),
        (RUNNING, False, "0", True),
        (RUNNING, False, "12", True),
    ],
)
def test_whose_server_it_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    running: Postmaster | None,
    group: bool,
    main: str,
    stranger: bool,
) -> None:
    monkeypatch.setattr(service_file, "find_postmaster", lambda _host: running)
    monkeypatch.setattr(service_file, "runs_in_unit", lambda _pid, _unit: group)
    said = Systemd(tmp_path, main=main).stranger()
    assert ("process 4711" in said) is stranger


@pytest.mark.parametrize("known", [True, False])
def test_a_stranger_is_stopped_by_pg_ctl_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    monkeypatch.setattr(service_file, "find_postmaster", lambda _host: RUNNING)
    monkeypatch.setattr(service_file, "runs_in_unit", lambda _pid, _unit: known)
    service = Systemd(tmp_path)
    service.stop()
    pg_ctl = [] if known else ["/bin-17/pg_ctl stop"]
    assert service.ran == [*pg_ctl, "systemctl stop"]


def test_a_restart_that_leaves_the_same_process_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_file, "find_postmaster", lambda _host: RUNNING)
    service = Systemd(tmp_path)
    monkeypatch.setattr(service, "start", lambda: None)
    monkeypatch.setattr(service, "stop", lambda: None)
    with pytest.raises(ReplicationError, match="process 4711 still runs"):
        service.restart()
