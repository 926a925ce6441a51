"""Making a reference of honest subjects: the quantiles that the tail reads, and the scale of its own scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.detectors.reference import LEVELS, Reference
from detection.detectors.tail import raw_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detection.columns import Float64Array
    from detection.detectors.reference import Direction

_DIGITS: Final = 6


def build(
    names: Sequence[str],
    directions: Sequence[Direction],
    matrix: Float64Array,
    aspects: Sequence[str] = (),
    alibis: Sequence[bool] = (),
) -> Reference:
    """Make a reference of honest subjects, one a row, shape ``(subjects, features)``; NaN means "no value".

    Raises ValueError where there is no row, or the shapes do not fit.
    """
    if matrix.ndim != 2 or matrix.shape[1] != len(names) or not len(matrix):  # noqa: PLR2004 - Rows and columns.
        raise ValueError("a reference needs a matrix of at least one row, with one column for each name")
    quantiles: list[tuple[float, ...]] = []
    counts: list[int] = []
    for column in matrix.T:
        values = column[np.isfinite(column)]
        counts.append(len(values))
        table = np.quantile(values, LEVELS) if len(values) else np.empty(0)
        # Interpolation can step back by an ulp between equal values, and rounding keeps the JSON short.
        quantiles.append(tuple(np.maximum.accumulate(np.round(table, _DIGITS)).tolist()))
    shape = Reference(
        names=tuple(names),
        directions=tuple(directions),
        quantiles=tuple(quantiles),
        counts=tuple(counts),
        median=0.0,
        q95=0.0,
        count=len(matrix),
        aspects=tuple(aspects),
        alibis=tuple(alibis),
    )
    median, q95 = np.round(np.quantile(raw_scores(shape, matrix), (0.5, 0.95)), _DIGITS).tolist()
    return msgspec.structs.replace(shape, median=median, q95=q95)


def pool_upwards(matrices: Mapping[int, Sequence[Float64Array]], least: int) -> dict[int, Float64Array]:
    """Put milestones with fewer than ``least`` rows to the next lower one, whose reference then speaks for them too.

    Few honest subjects come as far as the high counts, and a reference of the low ones alone would find those few odd:
    who sends 640 requests sends them faster than who sends 40. What is left below ``least`` at the end has none.
    """
    pooled: dict[int, Float64Array] = {}
    waiting: list[Float64Array] = []
    for milestone in sorted(matrices, reverse=True):
        waiting += matrices[milestone]
        if sum(map(len, waiting)) >= least:
            pooled[milestone] = np.concatenate(waiting)
            waiting = []
    return dict(sorted(pooled.items()))
