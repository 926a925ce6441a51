"""What words give: ladder rungs, sentence sums, and the projection. Pure functions of word hashes."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.columns import LADDER_WORDS, PROJECTION_DIMENSIONS, UInt64Array
from detection.ids import mix
from detection.text.words import gaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detection.columns import Int64Array
    from detection.text.keys import TextKey
    from detection.text.words import Words

SEGMENT_WORDS: Final = 3
SEGMENTS: Final = 32
_LENGTH: Final = 256  # Of a projection before clipping: a component is 45 of 127 where all 32 are equal.
_PAIR: Final = np.uint64(0x9FB21C651E98DF25)
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)


def prefix_rungs(words: Words, key: TextKey) -> list[int]:
    """Hash the first 8, 16, 32 and 64 words; 0 where there are fewer."""
    return _rungs("prefix", [words.hashes[:count] for count in LADDER_WORDS], key)


def suffix_rungs(words: Words, key: TextKey) -> list[int]:
    """Hash the last 8, 16, 32 and 64 words; 0 where there are fewer."""
    return _rungs("suffix", [words.hashes[-count:] for count in LADDER_WORDS], key)


def _rungs(domain: str, slices: list[UInt64Array], key: TextKey) -> list[int]:
    return [
        key.hash(domain, wire_bytes(piece)) if len(piece) == count else 0
        for piece, count in zip(slices, LADDER_WORDS, strict=True)
    ]


def wire_bytes(values: UInt64Array) -> bytes:
    """Write numbers little-endian, whatever the machine."""
    return values.astype("<u8", copy=False).tobytes()


def pair_hashes(words: UInt64Array) -> UInt64Array:
    """Hash each word with the one after it; one shorter than the words, order-sensitive."""
    return mix(words[:-1] * _PAIR + words[1:])


def sentence_sums(words: Words) -> tuple[UInt64Array, Int64Array]:
    """Give a hash for each different sentence of three words or more, ascending, and its count of words."""
    if not len(words):
        return words.hashes, words.firsts
    counts = gaps(words.firsts, len(words))
    places = np.arange(len(words)) - np.repeat(words.firsts, counts)
    sums = np.add.reduceat(mix(words.hashes + places.astype(np.uint64) * _STEP), words.firsts)
    long = counts >= SEGMENT_WORDS
    hashes = mix(sums[long])
    order = np.argsort(hashes)
    hashes = hashes[order]
    different = np.ones(len(hashes), np.bool_)
    different[1:] = hashes[1:] != hashes[:-1]
    return hashes[different], counts[long][order][different]


def segments(sums: UInt64Array, key: TextKey) -> bytes:
    """Write 4 bytes for each of at most 32 sentences: those of the smallest hashes.

    The choice is the same in every text that holds the sentence, so two prompts with one slot agree on what they keep.
    """
    out: list[bytes] = []
    for place in range(min(len(sums), SEGMENTS)):
        state = key.state("segment")
        state.update(wire_bytes(sums[place : place + 1]))
        out.append(state.digest()[:4])
    return b"".join(out)


def projection(words: UInt64Array, pairs: UInt64Array) -> bytes:
    """Project words and word pairs on 32 signed dimensions (feature hashing, Weinberger et al. 2009), length 256.

    Integers throughout, so the bytes are the same on every machine; zero bytes for no words.
    """
    features = np.concatenate((mix(words), pairs))
    cells = (features >> np.uint64(58)).astype(np.intp)  # Five bits of dimension and one of sign.
    counts = np.bincount(cells, minlength=2 * PROJECTION_DIMENSIONS)
    signed = counts[0::2] - counts[1::2]
    length = isqrt(int(signed @ signed))
    if not length:
        return bytes(PROJECTION_DIMENSIONS)
    scaled = (2 * _LENGTH * signed + length) // (2 * length)
    clipped: NDArray[np.int8] = np.clip(scaled, -127, 127).astype(np.int8)
    return clipped.tobytes()
