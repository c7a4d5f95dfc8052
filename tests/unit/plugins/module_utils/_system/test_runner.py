# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError
from ansible_collections.pgtandem.replication.plugins.module_utils._system.runner import ModuleRunner


def runner() -> ModuleRunner:
    return ModuleRunner(t.cast(t.Any, None))


def test_a_program_ends_with_the_line_that_was_waited_for(tmp_path: Path) -> None:
    later = tmp_path / "later"
    script = f"echo first; echo need to copy 3 MB >&2; sleep 60; touch {later}"
    done = runner().run_until(["/bin/sh", "-c", script], word="need to copy")
    assert done == (0, "first\nneed to copy 3 MB\n", "")
    assert not later.exists()


def test_a_program_that_never_says_it_is_waited_for() -> None:
    done = runner().run_until(["/bin/sh", "-c", "echo $LC_ALL; echo no >&2; exit 3"], word="need to copy")
    assert done == (3, "C\nno\n", "")


def test_a_program_that_does_not_end_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with patch_module_args({}):
        real = ModuleRunner(basic.AnsibleModule({}))
    with pytest.raises(ReplicationError, match="cat did not end within 1 s and was killed"):
        real.run(["cat", str(tmp_path / "pipe")], seconds=1, check=False)
    assert real.run(["echo", "x"], seconds=1).stdout == "x\n"
