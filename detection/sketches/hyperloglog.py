"""HyperLogLog over columns: many small register rows at once, merged by maximum, so that no order can change them.

A hash picks a register by its low bits and offers a rank by the position of the first set bit of its high 53 bits.
Hash 0 means "absent" and offers rank 0, which no register notices.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detection.ids import mix

if TYPE_CHECKING:
    from detection.columns import Float64Array, UInt64Array

Registers: TypeAlias = NDArray[np.uint8]

_BITS: Final = 53  # What a float64 holds exactly, so that its exponent is the place of the first set bit.
_UNUSED: Final = np.uint64(64 - _BITS)
# 2^-rank as integers: sums of them are exact, so that no order of addition can show.
_SHARES: Final = np.array([1 << (_BITS + 1 - min(rank, _BITS + 1)) for rank in range(256)], np.int64)
_SHARES[0] = 0  # An empty register is counted apart.


def offers(hashes: UInt64Array, registers: int) -> tuple[NDArray[np.intp], Registers]:
    """Tell for each hash its register, ``0 <= i < registers``, and its rank, 0 for hash 0 and else 1..54.

    ``registers`` is a power of two of at most 2^11.
    """
    mixed = mix(hashes)
    places = (mixed & np.uint64(registers - 1)).astype(np.intp)
    _, exponents = np.frexp((mixed >> _UNUSED).astype(np.float64))
    ranks = (_BITS + 1 - exponents).astype(np.uint8)
    ranks[hashes == 0] = 0
    return places, ranks


def estimate(registers: Registers) -> Float64Array:
    """Estimate the distinct values behind each row of registers, shape ``(..., m)``; 0.0 for rows that saw none.

    Ertl's improved raw estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017): unbiased
    from one value on, with no seam between small and large counts. Standard error 1.04 / sqrt(m), less below m.
    """
    m = registers.shape[-1]
    shares = _SHARES[registers].sum(axis=-1) / float(1 << (_BITS + 1))
    empty = np.count_nonzero(registers == 0, axis=-1)
    distinct: Float64Array = m * m / (2.0 * math.log(2.0)) / (shares + _empty_term(m)[empty])
    return distinct


@lru_cache
def _empty_term(m: int) -> Float64Array:
    """Give m * sigma(empty / m) for every count of empty registers; infinite where all are."""
    return np.array([m * _sigma(empty / m) for empty in range(m)] + [math.inf])


def _sigma(x: float) -> float:
    # Ertl 2017, equation 8: x + the sum over k >= 1 of x^(2^k) 2^(k-1).
    total, power, weight = x, x, 1.0
    while True:
        power *= power
        grown = total + power * weight
        if grown == total:
            return total
        total, weight = grown, weight * 2.0
