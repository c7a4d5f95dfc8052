# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Where everything of a picture goes: plain numbers for the template, which makes SVG of them. Pure."""

from __future__ import annotations

import math
import typing as t

Member = t.Mapping[str, t.Any]

BOX_HEIGHT = 86.0
ROW_GAP = 22.0


class Shape(t.NamedTuple):
    """The measures of a layout."""

    box_width: float
    #: How far a level is to the right of the one above, from left edge to left edge.
    step: float
    #: Standbys stand below their upstream and not beside it.
    stacked: bool
    #: Letters that fit into a box.
    letters: int


#: Beside each other for a desk, below each other for a phone.
WIDE = Shape(250, 440, False, 30)
NARROW = Shape(272, 30, True, 33)


def shorten(text: str, letters: int) -> str:
    """A text that fits, its end cut off where it does not.

    >>> shorten("pg1.example.com", 8), shorten("pg1", 8)
    ('pg1.exa…', 'pg1')
    """
    return text if len(text) <= letters else text[: letters - 1] + "…"


def layout(members: t.Sequence[Member], shape: Shape) -> dict[str, t.Any]:
    """Boxes and edges of a cluster's tree."""
    names = {member["name"]: member for member in members}
    boxes: list[dict[str, t.Any]] = []
    edges: list[dict[str, t.Any]] = []
    row = 0.0

    def place(name: str, level: int) -> dict[str, t.Any]:
        nonlocal row
        box = {"name": name, "x": level * shape.step, "y": row, "level": level}
        done[name] = box
        boxes.append(box)
        below = [other for other in names[name]["downstream"] if other in names and other not in done]
        height = BOX_HEIGHT + ROW_GAP + (18 if shape.stacked else 0)
        if shape.stacked or not below:
            row += height
        children = [place(other, level + 1) for other in below]
        if children and not shape.stacked:
            box["y"] = (children[0]["y"] + children[-1]["y"]) / 2
        edges.extend(_edge(box, child, shape) for child in children)
        return box

    done: dict[str, dict[str, t.Any]] = {}
    order = {"primary": 0, "standby": 1}
    roots = sorted(
        (member for member in members if member["level"] == 0),
        key=lambda one: (not one["read"], order.get(one["role"], 2), one["name"]),
    )
    for member in (*roots, *members):
        if member["name"] not in done:
            place(member["name"], 0)
    return {
        "boxes": boxes,
        "edges": edges,
        "box_width": shape.box_width,
        "box_height": BOX_HEIGHT,
        "letters": shape.letters,
        "stacked": shape.stacked,
        "width": max((box["x"] for box in boxes), default=0) + shape.box_width,
        "height": max((box["y"] for box in boxes), default=0) + BOX_HEIGHT,
    }


def _edge(above: dict[str, t.Any], below: dict[str, t.Any], shape: Shape) -> dict[str, t.Any]:
    middle = BOX_HEIGHT / 2
    x, y = below["x"], below["y"] + middle
    if shape.stacked:
        start = above["x"] + 14
        path = f"M{start:g} {above['y'] + BOX_HEIGHT:g} V{y:g} H{x:g}"
        return {"name": below["name"], "path": path, "x": x + 6, "y": below["y"] - 8, "lag_y": None}
    left, top = above["x"] + shape.box_width, above["y"] + middle
    bend = left + 40
    path = f"M{left:g} {top:g} C{bend:g} {top:g} {bend - 10:g} {y:g} {left + 50:g} {y:g} H{x:g}"
    return {"name": below["name"], "path": path, "x": left + 54, "y": y - 7, "lag_y": y + 17}


def nice_limit(value: float) -> float:
    """The next round number, for the top of an axis.

    >>> nice_limit(0), nice_limit(7), nice_limit(1300)
    (1.0, 10.0, 2000.0)
    """
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


class Series(t.NamedTuple):
    """A line of a plot: seconds and values."""

    name: str
    points: tuple[tuple[float, float], ...]


def lag_series(members: t.Sequence[Member]) -> list[Series]:
    """The lag of each standby over the sampling window, as its upstream saw it or else as it saw itself."""
    names = {member["name"]: member for member in members}
    found = []
    for member in members:
        connection = member["connection"]
        if not connection:
            continue
        upstream = names.get(member["upstream"]["name"] or "")
        points = []
        for sample in (upstream or {}).get("samples") or []:
            for row in sample["standbys"]:
                if row["application_name"] == connection["application_name"] and row["lag_bytes"] is not None:
                    points.append((float(sample["seconds"]), float(row["lag_bytes"])))
        if not points:
            points = [
                (float(sample["seconds"]), float(sample["lag_bytes"]))
                for sample in member["samples"]
                if sample["lag_bytes"] is not None
            ]
        if len(points) > 1:
            found.append(Series(member["name"], tuple(points)))
    return found


def plot(series: t.Sequence[Series], *, width: float, height: float) -> dict[str, t.Any]:
    """The lines of a plot of bytes over seconds, with its axes."""
    left, right, top, bottom = 66.0, 14.0, 12.0, 34.0
    end = max((point[0] for one in series for point in one.points), default=1.0) or 1.0
    limit = _bytes_limit(max((point[1] for one in series for point in one.points), default=0.0))
    across, down = width - left - right, height - top - bottom

    def place(point: tuple[float, float]) -> str:
        return f"{left + point[0] / end * across:.1f},{top + down - point[1] / limit * down:.1f}"

    return {
        "width": width,
        "height": height,
        "left": left,
        "right": width - right,
        "bottom": height - bottom,
        "lines": [{"name": one.name, "points": " ".join(map(place, one.points))} for one in series],
        "rows": [{"y": round(top + down - down * part / 4, 1), "value": limit * part / 4} for part in range(5)],
        "columns": [{"x": round(left + across * part / 4, 1), "value": end * part / 4} for part in range(5)],
    }


def _bytes_limit(value: float) -> float:
    """A round number of bytes, kilobytes and so on, that four rows divide well."""
    unit = 1.0
    while value / unit >= 1024:
        unit *= 1024
    return max(4.0, nice_limit(value / unit) * unit)


def summary(series: Series) -> dict[str, t.Any]:
    """A line of a plot in numbers, for who cannot see it."""
    values = sorted(value for _seconds, value in series.points)
    return {
        "name": series.name,
        "least": int(values[0]),
        "median": int(values[len(values) // 2]),
        "most": int(values[-1]),
        "last": int(series.points[-1][1]),
        "looks": len(values),
    }
