"""Lines over time as an SVG, without a library: a picture is for looking at beside the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777", "#222222")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 900, 420, 60, 40, 170, 40


def draw(samples: Sequence[dict[str, Any]], field: str, title: str) -> str:
    """Draw one line for each process of ``samples``, over minutes."""
    minutes = max((sample["seconds"] for sample in samples), default=0.0) / 60 or 1.0
    most = max((told[field] for sample in samples for told in sample["processes"].values()), default=0.0) * 1.05 or 1.0
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(seconds: float, value: float) -> str:
        return f"{_LEFT + wide * seconds / 60 / minutes:.1f},{_TOP + high * (1 - value / most):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="14">{title}</text>',
    ]
    for step in range(5):
        y = _TOP + high * step / 4
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * (1 - step / 4):.0f}</text>')
        x = _LEFT + wide * step / 4
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{minutes * step / 4:.0f}</text>')
    for number, name in enumerate(sorted({name for sample in samples for name in sample["processes"]})):
        points = [
            place(sample["seconds"], sample["processes"][name][field])
            for sample in samples
            if name in sample["processes"]
        ]
        colour = _COLOURS[number % len(_COLOURS)]
        dash = ' stroke-dasharray="4 3"' if number >= len(_COLOURS) else ""
        parts.append(f'<polyline fill="none" stroke="{colour}"{dash} points="{" ".join(points)}"/>')
        y = _TOP + 14 * number
        parts.append(f'<text x="{_WIDTH - _RIGHT + 12}" y="{y}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
