"""Two plain looks at a sample: how far out a row lies on each feature, and how far it is from its neighbours.

Each is fitted to a sample once and frozen; ``detection.detectors.surprise`` fits them anew as its sample changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from detection.columns import Float64Array

_IQR_TO_SD: Final = 1.349  # Of a normal distribution.


class TwoSidedTail:
    """Sum over the features of ``-ln`` of the rarer side's share of the sample, in nats.

    Li et al., "ECOD: Unsupervised Outlier Detection Using Empirical Cumulative Distribution Functions", TKDE 2022, with
    the rarer side of each feature in place of the skewed one. Features count as independent.
    """

    def __init__(self, sample: Float64Array) -> None:
        self._sorted = np.sort(sample, axis=0)

    def score_many(self, matrix: Float64Array) -> Float64Array:
        """Score rows, nats; a rank r of n reads as (r + 1) / (n + 1), so nothing is infinitely rare."""
        count = len(self._sorted)
        total = np.zeros(len(matrix))
        for column, honest in zip(matrix.T, self._sorted.T, strict=True):
            below = np.searchsorted(honest, column, side="right")
            above = count - np.searchsorted(honest, column, side="left")
            total -= np.log((np.minimum(below, above) + 1.0) / (count + 1.0))
        return total


class NeighbourDistance:
    """Distance to the ``neighbours``-th nearest row of the sample, in robust standard deviations.

    Ramaswamy, Rastogi and Shim, SIGMOD 2000. Each feature is scaled by its interquartile range, so that a feature which
    hardly varies speaks up when it does; by its standard deviation where the middle half is one value.
    """

    def __init__(self, sample: Float64Array, neighbours: int) -> None:
        low, high = np.quantile(sample, (0.25, 0.75), axis=0)
        deviation = sample.std(axis=0)
        scale = np.where(high > low, (high - low) / _IQR_TO_SD, deviation)
        self._scale = np.where(scale > 0, scale, 1.0)
        self._tree = cKDTree(sample / self._scale)
        self._neighbours = min(neighbours, len(sample))

    def score_many(self, matrix: Float64Array, *, among: bool = False) -> Float64Array:
        """Score rows; ``among`` tells that they are of the sample, so that a row is not its own neighbour."""
        nth = min(self._neighbours + among, self._tree.n)
        distance: Float64Array = self._tree.query(matrix / self._scale, k=[nth])[0][:, 0]
        return distance
