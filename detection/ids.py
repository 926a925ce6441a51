"""Identifiers: 64-bit integers inside, 16 lower-case hexadecimal digits on the wire; deterministic mixing of keys."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import UInt64Array

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)


def to_hex(value: int) -> str:
    """Write a 64-bit id as 16 hexadecimal digits."""
    return f"{int(value):016x}"


def from_hex(ids: Sequence[str]) -> UInt64Array:
    """Read ids of 16 hexadecimal digits each; raises ValueError where one is not."""
    raw = bytes.fromhex("".join(ids))
    if len(raw) != 8 * len(ids):
        raise ValueError("an identifier is not 16 hexadecimal digits")
    return np.frombuffer(raw, ">u8").astype(np.uint64)


def mix(values: UInt64Array) -> UInt64Array:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection that spreads every bit."""
    with np.errstate(over="ignore"):
        z = values + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def combine(*columns: UInt64Array) -> UInt64Array:
    """Fold columns of equal length into one key each, order-sensitive; never 0, which means "absent"."""
    key = np.zeros_like(columns[0])
    for column in columns:
        key = mix(key ^ column)
    return np.maximum(key, np.uint64(1))


def digest_hex(*parts: str | int) -> str:
    """Derive a deterministic 16-digit id from what a value says (BLAKE2b, unkeyed: parts are keyed ids already)."""
    text = "\x1f".join(map(str, parts))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def parse_rfc3339(text: str) -> int:
    """Read RFC 3339 with any offset as ms since the epoch; raises ValueError where it is none or has no offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def rfc3339(time_ms: int) -> str:
    """Write ms since the epoch as RFC 3339 in UTC with three decimals."""
    return f"{_second(time_ms // 1000)}.{time_ms % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    # All the windows of a hop, and most of what a stream writes, tell few different seconds.
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
