"""A line chart as SVG, readable by day and by night: for docs, so that what was measured can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 820, 400, 56, 60, 270, 48
COLOURS = ("#0b7285", "#e8590c", "#c2255c", "#e8a33d", "#9c6ade")
STYLE = """<style>text{font:13px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:15px}
.grid{stroke:#8884;stroke-width:1}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>"""


@dataclass(frozen=True)
class Line:
    """One line: its name and its points, x above 0."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(title: str, x_name: str, y_name: str, lines: Sequence[Line], most: float = 100.0) -> str:
    """x on a logarithmic scale, y from 0 to `most`."""
    xs = sorted({x for line in lines for x, _ in line.points})

    def at(x: float, y: float) -> tuple[float, float]:
        along = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
        return LEFT + along * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / most * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>']
    for y in range(0, int(most) + 1, 20):
        left, up = at(xs[0], y)
        parts.append(f'<line class="grid" x1="{left}" y1="{up:.1f}" x2="{WIDTH - RIGHT}" y2="{up:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{up + 4:.1f}" text-anchor="end">{y}</text>')
    for x in xs:
        along, down = at(x, 0)
        parts.append(f'<text x="{along:.1f}" y="{down + 18:.1f}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">{escape(x_name)}</text>')
    parts.append(f'<text x="{LEFT}" y="48" font-size="11">{escape(y_name)}</text>')
    for number, line in enumerate(lines):
        colour, dash = COLOURS[number % len(COLOURS)], "" if number == 0 else ' stroke-dasharray="5 3"'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line.points))
        wide = 3 if number == 0 else 2
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{wide}"{dash}/>')
        high = TOP + 16 + 24 * number
        right = WIDTH - RIGHT + 14
        parts.append(f'<line x1="{right}" y1="{high}" x2="{right + 22}" y2="{high}" stroke="{colour}" '
                     f'stroke-width="{wide}"{dash}/>')  # fmt: skip
        parts.append(f'<text x="{right + 28}" y="{high + 4}">{escape(line.name)}</text>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{STYLE}{"".join(parts)}</svg>\n'
