# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loaded by every Python of a test's run: modules come in an archive, whose files are compiled once."""

from __future__ import annotations

import os
import zipimport

if "PGTANDEM_TEST_CACHE" in os.environ:
    from compile_once import compile_once

    zipimport._compile_source = lambda path, source: compile_once(  # type: ignore[attr-defined]
        source.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), path
    )
