"""Half-space trees at stream speed: River's numbers, bit for bit, from integer masses in arrays.

Scores depend only on the masses of the last full window, so between two window ends any number of rows can be scored
and learned in one go. Masses are integers and trees are River's own draws from the same seed, hence equality: the test
compares with ``river.anomaly.HalfSpaceTrees`` itself.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from river import base

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detection.columns import Float64Array, Int64Array

_PADDING: Final = 0.15  # River's: a split keeps this share of the range free at both ends.
_SIZE_LIMIT: Final = 0.1  # Tan, Ting and Liu 2011: a node lighter than this share of the window ends the walk.
_BLOCK: Final = 4096  # Rows walked at once: their paths stay in the cache.


class ForeignStateError(ValueError):
    """The saved half-space trees have other features, limits, seed or shape: start them afresh."""


class _Saved(msgspec.Struct, frozen=True, array_like=True, tag="half_space_trees.v1"):
    fingerprint: str
    counter: int
    first_window: bool
    learned: bytes
    reference: bytes


class HalfSpaceTrees(base.AnomalyDetector):
    """River's ``HalfSpaceTrees`` with ``score_many``, ``learn_many`` and a state of bytes.

    ``names`` fixes the features and the order of a matrix's columns; without it the first learned dict does, as in
    River. A missing feature (NaN in a matrix) follows the heavier child, as in River. Scores lie in 0..1, high is
    anomalous, 0 until the first window of ``window_size`` rows is full. Paper: Tan, Ting and Liu, IJCAI 2011.
    """

    def __init__(
        self,
        n_trees: int = 10,
        height: int = 8,
        window_size: int = 250,
        limits: Mapping[Any, tuple[float, float]] | None = None,
        seed: int | None = None,
        names: Sequence[Any] | None = None,
    ) -> None:
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.limits = limits
        self.seed = seed
        self.names = names
        self.counter = 0
        self._rng = random.Random(seed)  # noqa: S311 - River's generator, so that the trees are River's.
        self._first_window = True
        self._order: tuple[Any, ...] = ()
        if names is not None:
            self._plant(names)

    def _plant(self, names: Sequence[Any]) -> None:
        self._order = tuple(names)
        nodes = (2 << self.height) - 1
        self._features = np.zeros((self.n_trees, nodes), np.intp)
        self._thresholds = np.zeros((self.n_trees, nodes))
        self._learned = np.zeros((self.n_trees, nodes), np.int64)
        self._reference = np.zeros((self.n_trees, nodes), np.int64)
        self._roots = np.arange(self.n_trees, dtype=np.intp)[:, None] * nodes
        given = self.limits or {}
        for tree in range(self.n_trees):
            self._split(tree, 0, {name: given.get(name, (0.0, 1.0)) for name in sorted(self._order)}, self.height)

    def _split(self, tree: int, node: int, limits: dict[Any, tuple[float, float]], height: int) -> None:
        # The draws, and their order, are those of river.tree.padded.make_padded_tree.
        if height == 0:
            return
        weights = [high - low for low, high in limits.values()]
        name = self._rng.choices(population=list(limits), weights=weights)[0]
        low, high = limits[name]
        pad = _PADDING * (high - low)
        at = self._rng.uniform(low + pad, high - pad)
        self._features[tree, node] = self._order.index(name)
        self._thresholds[tree, node] = at
        self._split(tree, 2 * node + 1, {**limits, name: (low, at)}, height - 1)
        self._split(tree, 2 * node + 2, {**limits, name: (at, high)}, height - 1)

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        """Count one row in the window."""
        if not self._order:
            self._plant(sorted(x))
        self.learn_many(self._row(x))

    def score_one(self, x: Mapping[Any, Any]) -> float:
        """Score one row against the last full window."""
        return float(self.score_many(self._row(x))[0]) if self._order else 0.0

    def _row(self, x: Mapping[Any, Any]) -> Float64Array:
        return np.array([[x.get(name, math.nan) for name in self._order]], np.float64)

    def score_many(self, matrix: Float64Array) -> Float64Array:
        """Score rows, shape ``(n, features)`` in the order of ``names``, without learning them."""
        scores = np.zeros(len(matrix))
        if self._first_window:
            return scores
        most = self.n_trees * self.window_size * ((2 << self.height) - 1)
        for start in range(0, len(matrix), _BLOCK):
            part = matrix[start : start + _BLOCK]
            paths = self._paths(part)
            masses = self._reference.ravel()[paths]
            # A node counts when every node above it was heavy enough.
            total = masses[0].copy()
            open_ = np.ones(total.shape, bool)
            for depth in range(1, self.height + 1):
                open_ &= masses[depth - 1] >= _SIZE_LIMIT * self.window_size
                total += np.where(open_, masses[depth] << depth, 0)
            scores[start : start + len(part)] = 1 - total.sum(axis=0) / most
        return scores

    def learn_many(self, matrix: Float64Array) -> None:
        """Learn rows in their order; the same as ``learn_one`` of each."""
        for start, stop in self._runs(matrix, np.arange(len(matrix))):
            self._learn(matrix[start:stop])

    def score_learn_many(self, matrix: Float64Array, learn: NDArray[np.bool_]) -> Float64Array:
        """Score each row and then learn it where ``learn`` says so; the same as one after the other."""
        scores = np.zeros(len(matrix))
        for start, stop in self._runs(matrix, np.flatnonzero(learn)):
            part = matrix[start:stop]
            scores[start:stop] = self.score_many(part)
            self._learn(part[learn[start:stop]])
        return scores

    def _runs(self, matrix: Float64Array, chosen: Int64Array) -> list[tuple[int, int]]:
        """Cut rows where a window ends, and around rows with missing values: their walk asks for the masses so far.

        ``chosen`` are the rows that will be learned, ascending.
        """
        if not len(matrix):
            return []
        missing = np.flatnonzero(np.isnan(matrix).any(axis=1))
        ends = chosen[self.window_size - self.counter - 1 :: self.window_size] + 1
        borders = np.unique(np.concatenate([[0, len(matrix)], ends, missing, missing + 1]))
        return list(itertools.pairwise(borders.tolist()))

    def _learn(self, matrix: Float64Array) -> None:
        for start in range(0, len(matrix), _BLOCK):
            paths = self._paths(matrix[start : start + _BLOCK])
            counts = np.bincount(paths.ravel(), minlength=self._learned.size)
            self._learned += counts.reshape(self._learned.shape)
        self.counter += len(matrix)
        if self.counter == self.window_size:
            self._reference, self._learned = self._learned, np.zeros_like(self._learned)
            self._first_window = False
            self.counter = 0

    def _paths(self, matrix: Float64Array) -> Int64Array:
        """Walk every row down every tree: flat node numbers, shape ``(height + 1, trees, rows)``."""
        count = len(matrix)
        values = np.ascontiguousarray(matrix.T).ravel()
        rows = np.arange(count, dtype=np.intp)
        missing = bool(np.isnan(values).any())
        nodes = np.zeros((self.n_trees, count), np.intp)
        paths = np.empty((self.height + 1, self.n_trees, count), np.intp)
        features, thresholds, learned = self._features.ravel(), self._thresholds.ravel(), self._learned.ravel()
        for depth in range(self.height):
            at = np.add(nodes, self._roots, out=paths[depth])
            value = values[features[at] * count + rows]
            right = ~(value < thresholds[at])
            if missing:
                left = 2 * nodes + 1 + self._roots
                right = np.where(np.isnan(value), learned[left] < learned[left + 1], right)
            nodes = 2 * nodes + 1 + right
        np.add(nodes, self._roots, out=paths[self.height])
        return paths

    def _fingerprint(self) -> str:
        shape = (self.n_trees, self.height, self.window_size, self.seed, self._order, self._thresholds.tobytes())
        return hashlib.blake2b(repr(shape).encode(), digest_size=8).hexdigest()

    def dump(self) -> bytes:
        """Write the masses; equal states give equal bytes. Needs ``names``, or one learned row."""
        saved = _Saved(
            fingerprint=self._fingerprint(),
            counter=self.counter,
            first_window=self._first_window,
            learned=self._learned.astype("<i4").tobytes(),
            reference=self._reference.astype("<i4").tobytes(),
        )
        return msgspec.msgpack.encode(saved)

    def load(self, raw: bytes) -> None:
        """Read masses that ``dump`` wrote; raises ForeignStateError where the trees are others."""
        saved = msgspec.msgpack.decode(raw, type=_Saved)
        if saved.fingerprint != self._fingerprint():
            raise ForeignStateError(f"saved {saved.fingerprint}, configured {self._fingerprint()}")
        self.counter = saved.counter
        self._first_window = saved.first_window
        shape = self._learned.shape
        self._learned = np.frombuffer(saved.learned, "<i4").reshape(shape).astype(np.int64)
        self._reference = np.frombuffer(saved.reference, "<i4").reshape(shape).astype(np.int64)
