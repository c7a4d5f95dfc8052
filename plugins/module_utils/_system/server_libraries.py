# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Where a server finds the libraries that it loads."""

from __future__ import annotations

import os

from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files

#: A library that every build of the server has.
_KNOWN_LIBRARY = "plpgsql.so"


def library_folder(files: Files, programs: str) -> str | None:
    """The $libdir of the server whose programs are in a folder; None where it is not known."""
    above = os.path.dirname(programs)
    folders = (f"{above}/lib", f"{above}/lib/postgresql", f"{above}/lib64", f"{above}/lib64/postgresql")
    return next((folder for folder in folders if files.exists(f"{folder}/{_KNOWN_LIBRARY}")), None)
