# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures in rounds, their medians and ratios, and a page of tables that each subject fills its own part of."""

from __future__ import annotations

import math
import os
import re
import statistics
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/benchmarks.md"


class Figures:
    """Values by what was measured: `figures["collection", "wall"]` is a list with one value a round."""

    def __init__(self) -> None:
        self._values: dict[tuple[t.Any, ...], list[float]] = {}

    def add(self, *key: t.Any, value: float) -> None:
        """Keep one value."""
        self._values.setdefault(key, []).append(value)

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()

    def __getitem__(self, key: tuple[t.Any, ...]) -> list[float]:
        return self._values.get(key, [])

    def median(self, *key: t.Any) -> float:
        """The median of the rounds; not a number where there was none."""
        return statistics.median(self[key]) if self[key] else float("nan")

    def ratio(self, one: tuple[t.Any, ...], other: tuple[t.Any, ...]) -> float:
        """The median of the ratios round by round, so that a machine that slows down does not count."""
        pairs = [a / b for a, b in zip(self[one], self[other]) if b]
        return statistics.median(pairs) if pairs else float("nan")


def in_rounds(
    rounds: int, contenders: t.Mapping[str, t.Callable[[], None]], after: t.Callable[[int], None], minutes: float = 1e6
) -> None:
    """Call each in turn, and all of them again the other way round: A B C C B A, so that none is always the first.

    C(after) each of them, with the round's number, the figures may be shown. No round is begun after so many minutes.
    """
    end = time.monotonic() + 60 * minutes
    for number in range(1, rounds + 1):
        turns = list(contenders.items())
        for name, contender in turns if number % 2 else reversed(turns):
            print(f"round {number}: {name} (load {os.getloadavg()[0]:.1f})", flush=True)
            contender()
            # Also an interrupted run has figures to show.
            after(number)
        if time.monotonic() > end:
            return


def shown(value: float, digits: int = 1) -> str:
    """A figure as the tables have it."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def times(value: float) -> str:
    """A ratio as the tables have it."""
    return "-" if math.isnan(value) else f"{value:.2f}x"


def table(head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> str:
    """A table of Markdown; all columns but the first are right-aligned."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def goals(rows: t.Iterable[tuple[str, float, float]]) -> str:
    """A table of goals: in words, the most that it may be, what was measured."""
    lines = []
    for text, most, value in rows:
        verdict = "-" if math.isnan(value) else "met" if value <= most else f"missed by {100 * (value / most - 1):.0f}%"
        lines.append([text, f"{most:.2f}", shown(value, 2), verdict])
    return "\n\n" + table(["goal", "at most", "here", ""], lines)


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Put a subject's part into the page, between its two marks, and say when and on what it was measured."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    old = page.read_text(encoding="utf-8")
    if begin not in old or end not in old:
        raise SystemExit(f"{page} has no marks {begin} and {end}.")
    taken = f"Taken {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC on {machine()}."
    part = f"{begin}\n\n{text.strip()}\n\n{taken}\n\n{end}"
    page.write_text(re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: part, old, flags=re.DOTALL), "utf-8")
    print(f"\n{text}\n\n{taken}")


def machine() -> str:
    """The machine in a few words."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} processors ({model.group(1) if model else 'unknown'}), load at the end {load}"
