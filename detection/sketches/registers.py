"""Reading HyperLogLog registers: how many distinct values a row of registers has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from detection.columns import Float64Array, StructuredArray

_POWERS = 2.0 ** -np.arange(256.0)


def estimate(registers: StructuredArray) -> Float64Array:
    """Estimate the distinct values of each row of registers, shape ``(rows, m)`` of u1, 0 meaning "empty".

    Flajolet et al. 2007, with linear counting while registers are empty and the estimate is small: exact to a few
    per cent below m values, standard error 1.04 / sqrt(m) above. 0.0 for a row that saw nothing.
    """
    m = registers.shape[1]
    alpha = 0.7213 / (1.0 + 1.079 / m) if m >= 128 else {16: 0.673, 32: 0.697, 64: 0.709}[m]  # noqa: PLR2004 - Paper.
    raw = alpha * m * m / _POWERS[registers].sum(axis=1)
    empty = (registers == 0).sum(axis=1)
    linear = m * np.log(m / np.maximum(empty, 1))
    estimated: Float64Array = np.where((raw <= 2.5 * m) & (empty > 0), linear, raw)
    return estimated
