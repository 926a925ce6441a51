"""Where a key lives: Kafka's murmur2 partitioner, for one key and for columns of accounts.

The same function as the Java client's and as librdkafka's ``murmur2_random`` for records that have a key, so that
``backtest`` deals accounts to partitions exactly as the broker's clients do. Source: Austin Appleby's MurmurHash2 in
Kafka's ``Utils.murmur2`` (seed 0x9747b28c); ``partition = (hash & 0x7fffffff) % partitions``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from detection.columns import Int64Array, UInt64Array

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_R: Final = 24
_MASK: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF
_KEY_BYTES: Final = 16
_NIBBLES: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
_SHIFTS: Final = np.arange(60, -4, -4, dtype=np.uint64)


def murmur2(data: bytes) -> int:
    """Hash bytes to 32 bits, unsigned (Java's is the same bits, signed)."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for place in range(0, whole, 4):
        k = (int.from_bytes(data[place : place + 4], "little") * _M) & _MASK
        k ^= k >> _R
        h = ((h * _M) & _MASK) ^ ((k * _M) & _MASK)
    if length != whole:
        h = ((h ^ int.from_bytes(data[whole:], "little")) * _M) & _MASK
    h ^= h >> 13
    h = (h * _M) & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Give the partition of a record with this key."""
    return (murmur2(key) & _POSITIVE) % partitions


def partitions_of(ids: UInt64Array, partitions: int) -> Int64Array:
    """Give the partition of each account, whose key is its id as 16 lower-case hexadecimal digits in ASCII."""
    digits = (np.asarray(ids, np.uint64)[:, None] >> _SHIFTS) & np.uint64(15)
    text = _NIBBLES[digits.astype(np.intp)]
    words = np.ascontiguousarray(text).view("<u4").astype(np.uint32)
    m = np.uint32(_M)
    h = np.full(len(words), _SEED ^ _KEY_BYTES, np.uint32)
    with np.errstate(over="ignore"):
        for place in range(_KEY_BYTES // 4):
            k = words[:, place] * m
            k ^= k >> np.uint32(_R)
            h = (h * m) ^ (k * m)
        h ^= h >> np.uint32(13)
        h *= m
    h ^= h >> np.uint32(15)
    return (h & np.uint32(_POSITIVE)).astype(np.int64) % partitions
