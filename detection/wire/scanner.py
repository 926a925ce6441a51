"""Requests as they lie on the wire, read by a compiled scanner straight into ``EVENT`` columns.

It knows the plain form alone: each name of request.v1 at most once, no white space but a blank behind ``:`` and ``,``,
strings of printable ASCII without escapes, whole numbers of few digits, canonical base64. A record of any other form is
left to the strict decoder (``schemas.columns``), and only that one ever refuses a record. So the scanner owes one
thing: what it reads, the strict decoder reads alike.

Settings and clients are hashed by their values, of which there are few: the scanner knows them by their bytes, from
records that the strict decoder has read before it.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import EVENT, Flag
from detection.compiled import Whole, Words, compiled
from detection.wire.fields import (
    CLIENT,
    CLIENT_WORD,
    COLUMNS,
    CONFIGURATION_WORD,
    COUNT,
    DEFAULTS,
    ERROR_TYPE,
    FINISH,
    FLAGGED,
    FLAGS,
    HALVES,
    IN_SKETCH,
    LETTERS,
    NEEDED,
    NEEDED_IN_SKETCH,
    OUTER,
    SETTINGS,
    SIZES,
    TEXT_FLAGS,
)
from detection.wire.values import (
    BLANK,
    CLOSE,
    COLON,
    COMMA,
    IS_401,
    IS_403,
    IS_NULL,
    OPEN,
    PAD,
    QUOTE,
    past_value,
    reads,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detection.columns import Int64Array, StructuredArray

    Octets = NDArray[np.uint8]

LONGEST: Final = 8_192  # Octets of a record that is scanned.
KNOWN: Final = 1_024  # Settings and clients that are known by their bytes.
LEFT, READ, UNKNOWN = range(3)  # UNKNOWN: plain, but of settings or a client that are not known yet.
_UNAVAILABLE, _ERROR = int(Flag.TEXT_UNAVAILABLE), int(Flag.ERROR)
_REJECTED, _TRUNCATED = int(Flag.REJECTED), int(Flag.TRUNCATED)
_SHIFT, _PRIME, _SEED = np.uint64(29), np.uint64(0x100000001B3), np.uint64(0xCBF29CE484222325)


@compiled
def _field_named(data: Octets, at: Whole, low: Whole, high: Whole, guess: Whole) -> Whole:
    """Find which of the fields ``low`` to ``high`` a name is, the expected one first; -1 for none."""
    if data[at] != QUOTE:
        return -1
    for step in range(high - low):
        field = guess + step if guess + step < high else guess + step - (high - low)
        size = SIZES[field]
        if data[at + 1 + size] != QUOTE:
            continue
        place = size - 1
        while place >= 0 and data[at + 1 + place] == LETTERS[field, place]:
            place -= 1
        if place < 0:
            return field
    return -1


@compiled
def _scan(data: Octets, at: Whole, stop: Whole, row: Octets, found: Words, spans: Words, spare: Octets) -> Whole:  # noqa: C901, PLR0911, PLR0912 - one walk over a record
    """Read a record's fields; gives which of them it has, as bits, or 0 where it is not plain."""
    if stop - at > LONGEST or data[at] != OPEN:
        return 0
    seen = np.int64(0)
    low, high, guess = 0, OUTER, 0
    while at < stop:
        at += 1  # Past what opens, or parts from the field before.
        if data[at] == BLANK and data[at - 1] == COMMA:
            at += 1
        field = _field_named(data, at, low, high, guess)
        if field < 0 or seen >> field & 1:
            return 0
        seen |= np.int64(1) << field
        at += SIZES[field] + 2
        if data[at] != COLON:
            return 0
        at += 2 if data[at + 1] == BLANK else 1
        guess = field + 1 if field + 1 < high else low
        if field == IN_SKETCH:
            if data[at] == OPEN:
                low, high, guess = OUTER, COUNT, OUTER
                continue
            if not reads(data, at, IS_NULL):
                return 0
            end = at + 4
        else:
            end = past_value(data, at, field, row, found, spare)
        if end < 0:
            return 0
        spans[field, 0], spans[field, 1] = at, end
        at = end
        if low and data[at] == CLOSE:
            if seen & NEEDED_IN_SKETCH != NEEDED_IN_SKETCH:
                return 0
            low, high, guess = 0, OUTER, 0
            at += 1
        if data[at] == CLOSE and not low:
            return seen if at + 1 == stop and seen & NEEDED == NEEDED else 0
        if data[at] != COMMA:
            return 0
    return 0


@compiled
def _settings_key(data: Octets, seen: Whole, spans: Words, key: Octets) -> Whole:
    """Write the settings' own bytes, parted by zeros; give how many."""
    size = 0
    for field in SETTINGS:
        if seen >> field & 1:
            for place in range(spans[field, 0], spans[field, 1]):
                key[size] = data[place]
                size += 1
        key[size] = 0
        size += 1
    return size


@compiled
def _client_key(data: Octets, spans: Words, key: Octets) -> Whole:
    """Write a client's own bytes; unlike any settings they begin with a zero."""
    key[0] = 0
    size = 1
    for place in range(spans[CLIENT, 0], spans[CLIENT, 1]):
        key[size] = data[place]
        size += 1
    return size


