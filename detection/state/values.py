"""Compiled parts of the store: rows to and from the values of the changelog, see ``detection.state.rows``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.compiled import Whole, Words, compiled
from detection.state.places import (
    DIRTY,
    MASKED,
    REQUESTS,
    TAIL,
    clear,
    copy,
    registers_of,
    replay,
    row_of,
    take_registers,
)
from detection.state.rows import HEAD_WORDS, ROW_WORDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detection.state.places import Segments

_SHORTEST: Final = 16
_REGISTERS_FOLLOW: Final = np.uint64(1 << 63)
_ONE: Final = np.uint64(1)


@compiled
def _pack(words: Words, first: Whole, raw: Words, at: Whole) -> Whole:
    mask = np.uint64(0)
    end = at + 1
    for place in range(first, len(words)):
        if words[place]:
            mask |= _ONE << np.uint64(place)
            raw[end] = words[place]
            end += 1
    raw[at] = np.int64(mask)
    return end


@compiled
def encode(slots: NDArray[np.int64], rows: Segments, dense: Segments, raw: Words, ends: NDArray[np.int64]) -> None:
    """Write rows' changelog values after one another; they are no longer dirty. ``raw`` has room for the longest."""
    end = 0
    for place in range(len(slots)):
        row = row_of(rows, slots[place])
        words = row.view(np.int32)
        words[DIRTY] = 0
        raw[end] = row[0]
        start = end + 1
        end = _pack(row[:MASKED], 1, raw, start)  # The first word stands before the mask.
        kept = np.int64(words[TAIL])
        if kept:
            raw[start] = np.int64(np.uint64(raw[start]) | _REGISTERS_FOLLOW)
            end = _pack(registers_of(dense, kept - 1), 0, raw, end)
        ends[place] = end


@compiled
def _bits(mask: np.uint64) -> Whole:
    count = 0
    while mask:
        mask &= mask - _ONE
        count += 1
    return count


@compiled
def well_formed(raw: Words, starts: NDArray[np.int64]) -> bool:
    """Tell whether every value of version 2 is as long as its masks say."""
    for place in range(len(starts) - 1):
        start, end = starts[place], starts[place + 1]
        if end - start < _SHORTEST // 8:
            return False
        mask = np.uint64(raw[start + 1])
        at = start + 2 + _bits(mask & ~_REGISTERS_FOLLOW)
        if mask & _REGISTERS_FOLLOW:
            if at >= end:
                return False
            at += 1 + _bits(np.uint64(raw[at]))
        if at != end:
            return False
    return True


@compiled
def _unpack(raw: Words, at: Whole, mask: np.uint64, words: Words) -> Whole:
    place = 0
    while mask:
        if mask & _ONE:
            words[place] = raw[at]
            at += 1
        mask >>= _ONE
        place += 1
    return at


@compiled
def decode(raw: Words, start: Whole, row: Words, registers: Words) -> None:
    """Read a well-formed value of version 2; ``row`` and ``registers`` are empty. Keeps what the row's tail says."""
    mask = np.uint64(raw[start + 1])
    at = _unpack(raw, start + 2, mask & ~_REGISTERS_FOLLOW, row)
    row[0] = raw[start]
    if mask & _REGISTERS_FOLLOW:
        _unpack(raw, at + 1, np.uint64(raw[at]), registers)


@compiled
def accounts_of(raw: Words, starts: NDArray[np.int64], accounts: NDArray[np.uint64]) -> None:
    """Read the accounts of well-formed values: word 1 of a row, which is never 0 on the wire."""
    row = np.empty(ROW_WORDS, np.int64)
    for place in range(len(starts) - 1):
        mask = np.uint64(raw[starts[place] + 1])
        row[1] = 0
        _unpack(raw, starts[place] + 2, mask & np.uint64(2), row)
        accounts[place] = np.uint64(row[1])


@compiled
def decode_out(raw: Words, starts: NDArray[np.int64], target: NDArray[np.int64]) -> None:
    """Read well-formed values of version 2 as ``ACCOUNT_ROW``; ``target`` is zero."""
    row = np.empty(ROW_WORDS, np.int64)
    for place in range(len(starts) - 1):
        clear(row)
        decode(raw, starts[place], row, target[place, HEAD_WORDS:])
        copy(row[:HEAD_WORDS], target[place])
        if not np.uint64(raw[starts[place] + 1]) & _REGISTERS_FOLLOW:
            replay(row, target[place, HEAD_WORDS:])


@compiled
def load(
    raw: Words,
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    rows: Segments,
    dense: Segments,
    free: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Put well-formed values of version 2 into rows; there is room for the registers of all."""
    for place in range(len(starts) - 1):
        row = row_of(rows, slots[place])
        words = row.view(np.int32)
        kept, dirty = words[TAIL], words[DIRTY]
        clear(row)
        words[DIRTY] = dirty
        follows = np.uint64(raw[starts[place] + 1]) & _REGISTERS_FOLLOW
        if follows:
            if kept:
                words[TAIL] = kept
                clear(registers_of(dense, kept - 1))
            else:
                take_registers(words, dense, free, counts)
        elif kept:
            free[counts[3]] = kept - 1
            counts[3] += 1
        registers = registers_of(dense, np.int64(words[TAIL]) - 1) if follows else row
        decode(raw, starts[place], row, registers)


@compiled
def load_written_out(
    source: NDArray[np.int64],
    slots: NDArray[np.int64],
    rows: Segments,
    dense: Segments,
    free: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Put rows of ``ACCOUNT_ROW`` in place; there is room for the registers of all."""
    for place in range(len(slots)):
        row = row_of(rows, slots[place])
        words = row.view(np.int32)
        copy(source[place, :HEAD_WORDS], row)
        clear(row[HEAD_WORDS:MASKED])
        if words[REQUESTS]:
            kept = np.int64(words[TAIL]) - 1 if words[TAIL] else take_registers(words, dense, free, counts)
            copy(source[place, HEAD_WORDS:], registers_of(dense, kept))
