"""Normalised words of a text as keyed 64-bit numbers, all of them in one pass of numpy.

Bytes; ASCII lower case; digits to 0; other ASCII separates; newline and ``. ! ? ;`` end a sentence. Letters outside
ASCII are kept. Chinese, Japanese and Korean characters are words of their own, because no space separates them.
Of a text above 32 KB only the first and the last 16 KB count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.text.keys import WORD_POSITIONS

if TYPE_CHECKING:
    from detection.columns import Int64Array, UInt64Array
    from detection.text.keys import TextKey

EDGE_BYTES: Final = 16 << 10
_SENTENCE_END: Final = 0x0A
_FIRST: Final = np.zeros(1, np.int64)
_SPACE: Final = 0x20  # Separators and sentence ends do not come after it.
_PLACES: Final = np.uint16(WORD_POSITIONS - 1)
_BYTE: Final = np.uint16(8)
_CJK_LEADS: Final = (0xE3, 0xED)  # UTF-8 lead bytes of U+3000 to U+DFFF: kana, ideographs, Hangul.


def _folding_table() -> bytes:
    table = bytearray(b" " * 128) + bytearray(range(128, 256))
    for end in b"\n.!?;":
        table[end] = _SENTENCE_END
    for digit in b"0123456789":
        table[digit] = ord("0")
    for letter in range(ord("a"), ord("z") + 1):
        table[letter] = table[letter - 32] = letter
    return bytes(table)


_FOLD: Final = _folding_table()
# Punctuation outside ASCII: U+2000-206F, U+3000-303F, and the full-width forms that are not letters or digits.
_WIDE_PUNCTUATION: Final = re.compile(
    rb"\xe2\x80.|\xe2\x81[\x80-\xaf]|\xe3\x80.|\xef\xbc[\x80-\x8f\x9a-\xa0]", re.DOTALL
)
_WIDE_ENDS: Final = frozenset((b"\xe3\x80\x82", b"\xef\xbc\x81", b"\xef\xbc\x9f", b"\xef\xbc\x9b", b"\xe2\x80\xa6"))


@dataclass(frozen=True, slots=True)
class Words:
    """``hashes[i]`` is the i-th word; ``firsts`` are the places of the words that begin a sentence, from 0 upwards."""

    hashes: UInt64Array
    firsts: Int64Array

    def __len__(self) -> int:
        return len(self.hashes)


def edges(data: bytes) -> bytes:
    """Give a text of at most 32 KB as it is, else its first and last 16 KB as two sentences."""
    if len(data) <= 2 * EDGE_BYTES:
        return data
    return data[:EDGE_BYTES] + b"\n" + data[-EDGE_BYTES:]


def fold(data: bytes) -> bytes:
    """Normalise: every byte is a letter, a 0, part of a character outside ASCII, a space or a sentence's end."""
    if not data.isascii():
        data = _WIDE_PUNCTUATION.sub(lambda found: b"\n" if found[0] in _WIDE_ENDS else b" ", data)
    return data.translate(_FOLD)


def read_words(data: bytes, key: TextKey) -> Words:
    """Hash the words of UTF-8 bytes. Any bytes will do: broken UTF-8 gives odd words, never an error."""
    data = edges(data)
    folded = np.frombuffer(fold(data), np.uint8)
    letters = folded > _SPACE
    begins = letters.copy()
    begins[1:] &= ~letters[:-1]
    if not data.isascii():
        begins |= _wide_begins(folded) & letters
    starts = np.flatnonzero(begins)
    if not len(starts):
        return Words(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    first = int(starts[0])
    # 16 bits may wrap: only the place modulo 16 counts, and 16 divides 65,536.
    places = np.arange(first, len(folded), dtype=np.uint16) - np.repeat(
        starts.astype(np.uint16), gaps(starts, len(folded))
    )
    cells = ((places & _PLACES) << _BYTE) | folded[first:]
    hashes = np.add.reduceat(key.tables.take(cells.astype(np.intp)), starts - first)
    ends = np.searchsorted(starts, np.flatnonzero(folded == _SENTENCE_END))
    # Ends are sorted and may repeat; np.unique hashes them first, at a multiple of the cost.
    fresh = (ends > 0) & (ends < len(starts))
    fresh[1:] &= ends[1:] != ends[:-1]
    return Words(hashes, np.concatenate((_FIRST, ends[fresh])))


def gaps(starts: Int64Array, end: int) -> Int64Array:
    """Give the length of each run from its start to the next one's, the last to ``end``; np.diff at a tenth."""
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = end - starts[-1]
    return lengths


def _wide_begins(
    folded: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    leads = (folded >= _CJK_LEADS[0]) & (folded <= _CJK_LEADS[1])
    begins = leads.copy()
    begins[3:] |= leads[:-3]
    return begins