@compiled
def _place_of(key: Octets, size: Whole, sizes: Words, keys: Octets) -> Whole:
    """Find a key's place among the known ones, or the gap where it belongs."""
    mixed = _SEED
    for place in range(size):
        mixed = (mixed ^ np.uint64(key[place])) * _PRIME
    mask = len(sizes) - 1
    at = np.int64(mixed >> _SHIFT) & mask
    while sizes[at]:
        if sizes[at] == size and reads(keys[at], 0, key[:size]):
            return at
        at = (at + 1) & mask
    return at


@compiled
def _write(data: Octets, seen: Whole, words: Words, found: Words, spans: Words) -> None:
    for place in range(len(COLUMNS)):
        words[COLUMNS[place, 1]] = found[COLUMNS[place, 0]]
    halves = words.view(np.int32)
    for place in range(len(HALVES)):
        halves[HALVES[place, 1]] = found[HALVES[place, 0]]
    flags = found[TEXT_FLAGS] if seen >> OUTER & 1 else np.int64(_UNAVAILABLE)
    for place in range(len(FLAGGED)):
        if found[FLAGGED[place, 0]] > FLAGGED[place, 1]:
            flags |= FLAGGED[place, 2]
    if found[FINISH]:
        flags |= _TRUNCATED
    if seen >> ERROR_TYPE & 1:
        at, end = spans[ERROR_TYPE]
        if end - at > 2:  # noqa: PLR2004 - quotes
            flags |= _ERROR
            if reads(data, at, IS_401) or reads(data, at, IS_403):
                flags |= _REJECTED
    halves[FLAGS] = flags


@compiled
def _scan_all(
    data: Octets, ends: Words, rows: Words, sizes: Words, keys: Octets, known: Words, verdicts: NDArray[np.int8]
) -> None:
    """Read records into rows of words; ``known`` are the hashes of the keys."""
    found, spans = np.empty(COUNT, np.int64), np.zeros((COUNT, 2), np.int64)
    spare, key = np.empty(256, np.uint8), np.empty(512, np.uint8)
    start = np.int64(0)
    for number in range(len(ends)):
        words, stop = rows[number], ends[number]
        for place in range(COUNT):
            found[place] = DEFAULTS[place]
        seen = _scan(data, start, stop, words.view(np.uint8), found, spans, spare)
        verdicts[number] = LEFT
        if seen:
            verdicts[number] = READ
            at = _place_of(key, _settings_key(data, seen, spans, key), sizes, keys)
            if not sizes[at]:
                verdicts[number] = UNKNOWN
            words[CONFIGURATION_WORD] = known[at]
            if seen >> CLIENT & 1 and spans[CLIENT, 1] - spans[CLIENT, 0] > 2:  # noqa: PLR2004 - quotes
                at = _place_of(key, _client_key(data, spans, key), sizes, keys)
                if not sizes[at]:
                    verdicts[number] = UNKNOWN
                words[CLIENT_WORD] = known[at]
            _write(data, seen, words, found, spans)
        start = stop


@compiled
def _remember(data: Octets, row: Words, sizes: Words, keys: Octets, known: Words) -> Whole:
    """Learn the settings and the client of a record that the strict decoder has read; give how many were new."""
    found, spans = np.empty(COUNT, np.int64), np.zeros((COUNT, 2), np.int64)
    spare, key, spoilt = np.empty(256, np.uint8), np.empty(512, np.uint8), np.empty(8 * len(row), np.uint8)
    seen = _scan(data, 0, len(data) - len(PAD), spoilt, found, spans, spare)
    new = 0
    for own, word in ((0, CONFIGURATION_WORD), (1, CLIENT_WORD)):
        if own and not (seen >> CLIENT & 1 and row[word]):
            continue
        size = _client_key(data, spans, key) if own else _settings_key(data, seen, spans, key)
        at = _place_of(key, size, sizes, keys)
        if not sizes[at]:
            keys[at, :size] = key[:size]
            known[at] = row[word]
            sizes[at] = size
            new += 1
    return new


class Scanner:
    """Reads what is plain, and remembers settings and clients. Threads take turns."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sizes = np.zeros(4 * KNOWN, np.int64)  # Of known keys; 0 where there is none.
        self._keys = np.zeros((4 * KNOWN, 256), np.uint8)
        self._hashes = np.zeros(4 * KNOWN, np.int64)
        self._count = 0

    def read(self, values: Sequence[bytes]) -> tuple[StructuredArray, NDArray[np.int8]]:
        """Give ``EVENT`` columns, and READ for each record that is in them; the rows of the others mean nothing."""
        columns = np.zeros(len(values), EVENT)
        verdicts = np.zeros(len(values), np.int8)
        if len(values):
            data = np.frombuffer(b"".join((*values, PAD)), np.uint8)
            ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
            rows = columns.view(np.int64).reshape(len(values), -1)
            with self._lock:
                _scan_all(data, ends, rows, self._sizes, self._keys, self._hashes, verdicts)
        return columns, verdicts

    def remember(self, values: Sequence[bytes], columns: StructuredArray, places: Int64Array) -> None:
        """Learn from records that were UNKNOWN and that the strict decoder has read since, into the same columns."""
        rows = columns.view(np.int64).reshape(len(columns), -1)
        with self._lock:
            for place in places.tolist():
                if self._count > KNOWN - 2:
                    # Whoever makes up settings again and again is read by the strict decoder.
                    self._sizes[:] = 0
                    self._count = 0
                data = np.frombuffer(values[place] + PAD, np.uint8)
                self._count += _remember(data, rows[place], self._sizes, self._keys, self._hashes)
