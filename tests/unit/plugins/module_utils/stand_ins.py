# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on a temporary folder, whose programs are not run."""

from __future__ import annotations

import os
import pwd
import typing as t
from pathlib import Path

from ansible_collections.pgtandem.replication.plugins.module_utils._host.host import Host
from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import Completed, Runner
from ansible_collections.pgtandem.replication.plugins.module_utils._values.layout import (
    HostFacts,
    InstanceOptions,
    resolve,
)


class NoRunner(Runner):
    """Remembers what it was to run; C(answer) is what each program prints."""

    def __init__(self, answer: Completed = Completed(0, "", "")) -> None:  # noqa: B008
        self.ran: list[list[str]] = []
        self.answer = answer

    def run(self, argv: t.Sequence[str], **_unused: t.Any) -> Completed:  # type: ignore[override]
        self.ran.append(list(argv))
        return self.answer

    def run_until(self, argv: t.Sequence[str], *, word: str, user: str | None = None) -> Completed:
        return self.run(argv)


def host_on(folder: Path, **options: t.Any) -> Host:
    said = {
        "layout": "custom",
        "version": "17",
        "bin_directory": "/bin-17",
        "data_directory": str(folder / "data"),
        "os_user": pwd.getpwuid(os.geteuid()).pw_name,
        **options,
    }
    facts = HostFacts(has_systemd=True, is_root=True)
    return Host(resolve(InstanceOptions(**said), facts), facts, NoRunner(), Files())
