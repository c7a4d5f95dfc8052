# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of this folder by their names: keep-clean, run-stages, run-molecule."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from stages import main, runs, scenarios


def keep_clean(words: list[str]) -> int:
    """`keep-clean [--grace SECONDS] COMMAND...`."""
    seconds = 5.0
    if words[:1] == ["--grace"]:
        seconds, words = float(words[1]), words[2:]
    if not words:
        sys.exit("usage: tests/keep-clean [--grace SECONDS] COMMAND...")
    return runs.keep_clean(words, grace=seconds)


if __name__ == "__main__":
    commands = {"keep-clean": keep_clean, "run-stages": main.main, "run-molecule": scenarios.main}
    try:
        sys.exit(commands[sys.argv[1]](sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
