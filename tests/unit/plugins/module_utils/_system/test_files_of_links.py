# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are replaced in one step."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files


def test_what_a_killed_run_left_beside_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    """It may hold a password."""
    for name in (".pass.a1b2c3d_", ".pass.notes", ".other.a1b2c3d_", "pass.a1b2c3d_"):
        (tmp_path / name).write_text("half")
    Files().write_text(str(tmp_path / "pass"), "secret", mode=0o600)
    assert sorted(os.listdir(tmp_path)) == [".other.a1b2c3d_", ".pass.notes", "pass", "pass.a1b2c3d_"]
