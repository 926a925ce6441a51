"""Compiled parts of the store: finding accounts, reaching rows, and rows to and from the bytes of the changelog.

Rows lie in segments that double in size, so that growing adds one and moves nothing. A segment is a flat array of
8-byte words; ``segments`` is always a tuple of ``SEGMENTS`` of them, those not needed yet empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.compiled import Whole, Words, compiled
from detection.state.rows import (
    DENSE_WORDS,
    HEAD_WORDS,
    LOG_BYTES,
    LOG_WORDS,
    LOGGED,
    PANES,
    ROW_WORDS,
    VERSION,
    offset_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Segments = tuple[Words, ...]

WORD: Final = 8  # Bytes.
SEGMENTS: Final = 14
FIRST_BITS: Final = 10
FIRST: Final = 1 << FIRST_BITS  # Rows of the first two segments; each later one has twice as many.

TAIL: Final = 2 * (ROW_WORDS - 1)  # As a 4-byte word: the registers' slot plus 1, 0 for none; after it the dirty mark.
DIRTY: Final = TAIL + 1
MASKED: Final = HEAD_WORDS + LOG_WORDS
REQUESTS: Final = offset_of("requests") // 4
PANE_HOP: Final = offset_of("pane_hop") // 4
ASOF: Final = offset_of("asof") // 8
CELLS: Final = 0  # Within the registers: words, 4-byte words, then bytes.
HOURS_AT: Final = (offset_of("hours") - 8 * HEAD_WORDS) // 4
COUNTED: Final = (offset_of("templates_counted") - 8 * HEAD_WORDS) // 4
TURNS: Final = offset_of("turns") - 8 * HEAD_WORDS
RESPONSES: Final = offset_of("responses") - 8 * HEAD_WORDS
TEMPLATES: Final = offset_of("templates") - 8 * HEAD_WORDS
BIASES: Final = offset_of("biases") - 8 * HEAD_WORDS
_LOG_AT: Final = 8 * HEAD_WORDS
_ONE: Final = np.uint64(1)
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(24)


@compiled
def copy(source: Words, target: Words) -> None:
    """Copy as much as ``source`` holds. An assignment of slices would do, and take ten times as long to compile."""
    for place in range(len(source)):
        target[place] = source[place]


@compiled
def clear(target: Words) -> None:
    """Set everything to 0."""
    for place in range(len(target)):
        target[place] = 0


@compiled
def segment_of(slot: Whole) -> tuple[Whole, Whole]:
    """Give a slot's segment and its place in there."""
    high = slot >> FIRST_BITS
    number = 0
    while high:
        high >>= 1
        number += 1
    return number, slot - (FIRST << (number - 1)) if number else slot


@compiled
def row_of(segments: Segments, slot: Whole) -> Words:
    """View one row's words."""
    number, place = segment_of(slot)
    return segments[number][place * ROW_WORDS : (place + 1) * ROW_WORDS]


@compiled
def registers_of(segments: Segments, slot: Whole) -> Words:
    """View one account's registers."""
    number, place = segment_of(slot)
    return segments[number][place * DENSE_WORDS : (place + 1) * DENSE_WORDS]


@compiled
def find(keys: NDArray[np.uint64], slots: NDArray[np.int32], account: np.uint64) -> Whole:
    """Give the place of an account in the index, or of the gap where it belongs (``slots`` is -1 there)."""
    mask = len(keys) - 1
    at = np.int64((account * _SPREAD) >> _SHIFT) & mask
    while slots[at] >= 0 and keys[at] != account:
        at = (at + 1) & mask
    return at


@compiled
def index_again(keys: NDArray[np.uint64], slots: NDArray[np.int32], rows: Segments, used: Whole) -> None:
    """Fill an empty index with the rows in use; freed ones have version 0."""
    for slot in range(used):
        row = row_of(rows, slot)
        if row[0]:
            account = np.uint64(row[1])
            at = find(keys, slots, account)
            keys[at] = account
            slots[at] = slot


