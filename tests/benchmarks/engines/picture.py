"""The report's bars as SVG, on a logarithmic scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_LEFT, _WIDTH, _HEIGHT = 190, 520, 30
_COLOURS: Final = {"floor": "#9aa5b1", "stillwatch": "#0b7285"}


def draw(report: dict[str, Any], path: Path) -> None:
    """Write one bar for each engine: the median, and the range of the runs as a line."""
    medians = dict(sorted(report["cpu_us_per_event"].items(), key=lambda item: item[1]))
    largest = max(run["cpu_us"] for name in medians for run in report["runs_of"][name])
    scale = _WIDTH / math.log10(largest)
    wide, high = _LEFT + _WIDTH + 90, _HEIGHT * len(medians) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="20">CPU for each event, us, logarithmic: {report["workload"]}, one pinned core</text>',
    ]
    for row, (name, median) in enumerate(medians.items()):
        y = 34 + row * _HEIGHT
        low, top = (
            _LEFT + scale * math.log10(of(run["cpu_us"] for run in report["runs_of"][name])) for of in (min, max)
        )
        colour = _COLOURS.get(name, "#d9773b")
        width = scale * math.log10(max(median, 1.01))
        lines += [
            f'<text x="{_LEFT - 8}" y="{y + 16}" text-anchor="end">{name.replace("_", " ")}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_HEIGHT - 8}" fill="{colour}"/>',
            f'<line x1="{low:.1f}" x2="{top:.1f}" y1="{y + 11}" y2="{y + 11}" stroke="black"/>',
            f'<text x="{top + 6:.1f}" y="{y + 16}">{median:.1f}</text>',
        ]
    path.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8")
