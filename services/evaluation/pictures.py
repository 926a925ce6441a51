"""Pictures of a result, as SVG text: bars by recipe and by honest crowd. Equal results give equal bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from services.evaluation.prequential import MAIN, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROW: Final = 24
_LABEL: Final = 190
_BAR: Final = 420
_WIDTH: Final = _LABEL + _BAR + 70
_HEAD: Final = 46
_COLOURS: Final = ("#2b6cb0", "#dd8a2e")
_STYLE: Final = "font-family:sans-serif;font-size:12px"


def recipes_picture(result: Result) -> str:
    """Draw for each recipe the share of its accounts that are named, and of its requests that came after."""
    variant = next(each for each in result.variants if each.name == MAIN)
    rows = [
        (f"{row.recipe}{' *' if row.held_out else ''}", (row.covered_share or 0.0, row.share_after or 0.0))
        for row in variant.recipes
    ]
    return _bars("By recipe (* held out)", ("accounts named", "requests after the first incident"), rows)


def crowds_picture(result: Result) -> str:
    """Draw for each honest crowd the share of its customers that are accused, and asked."""
    variant = next(each for each in result.variants if each.name == MAIN)
    rows = [(row.crowd, (row.touched / row.customers, row.asked / row.customers)) for row in variant.crowds]
    return _bars("Honest customers", ("accused", "asked"), rows)


def _bars(title: str, names: tuple[str, str], rows: Sequence[tuple[str, tuple[float, float]]]) -> str:
    height = _HEAD + _ROW * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" style="{_STYLE}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>',
    ]
    for place, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
        left = _LABEL + 220 * place
        parts.append(f'<rect x="{left}" y="26" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{left + 15}" y="35">{escape(name)}</text>')
    for place, (label, shares) in enumerate(rows):
        top = _HEAD + _ROW * place
        parts.append(f'<text x="{_LABEL - 8}" y="{top + 15}" text-anchor="end">{escape(label)}</text>')
        for bar, (share, colour) in enumerate(zip(shares, _COLOURS, strict=True)):
            width = round(_BAR * min(max(share, 0.0), 1.0), 1)
            parts.append(f'<rect x="{_LABEL}" y="{top + 2 + 10 * bar}" width="{width}" height="8" fill="{colour}"/>')
            parts.append(f'<text x="{_LABEL + width + 4}" y="{top + 9 + 10 * bar}" font-size="9">{share:.0%}</text>')
    return "\n".join([*parts, "</svg>", ""])