@compiled
def open_row(
    keys: NDArray[np.uint64],
    slots: NDArray[np.int32],
    at: Whole,
    account: np.uint64,
    rows: Segments,
    free: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> Whole:
    """Start an account's row at a gap of the index; there is room. ``counts`` are rows used, rows free."""
    if counts[1]:
        counts[1] -= 1
        slot = np.int64(free[counts[1]])
    else:
        slot = counts[0]
        counts[0] += 1
    keys[at] = account
    slots[at] = slot
    row = row_of(rows, slot)
    clear(row)
    row[0] = VERSION
    row[1] = np.int64(account)
    row[ASOF] = -1
    words = row.view(np.int32)
    for pane in range(PANES):
        words[PANE_HOP + pane] = -1
    return slot


@compiled
def mark(words: NDArray[np.int32], slot: Whole, dirty: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
    """Note a row as changed, once."""
    if not words[DIRTY]:
        words[DIRTY] = 1
        dirty[counts[4]] = slot
        counts[4] += 1


@compiled
def slots_of(
    accounts: NDArray[np.uint64],
    found: NDArray[np.int64],
    keys: NDArray[np.uint64],
    slots: NDArray[np.int32],
    rows: Segments,
    free: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Find or start each account's row; there is room for all."""
    for place in range(len(accounts)):
        at = find(keys, slots, accounts[place])
        if slots[at] < 0:
            found[place] = open_row(keys, slots, at, accounts[place], rows, free, counts)
        else:
            found[place] = slots[at]


@compiled
def take_registers(
    words: NDArray[np.int32], dense: Segments, free: NDArray[np.int32], counts: NDArray[np.int64]
) -> Whole:
    """Give empty registers to a row that has none; there is room. ``counts[2:4]`` are registers used, and free."""
    if counts[3]:
        counts[3] -= 1
        slot = np.int64(free[counts[3]])
    else:
        slot = counts[2]
        counts[2] += 1
    words[TAIL] = slot + 1
    clear(registers_of(dense, slot))
    return slot


@compiled
def add_sketches(registers: Words, entry: NDArray[np.uint8], at: Whole) -> None:
    """Add one logged request to registers. The log's bytes: four offers of place and rank, counter, hour, cell."""
    octets = registers.view(np.uint8)
    words = registers.view(np.int32)
    for place, rank, base in (
        (entry[at], entry[at + 1], TURNS),
        (entry[at + 2], entry[at + 3], RESPONSES),
        (entry[at + 4], entry[at + 5], TEMPLATES),
        (entry[at + 6], entry[at + 7], BIASES),
    ):
        octets[base + place] = max(octets[base + place], rank)
    if entry[at + 8]:
        words[COUNTED + entry[at + 8] - 1] += 1
    words[HOURS_AT + entry[at + 9]] += 1
    if entry[at + 11]:
        cell = np.int64(entry[at + 10])
        registers[CELLS + (cell >> 6)] |= np.int64(_ONE << np.uint64(cell & 63))


@compiled
def replay(row: Words, registers: Words) -> None:
    """Add a row's whole log to registers."""
    octets = row.view(np.uint8)
    for number in range(min(row.view(np.int32)[REQUESTS], LOGGED)):
        add_sketches(registers, octets, _LOG_AT + number * LOG_BYTES)


@compiled
def write_out(row: Words, dense: Segments, target: Words) -> None:
    """Write a row as ``ACCOUNT_ROW``."""
    copy(row[:HEAD_WORDS], target)
    kept = np.int64(row.view(np.int32)[TAIL])
    if kept:
        copy(registers_of(dense, kept - 1), target[HEAD_WORDS:])
    else:
        clear(target[HEAD_WORDS:])
        replay(row, target[HEAD_WORDS:])


@compiled
def write_out_many(slots: NDArray[np.int64], rows: Segments, dense: Segments, target: NDArray[np.int64]) -> None:
    """Write rows as ``ACCOUNT_ROW``, in the order of slots."""
    for place in range(len(slots)):
        write_out(row_of(rows, slots[place]), dense, target[place])


@compiled
def in_pane(rows: Segments, used: Whole, pane: Whole, hop: Whole, found: NDArray[np.int64]) -> Whole:
    """Find the rows that have something in a hop: how many, their slots in ``found``."""
    count = 0
    for slot in range(used):
        if row_of(rows, slot).view(np.int32)[PANE_HOP + pane] == hop:
            found[count] = slot
            count += 1
    return count


@compiled
def column(rows: Segments, used: Whole, at: Whole, values: Words) -> None:
    """Copy one 8-byte field of every slot; of freed ones 0."""
    for slot in range(used):
        row = row_of(rows, slot)
        values[slot] = row[at] if row[0] else 0


@compiled
def put_words(
    slots: NDArray[np.int64],
    at: Whole,
    values: Words,
    rows: Segments,
    dirty: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Set an 8-byte field of rows."""
    for place in range(len(slots)):
        row = row_of(rows, slots[place])
        row[at] = values[place]
        mark(row.view(np.int32), slots[place], dirty, counts)


@compiled
def put_halves(
    slots: NDArray[np.int64],
    at: Whole,
    values: Words,
    rows: Segments,
    dirty: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Set a 4-byte field of rows."""
    for place in range(len(slots)):
        words = row_of(rows, slots[place]).view(np.int32)
        words[at] = values[place]
        mark(words, slots[place], dirty, counts)


@compiled
def forget(
    slots: NDArray[np.int64],
    rows: Segments,
    free: NDArray[np.int32],
    dense_free: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Free rows and their registers. The index and the dirty list are the caller's."""
    for place in range(len(slots)):
        row = row_of(rows, slots[place])
        kept = row.view(np.int32)[TAIL]
        if kept:
            dense_free[counts[3]] = kept - 1
            counts[3] += 1
        clear(row)
        free[counts[1]] = slots[place]
        counts[1] += 1
