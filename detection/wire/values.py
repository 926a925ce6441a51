"""The values of a plain record, one compiled reader for each kind: past the value, or -1 where it is not plain.

Readers look ahead of what they have checked, by less than ``PAD``.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.compiled import Whole, Words, compiled
from detection.wire.fields import (
    ACCOUNT,
    BOOLEAN,
    BOUNDARIES,
    BOUNDARIES_AT,
    IDENTIFIER,
    KINDS,
    LADDER,
    LADDER_AT,
    LIMITS,
    MOST_NAMES,
    NAME,
    NAMES,
    NUMBER_OR_NULL,
    PROJECTION,
    PROJECTION_AT,
    SEGMENTS,
    TAG,
    WHOLE,
    WHOLE_OR_NULL,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Octets = NDArray[np.uint8]

_NONE: Final = 255
_HEX: Final = np.full(256, _NONE, np.uint8)
_HEX[list(b"0123456789abcdef")] = np.arange(16)
_SIXTY_FOUR: Final = np.full(256, _NONE, np.uint8)
_SIXTY_FOUR[list((string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/").encode())] = np.arange(64)
_PLAIN: Final = np.zeros(256, np.bool_)  # Characters of a string that stand for themselves.
_PLAIN[0x20:0x7F] = True
_PLAIN[list(b'"\\')] = False
_NUMERIC: Final = np.zeros(256, np.bool_)
_NUMERIC[list(b"0123456789+-.eE")] = True
QUOTE, COLON, COMMA, BLANK, _EQUALS = list(b'":, =')
OPEN, CLOSE, _BEGIN, _END = list(b"{}[]")
_ZERO, _NINE = list(b"09")
_IS_TAG, IS_NULL, _IS_TRUE, _IS_FALSE, _IS_LENGTH, IS_401, IS_403 = (
    np.frombuffer(text, np.uint8)
    for text in (b'"request.v1"', b"null", b"true", b"false", b'"length"', b'"401"', b'"403"')
)
PAD: Final = bytes(256)  # Behind the last record: nothing that is looked at before it is checked lies further away.
_DIGITS: Final = 16
_FOUR: Final = np.uint64(4)
_LADDER_OCTETS, _PROJECTION_OCTETS, _SEGMENT_OCTETS, _BOUNDARY_OCTETS = 72, 32, 128, 32


@compiled
def reads(data: Octets, at: Whole, text: Octets) -> bool:
    """Tell whether a text stands there."""
    for place in range(len(text)):  # noqa: SIM110 - compiled
        if data[at + place] != text[place]:
            return False
    return True


@compiled
def past_text(data: Octets, at: Whole, most: Whole) -> Whole:
    """Give the place behind a string of at most so many characters, or -1."""
    if data[at] != QUOTE:
        return -1
    end = at + 1
    while _PLAIN[data[end]]:
        end += 1
    return end + 1 if data[end] == QUOTE and end - at - 1 <= most else -1


@compiled
def _past_digits(data: Octets, at: Whole, most: Whole, found: Words, field: Whole) -> Whole:
    end, value = at, np.int64(0)
    while _ZERO <= data[end] <= _NINE and end - at <= most:
        value = 10 * value + (np.int64(data[end]) - _ZERO)
        end += 1
    if end == at or end - at > most or (data[at] == _ZERO and end - at > 1):
        return -1
    found[field] = value
    return end


@compiled
def _past_identifier(data: Octets, at: Whole, may_lack: bool, found: Words, field: Whole) -> Whole:
    if data[at] != QUOTE:
        return -1
    if data[at + 1] == QUOTE:
        return at + 2 if may_lack else -1
    value, bad = np.uint64(0), 0
    for place in range(at + 1, at + 1 + _DIGITS):
        digit = _HEX[data[place]]
        bad |= digit
        value = value << _FOUR | np.uint64(digit)
    if bad >= _DIGITS or data[at + 1 + _DIGITS] != QUOTE:
        return -1
    found[field] = np.int64(value)
    return at + 2 + _DIGITS


@compiled
def _past_octets(  # noqa: C901 - quads, what is behind them, and what pads them
    data: Octets, at: Whole, least: Whole, most: Whole, row: Octets, column: Whole, aligned: Whole
) -> Whole:
    """Read canonical base64 of ``least`` to ``most`` octets into the row, to the right of ``aligned`` octets."""
    if data[at] != QUOTE:
        return -1
    end = at + 1
    while _SIXTY_FOUR[data[end]] != _NONE:
        end += 1
    letters = end - at - 1
    count = letters * 3 // 4
    pad = (4 - letters % 4) % 4
    if pad == 3 or not least <= count <= most:  # noqa: PLR2004 - no octet has a single letter
        return -1
    place = column + max(0, aligned - count)
    rest = at + 1 + letters // 4 * 4
    for each in range(at + 1, rest, 4):
        word = np.int64(0)
        for step in range(4):
            word = word << 6 | np.int64(_SIXTY_FOUR[data[each + step]])
        row[place], row[place + 1], row[place + 2] = word >> 16, word >> 8, word
        place += 3
    bits, held = np.int64(0), 0
    for each in range(rest, end):
        bits = bits << 6 | np.int64(_SIXTY_FOUR[data[each]])
        held += 6
        if held >= 8:  # noqa: PLR2004 - bits of an octet
            held -= 8
            row[place] = bits >> held
            place += 1
            bits &= (1 << held) - 1
    if bits:
        return -1
    for _ in range(pad):
        if data[end] != _EQUALS:
            return -1
        end += 1
    return end + 1 if data[end] == QUOTE else -1


@compiled
def _past_names(data: Octets, at: Whole, most: Whole, found: Words, field: Whole) -> Whole:
    if data[at] != _BEGIN:
        return -1
    at += 1
    if data[at] == _END:
        return at + 1
    for _ in range(MOST_NAMES):
        found[field] |= np.int64(reads(data, at, _IS_LENGTH))
        at = past_text(data, at, most)
        if at < 0 or data[at] == _END:
            break
        if data[at] != COMMA:
            return -1
        at += 1
        if data[at] == BLANK:
            at += 1
    return at + 1 if at >= 0 and data[at] == _END else -1


@compiled
def past_value(data: Octets, at: Whole, field: Whole, row: Octets, found: Words, spare: Octets) -> Whole:  # noqa: C901, PLR0911, PLR0912 - one branch for each kind
    """Read a value of the field's kind: numbers into ``found``, octets into the row or, if not kept, ``spare``."""
    kind, limit = KINDS[field], LIMITS[field]
    if kind == WHOLE:
        return _past_digits(data, at, limit, found, field)
    if kind in (IDENTIFIER, ACCOUNT):
        return _past_identifier(data, at, kind == IDENTIFIER, found, field)
    if kind == NAME:
        return past_text(data, at, limit)
    if kind == BOOLEAN:
        found[field] = np.int64(reads(data, at, _IS_TRUE))
        if found[field]:
            return at + 4
        return at + 5 if reads(data, at, _IS_FALSE) else -1
    if kind == WHOLE_OR_NULL:
        return at + 4 if reads(data, at, IS_NULL) else _past_digits(data, at, limit, found, field)
    if kind == NUMBER_OR_NULL:
        if reads(data, at, IS_NULL):
            return at + 4
        end = at
        while _NUMERIC[data[end]]:
            end += 1
        return end if 0 < end - at <= limit else -1
    if kind == NAMES:
        return _past_names(data, at, limit, found, field)
    if kind == TAG:
        return at + len(_IS_TAG) if reads(data, at, _IS_TAG) else -1
    if kind == LADDER:
        return _past_octets(data, at, _LADDER_OCTETS, _LADDER_OCTETS, row, LADDER_AT, 0)
    if kind == PROJECTION:
        return _past_octets(data, at, _PROJECTION_OCTETS, _PROJECTION_OCTETS, row, PROJECTION_AT, 0)
    if kind == BOUNDARIES:
        return _past_octets(data, at, 0, _BOUNDARY_OCTETS, row, BOUNDARIES_AT, _BOUNDARY_OCTETS)
    if kind == SEGMENTS:
        return _past_octets(data, at, 0, _SEGMENT_OCTETS, spare, 0, 0)
    return -1
