"""Compiled twins of what numpy does elsewhere: fixed-point logarithms, and what a hash offers to a register."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.accounts.adding import mix
from detection.columns import FIXED_POINT
from detection.compiled import Whole, compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RANK_BITS: Final = 53
_UNUSED: Final = np.uint64(64 - _RANK_BITS)
_LOG_TABLE: Final = np.array([round(math.log1p(value) * FIXED_POINT) for value in range(1 << 13)], np.int64)


@compiled
def log_fixed(value: Whole) -> Whole:
    """Give ln(1 + value) in fixed point."""
    if value < len(_LOG_TABLE):
        return _LOG_TABLE[value]
    return np.int64(np.rint(math.log1p(np.float64(value)) * FIXED_POINT))


@compiled
def offer(value: np.uint64, registers: Whole, target: NDArray[np.uint8], at: Whole) -> None:
    """Do as ``detection.sketches.hyperloglog.offers``: place and rank of one hash, into two bytes."""
    if not value:
        target[at] = 0
        target[at + 1] = 0
        return
    mixed = mix(value)
    target[at] = np.int64(mixed) & (registers - 1)
    rest = np.int64(mixed >> _UNUSED)
    rank = 1
    probe = 1 << (_RANK_BITS - 1)
    while probe and not rest & probe:
        probe >>= 1
        rank += 1
    target[at + 1] = rank
