# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the runs of a session share what each of them would make again: the code of files, and modules' archives."""

from __future__ import annotations

import os
import sys
import typing as t
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.utils.collection_loader import _collection_finder
from compile_once import compile_once  # from PYTHONPATH
from jinja2 import Environment

DOCUMENTATION = r"""
name: share_work
type: aggregate
short_description: Share work between runs
description: Keeps code and archives in the folder of the environment variable PGTANDEM_TEST_CACHE.
"""


_compile_template = Environment.compile


def compile_template_once(self: Environment, source: t.Any, *names: t.Any, **options: t.Any) -> t.Any:
    """The code of a template or of an expression's tree; each worker of a run would compile it again."""
    if names or any(options.values()):
        return _compile_template(self, source, *names, **options)
    signs = (self.block_start_string, self.variable_start_string, self.comment_start_string, self.line_statement_prefix)
    way = f"{type(self).__name__} {signs} {self.trim_blocks} {self.lstrip_blocks} {self.keep_trailing_newline}"
    return compile_once(f"{way} {source!r}", "<template>", lambda _text, _name: _compile_template(self, source))


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "share_work"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        Environment.compile = compile_template_once
        _collection_finder.compile = lambda source, filename, **_same: compile_once(source, filename)
        # Ansible keeps archives for the time of a run, under names that tell modules and their compression apart.
        archives = Path(os.environ["PGTANDEM_TEST_CACHE"], "archives", os.path.basename(sys.prefix))
        archives.mkdir(parents=True, exist_ok=True)
        Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(archives)
