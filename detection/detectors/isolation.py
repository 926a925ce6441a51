"""Isolation trees grown from a sample, all at once: rows that few random cuts set apart are unusual.

Liu, Ting and Zhou, "Isolation Forest", ICDM 2008. Trees are grown level by level over all of them together, so that
growing fifty costs some milliseconds and a stream can afford to grow them anew whenever its sample has changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detection.columns import Float64Array, Int64Array

_EULER: Final = 0.5772156649015329
_BLOCK: Final = 8192  # Rows walked at once: their places stay in the cache.


def average_path(sizes: NDArray[np.int64]) -> Float64Array:
    """Give the mean depth of a failed search in a binary tree of so many rows: what a leaf of them stands for."""
    n = np.maximum(sizes, 2).astype(np.float64)
    paths: Float64Array = np.where(sizes > 1, 2.0 * (np.log(n - 1.0) + _EULER) - 2.0 * (n - 1.0) / n, 0.0)
    paths[sizes == 2] = 1.0  # noqa: PLR2004 - The logarithm's approximation of a harmonic number is off for two.
    return paths


class IsolationForest:
    """A frozen forest over ``sample``, shape ``(rows, features)`` of finite numbers; ``generator`` makes every cut."""

    def __init__(self, sample: Float64Array, trees: int, subsample: int, generator: np.random.Generator) -> None:
        taken = min(subsample, len(sample))
        self.height = max(1, math.ceil(math.log2(max(taken, 2))))
        nodes = (2 << self.height) - 1
        self._features = np.zeros(trees * nodes, np.intp)
        self._cuts = np.full(trees * nodes, np.inf)  # A leaf sends every finite number to its left, which is itself.
        self._left = np.arange(trees * nodes, dtype=np.intp)
        self._paths = np.zeros(trees * nodes)
        self._roots = np.arange(trees, dtype=np.intp) * nodes
        self._unit = float(average_path(np.array([taken]))[0]) or 1.0
        chosen = np.argpartition(generator.random((trees, len(sample))), taken - 1, axis=1)[:, :taken]
        self._grow(sample[chosen.ravel()], np.repeat(self._roots, taken), nodes, generator)

    def _grow(self, points: Float64Array, places: NDArray[np.intp], nodes: int, generator: np.random.Generator) -> None:
        for depth in range(self.height + 1):
            order = np.argsort(places, kind="stable")
            points, places = points[order], places[order]
            starts = np.flatnonzero(np.diff(places, prepend=-1))
            at, sizes = places[starts], np.diff(starts, append=len(places))
            self._paths[at] = depth + average_path(sizes)
            if depth == self.height:
                return
            low = np.minimum.reduceat(points, starts, axis=0)
            high = np.maximum.reduceat(points, starts, axis=0)
            draws = np.where(high > low, generator.random(low.shape), -1.0)
            feature = draws.argmax(axis=1)
            group = np.arange(len(at))
            cut = low[group, feature] + generator.random(len(at)) * (high - low)[group, feature]
            splits = draws[group, feature] >= 0
            # Between neighbours in floating point a cut can fall on the lower one, and would part nothing.
            cut = np.where(cut > low[group, feature], cut, high[group, feature])
            roots = at // nodes * nodes
            self._features[at] = feature
            self._cuts[at] = np.where(splits, cut, np.inf)
            self._left[at] = np.where(splits, roots + 2 * (at - roots) + 1, at)
            member = np.repeat(group, sizes)
            kept = splits[member]
            points, member = points[kept], member[kept]
            right = points[np.arange(len(points)), feature[member]] >= cut[member]
            places = self._left[at[member]] + right
            if not len(places):
                return

    def score_many(self, matrix: Float64Array) -> Float64Array:
        """Score rows of finite numbers: 0..1, about one half for an ordinary one, high is unusual."""
        total = np.zeros(len(matrix))
        for start in range(0, len(matrix), _BLOCK):
            part = matrix[start : start + _BLOCK]
            places = np.broadcast_to(self._roots[:, None], (len(self._roots), len(part)))
            values, rows = np.ascontiguousarray(part.T).ravel(), np.arange(len(part))
            for _ in range(self.height):
                places = self._step(places, values, rows)
            # Tree by tree: numpy's own sums change their order of addition with the shape of the batch.
            for tree in places:
                total[start : start + len(part)] += self._paths[tree]
        scores: Float64Array = 2.0 ** (-total / (len(self._roots) * self._unit))
        return scores

    def _step(self, places: NDArray[np.intp], values: Float64Array, rows: Int64Array) -> NDArray[np.intp]:
        value = values[self._features[places] * len(rows) + rows]
        found: NDArray[np.intp] = self._left[places] + (value >= self._cuts[places])
        return found
