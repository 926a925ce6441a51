"""Grouping rows by key and folding each group's blocks of columns into one row: sums, or maxima.

``numpy.ufunc.reduceat`` pays for every column of every group, so short groups of wide rows are its worst case. Folding
neighbours pairwise costs a few copies of each row instead, whatever the lengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.state.store import SlotArray

Column: TypeAlias = NDArray[np.generic]
Block: TypeAlias = tuple[np.ufunc, Column]  # numpy.add or numpy.maximum, and rows of columns of one type.

# Odd, from the digits of pi: equal keys get equal sums, and unequal ones are told apart by their columns.
_MULTIPLIERS: Final = np.array(
    [
        0x243F6A8885A308D3,
        0x13198A2E03707345,
        0xA4093822299F31D1,
        0x082EFA98EC4E6C89,
        0x452821E638D01377,
        0xBE5466CF34E90C6D,
        0xC0AC29B7C97C50DD,
        0x3F84D5B5B5470917,
        0x9216D5D98979FB1B,
        0xD1310BA698DFB5AD,
        0x2FFD72DBD01ADFB7,
        0xB8E1AFED6A267E97,
    ],
    np.uint64,
)


def group(columns: Sequence[Column]) -> tuple[SlotArray, SlotArray]:
    """Order rows so that equal keys are neighbours: the order, and where each group begins in it.

    At most 12 columns. Groups come in an order that depends on the keys alone.
    """
    total = np.zeros(len(columns[0]), np.uint64)
    for column, multiplier in zip(columns, _MULTIPLIERS, strict=False):
        total += column.astype(np.uint64) * multiplier
    order = np.argsort(total)
    border = np.ones(len(order), np.bool_)
    border[1:] = False
    for column in columns:
        ordered = column[order]
        border[1:] |= ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(border)


def fold(blocks: Sequence[Block], order: SlotArray, starts: SlotArray) -> list[Column]:
    """Fold each group of rows ``order[starts[i]:starts[i + 1]]`` into one; a block for each of ``blocks``."""
    folded = [block.take(order[starts], axis=0) for _, block in blocks]
    lengths = np.diff(starts, append=len(order))
    groups = np.flatnonzero(lengths > 1)
    if not len(groups):
        return folded
    places = order[np.repeat(lengths > 1, lengths)]
    lengths = lengths[groups]
    current = [block for _, block in blocks]
    while len(groups):
        first = np.cumsum(lengths) - lengths
        within = np.arange(len(places)) - np.repeat(first, lengths)
        odd = np.flatnonzero(within & 1)
        even = np.flatnonzero(~within & 1)
        # Before an odd place lie as many even ones as its own number less the odd ones before it.
        partner = odd - 1 - np.arange(len(odd))
        lengths = (lengths + 1) >> 1
        done = lengths == 1
        settled = np.flatnonzero(np.repeat(done, lengths))
        for number, (pick, _) in enumerate(blocks):
            rows = current[number]
            kept = rows.take(places[even], axis=0)
            kept[partner] = pick(kept[partner], rows.take(places[odd], axis=0))
            folded[number][groups[done]] = kept.take(settled, axis=0)
            current[number] = kept
        places = np.flatnonzero(np.repeat(~done, lengths))
        groups, lengths = groups[~done], lengths[~done]
    return folded
