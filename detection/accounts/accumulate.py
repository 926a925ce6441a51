"""Adding requests to account rows: integer sums, registers and panes, a block of columns at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.sketches.hyperloglog import offers
from detection.state.rows import (
    BIAS_REGISTERS,
    CELL_BITS,
    COUNTERS,
    FLAG_COUNTERS,
    HOURS,
    PANES,
    RING,
    SUMS,
    TEMPLATE_COUNTERS,
    TEMPLATE_REGISTERS,
    WIDTH,
    offset_of,
)

if TYPE_CHECKING:
    from detection.accounts.derive import Derived
    from detection.state.store import RowStore, SlotArray

TEMPLATE_RUNG: Final = 1  # Of the prefix ladder: the first 16 words.
_HOUR_MS: Final = 3_600_000
_WORDS: Final = WIDTH // 4
_LONGS: Final = WIDTH // 8
_SIGNS: Final = 1 << np.arange(CELL_BITS)


def accumulate(store: RowStore, piece: Derived) -> None:
    """Add requests, of each account a run that follows on what its row holds; the piece is not empty."""
    events, slots, starts = piece.events, piece.slots, piece.starts
    ends = np.append(starts[1:], len(slots)) - 1
    touched = slots[starts]
    rows = store.rows
    counters = np.empty((len(slots), len(COUNTERS)), np.int32)
    flags = len(FLAG_COUNTERS)
    counters[:, :flags] = piece.bits[:, :flags]
    counters[:, flags] = 1
    for place, column in enumerate((piece.young, piece.burst, piece.continued, piece.late), flags + 1):
        counters[:, place] = column
    sums = piece.sums
    store.counters_block(COUNTERS[0], len(COUNTERS))[touched] += np.add.reduceat(
        counters, starts, axis=0, dtype=np.int32
    )
    store.sums_block(SUMS[0], len(SUMS))[touched] += np.add.reduceat(sums, starts, axis=0)

    time = np.ascontiguousarray(events["time"])
    first = rows["first_seen"][touched]
    rows["first_seen"][touched] = np.where(piece.before[starts] > 0, first, time[starts])
    rows["last_seen"][touched] = np.maximum(rows["last_seen"][touched], np.maximum.reduceat(time, starts))
    rows["previous_time"][touched] = time[ends]
    rows["asof"][touched] = piece.offsets[ends]
    named = np.maximum.reduceat(np.ascontiguousarray(events["organization"]), starts)
    rows["organization"][touched] = np.maximum(rows["organization"][touched], named)

    _remember_prompts(store, piece, ends)
    _fill_panes(store, piece)
    _fill_sketches(store, piece)
    store.touch(touched)


def _remember_prompts(store: RowStore, piece: Derived, ends: SlotArray) -> None:
    # Of more than RING requests the last ones stay; each place is then written once.
    slots = piece.slots
    last = np.repeat(ends, np.diff(ends, prepend=-1))
    kept = np.flatnonzero(last - np.arange(len(slots)) < RING)
    places = slots[kept] * _LONGS + offset_of("prompts") // 8 + piece.before[kept] % RING
    store.longs[places] = piece.events["boundaries"][kept, -1].view(np.int64)


def _fill_panes(store: RowStore, piece: Derived) -> None:
    words, longs = store.words, store.longs
    hop = piece.hop
    pane = hop % PANES
    at_words = piece.slots * _WORDS + pane
    at_longs = piece.slots * _LONGS + pane
    stale = np.flatnonzero(words[at_words + offset_of("pane_hop") // 4] != hop)
    if len(stale):
        for name in ("pane_requests", "pane_errors", "pane_late"):
            words[at_words[stale] + offset_of(name) // 4] = 0
        for name in ("pane_input", "pane_output"):
            longs[at_longs[stale] + offset_of(name) // 8] = 0
        words[at_words[stale] + offset_of("pane_hop") // 4] = hop[stale]
    sums = piece.sums
    np.add.at(words, at_words + offset_of("pane_requests") // 4, 1)
    np.add.at(longs, at_longs + offset_of("pane_input") // 8, np.ascontiguousarray(sums[:, 0]))
    np.add.at(longs, at_longs + offset_of("pane_output") // 8, np.ascontiguousarray(sums[:, 1]))
    for name, column in (
        ("pane_errors", piece.bits[:, FLAG_COUNTERS.index("errors")]),
        ("pane_late", piece.late),
    ):
        some = np.flatnonzero(column)
        np.add.at(words, at_words[some] + offset_of(name) // 4, 1)


def _fill_sketches(store: RowStore, piece: Derived) -> None:
    events, slots = piece.events, piece.slots
    words, octets = store.words, store.octets
    hours = (events["time"] // _HOUR_MS) % HOURS
    np.add.at(words, slots * _WORDS + offset_of("hours") // 4 + hours, 1)
    at = slots * WIDTH
    np.maximum.at(octets, at + offset_of("turns") + piece.turn_places, piece.turn_ranks)
    np.maximum.at(octets, at + offset_of("responses") + piece.response_places, piece.response_ranks)

    templates = np.ascontiguousarray(events["prefix"][:, TEMPLATE_RUNG])
    places, ranks = offers(templates, TEMPLATE_REGISTERS)
    np.maximum.at(octets, at + offset_of("templates") + places, ranks)
    present = np.flatnonzero(templates)
    # The high half: the low bits have chosen the register already, and a shared choice would tie the two sketches.
    counters = ((templates[present] >> np.uint64(32)) % np.uint64(TEMPLATE_COUNTERS)).astype(np.intp)
    np.add.at(words, slots[present] * _WORDS + offset_of("templates_counted") // 4 + counters, 1)

    biased = np.flatnonzero(events["bias"])
    if len(biased):
        places, ranks = offers(np.ascontiguousarray(events["bias"][biased]), BIAS_REGISTERS)
        np.maximum.at(octets, at[biased] + offset_of("biases") + places, ranks)

    directions = np.ascontiguousarray(events["projection"][:, :CELL_BITS])
    projected = np.flatnonzero(directions.any(axis=1))
    cells = (directions[projected] > 0) @ _SIGNS
    # Setting bits on the unsigned view: bit 63 is a sign on the other.
    longs = store.longs.view(np.uint64)
    bit = np.uint64(1) << (cells & 63).astype(np.uint64)
    np.bitwise_or.at(longs, slots[projected] * _LONGS + offset_of("cells") // 8 + (cells >> 6), bit)
