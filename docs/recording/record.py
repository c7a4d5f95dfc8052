# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the README's picture of a terminal from a real run: .venv/bin/python docs/recording/record.py

Runs the demo twice, and draws what they print in the end as docs/recording/demo.svg. README.md and docs/quickstart.md
quote the first of the two; a test compares them with the picture. By an account that is not root's, as most have it:
root's first run changes two things more.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 118


def printed(command: str) -> list[str]:
    """What a command prints, as to a terminal."""
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", f"stty cols {WIDTH}; {command}", "/dev/null"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout.replace("\r", "").splitlines()


def from_line(lines: list[str], pattern: str) -> list[str]:
    """The lines from the last one that has the pattern."""
    starts = [number for number, line in enumerate(lines) if re.search(pattern, line)]
    return lines[starts[-1] :]


def main() -> None:
    """Record."""
    if os.geteuid() == 0:
        sys.exit("record.py: not as root, whose first run changes more than what README.md quotes")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")

    def show(command: str, lines: list[str]) -> None:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        for line in lines:
            console.print(Text.from_ansi(line))

    subprocess.run(["make", "demo-clean"], cwd=ROOT, check=True, capture_output=True)
    show("make demo", ["..."] + [line for line in from_line(printed("make demo"), r"PLAY \[Show the topology") if line])
    again = from_line(printed("make demo"), "PLAY RECAP")
    show("make demo   # again: there is nothing to do", ["..."] + [line for line in again if line])
    drawn = console.export_svg(title="pgtandem.replication")
    # The picture needs nothing from elsewhere: the reader's own monospaced font will do.
    drawn = re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL)
    Path(__file__).with_name("demo.svg").write_text(drawn, encoding="utf-8")
    subprocess.run(["make", "demo-clean"], cwd=ROOT, check=True, capture_output=True)


if __name__ == "__main__":
    main()
