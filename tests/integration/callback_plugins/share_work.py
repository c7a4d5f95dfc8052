# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the runs of a session share what each of them would make again: the code of files, and modules' archives."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.utils.collection_loader import _collection_finder
from compile_once import compile_once  # from PYTHONPATH

DOCUMENTATION = r"""
name: share_work
type: aggregate
short_description: Share work between runs
description: Keeps code and archives in the folder of the environment variable PGTANDEM_TEST_CACHE.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "share_work"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        _collection_finder.compile = lambda source, filename, **_same: compile_once(source, filename)
        # Ansible keeps archives for the time of a run, under names that tell modules and their compression apart.
        archives = Path(os.environ["PGTANDEM_TEST_CACHE"], "archives", os.path.basename(sys.prefix))
        archives.mkdir(parents=True, exist_ok=True)
        Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(archives)
