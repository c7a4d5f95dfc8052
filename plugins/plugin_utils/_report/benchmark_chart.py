# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""A benchmark as a table for a terminal and as a picture that needs nothing else. Pure."""

from __future__ import annotations

import html
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._values.amounts import shown_bytes

Row = t.Mapping[str, t.Any]

#: What is measured of each level: title, key, and how a value is written.
PANELS: tuple[tuple[str, str, t.Callable[[t.Any], str]], ...] = (
    ("transactions a second", "tps", lambda value: f"{value:.0f}"),
    ("latency, ms", "latency_ms", lambda value: f"{value:.2f}"),
    ("replay lag at most", "lag_bytes_most", shown_bytes),
)
_HEAD = (
    "level",
    "tps",
    "of the first",
    "latency ms",
    "stddev ms",
    "lag, median",
    "lag, most",
    "replay lag s",
    "failed",
)
_BAR, _GAP, _LEFT, _WIDTH = 22, 10, 110, 640
#: The longest bar in a terminal.
_COLUMNS = 48


def label(level: str) -> str:
    """A level as people call it.

    >>> label("local"), label("on")
    ('local (asynchronous)', 'on')
    """
    return {"local": "local (asynchronous)", "off": "off (not even local)"}.get(level, level)


def _number(value: t.Any, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def cells(levels: t.Sequence[Row]) -> list[list[str]]:
    """The table, its head first."""
    first = levels[0]["tps"] if levels else 0
    return [
        list(_HEAD),
        *(
            [
                label(row["level"]),
                _number(row["tps"], 0),
                f"{row['tps'] / first:.0%}" if first else "",
                _number(row["latency_ms"], 2),
                _number(row["latency_stddev_ms"], 2),
                shown_bytes(row["lag_bytes_median"]),
                shown_bytes(row["lag_bytes_most"]),
                _number(row["replay_lag_seconds_most"], 3),
                str(row["failed"]),
            ]
            for row in levels
        ),
    ]


def table(levels: t.Sequence[Row]) -> list[str]:
    """The table as lines, numbers to the right."""
    found = cells(levels)
    widths = [max(len(row[column]) for row in found) for column in range(len(_HEAD))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in found
    ]


def bars(levels: t.Sequence[Row]) -> list[str]:
    """The picture for a terminal: three groups of bars, each from zero, in eighths of a character."""
    found = []
    for title, key, text in PANELS:
        found += ["", title]
        most = max((float(row[key] or 0) for row in levels), default=0.0) or 1.0
        for row in levels:
            value = row[key]
            eighths = round(float(value or 0) / most * _COLUMNS * 8)
            drawn = "\u2588" * (eighths // 8) + ("", *"\u258f\u258e\u258d\u258c\u258b\u258a\u2589")[eighths % 8]
            said = "unknown" if value is None else text(value)
            found.append("  ".join(["", f"{row['level']:>12}", " ".join(filter(None, [drawn, said]))]))
    return found


def svg(levels: t.Sequence[Row]) -> str:
    """Three groups of bars, each from zero, in the colour of the text around them."""
    parts, top = [], 0
    for title, key, text in PANELS:
        parts.append(f'<text x="0" y="{top + 16}" font-weight="bold">{html.escape(title)}</text>')
        top += 26
        most = max((float(row[key] or 0) for row in levels), default=0.0) or 1.0
        for row in levels:
            value = row[key]
            length = float(value or 0) / most * (_WIDTH - _LEFT - 90)
            said = "unknown" if value is None else text(value)
            middle = top + _BAR * 0.72
            parts.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{html.escape(row["level"])}</text>')
            parts.append(
                f'<rect x="{_LEFT}" y="{top}" width="{max(length, 1):.1f}" height="{_BAR}" rx="2" fill="#3b82c4"/>'
            )
            parts.append(f'<text x="{_LEFT + length + 8:.1f}" y="{middle:.0f}">{html.escape(said)}</text>')
            top += _BAR + 4
        top += _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13" fill="currentColor">\n'
        "<title>Throughput, latency and lag of each level of synchronous_commit</title>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def page(levels: t.Sequence[Row], about: str) -> str:
    """Picture and table as one HTML file without network and script."""
    head, *rows = cells(levels)

    def line(tag: str, row: t.Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n<title>Benchmark of replication</title>\n'
        "<style>body { font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }\n"
        "svg { max-width: 100%; height: auto }\n.scroll { overflow-x: auto }\n"
        "td, th { padding: .2rem .7rem; text-align: right; white-space: nowrap }\n"
        "td:first-child, th:first-child { text-align: left }</style>\n</head>\n<body>\n"
        f"<h1>Benchmark of replication</h1>\n<p>{html.escape(about)}</p>\n{svg(levels)}"
        f'<div class="scroll" role="region" aria-label="Figures" tabindex="0"><table>\n{line("th", head)}\n'
        + "\n".join(line("td", row) for row in rows)
        + "\n</table></div>\n</body>\n</html>\n"
    )
