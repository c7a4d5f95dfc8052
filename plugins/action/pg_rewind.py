# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.pgtandem.replication.plugins.plugin_utils._controller.foreign import SecretsActionBase


class ActionModule(SecretsActionBase):
    """Run the module, and keep its passwords from callback plugins."""
