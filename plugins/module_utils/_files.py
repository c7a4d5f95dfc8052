# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""The name by which older parts know `_system.files`."""

from __future__ import annotations

from ansible_collections.pgtandem.replication.plugins.module_utils._system.files import Files, RootFiles

__all__ = ["Files", "RootFiles"]
