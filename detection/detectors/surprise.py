"""The unsupervised ensemble for numeric rows of any kind: how surprising a row is, given all rows before it.

Three detectors look at a uniform sample of the past: isolation trees see combinations, the two-sided tail sees single
features far out, the distance to neighbours sees gaps. Each one's score is read as a tail probability among the
sample's own scores, and the ensemble tells the smallest (Tippett 1931): a row that one view finds very rare is rare,
and views that see nothing do not water it down. The state is the sample alone; detectors are functions of it, fitted
anew whenever the stream has grown by a fifth, at row numbers that do not depend on how the stream is cut.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
from river import base

from detection.detectors.density import NeighbourDistance, TwoSidedTail
from detection.detectors.isolation import IsolationForest
from detection.sketches.reservoir import Reservoir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detection.columns import Float64Array

View: TypeAlias = Literal["isolation", "tail", "neighbours"]
VIEWS: Final[tuple[View, ...]] = get_args(View)

_GROWTH: Final = 1.2  # Fitted again when the stream has grown by a fifth: 60 times in a million rows.
_FIRST: Final = 32  # Rows before the first fit; until then every row scores 0.
_CALIBRATION: Final = 1024  # Rows of the sample whose own scores are the scale: a tail to about one in a thousand.
_LEVELS: Final = np.concatenate([np.arange(0.0, 0.9, 0.1), np.arange(0.9, 0.99, 0.01), [0.99, 0.995]])
_NATS: Final = -np.log1p(-_LEVELS)
_Q90: Final = int(np.argmin(np.abs(_LEVELS - 0.9)))
_LIMIT: Final = 1e150  # Squares of it are finite.


class _Scale:
    """Reads scores as nats of tail probability: ``-ln`` of the share of the sample that scores at least as high.

    Beyond the sample's 99.5th percentile the tail goes on as an exponential with the scale of the outer tenth, so that
    the rarest rows keep their order.
    """

    def __init__(self, scores: Float64Array) -> None:
        table = np.quantile(scores, _LEVELS)
        # np.interp wants a rising table, and a score shared by many rows is as rare as the rarest of them.
        last = np.append(np.diff(table) > 0, np.True_)
        self._scores, self._nats = table[last], _NATS[last]
        outer = (table[-1] - table[_Q90]) / (_NATS[-1] - _NATS[_Q90])
        spread = float(np.std(scores))
        self._slope = 1.0 / (outer or spread or 1.0)

    def nats(self, scores: Float64Array) -> Float64Array:
        beyond = np.maximum(scores - self._scores[-1], 0.0) * self._slope
        found: Float64Array = np.interp(scores, self._scores, self._nats) + beyond
        return found


class _Fitted:
    """The views of one sample, each with the scale of the sample's own scores."""

    def __init__(self, detector: SurpriseEnsemble, sample: Float64Array, rows_seen: int) -> None:
        generator = np.random.default_rng([detector.seed, rows_seen])
        self._middle = np.where(np.isnan(sample).all(axis=0), 0.0, _nanmedian(sample))
        sample = self.finite(sample)
        probe = sample[generator.permutation(len(sample))[:_CALIBRATION]]
        self._views: list[tuple[Any, _Scale]] = []
        for view in detector.views:
            if view == "isolation":
                forest = IsolationForest(sample, detector.trees, detector.subsample, generator)
                self._views.append((forest, _Scale(forest.score_many(probe))))
            elif view == "tail":
                tail = TwoSidedTail(sample)
                self._views.append((tail, _Scale(tail.score_many(probe))))
            else:
                near = NeighbourDistance(probe, detector.neighbours)
                self._views.append((near, _Scale(near.score_many(probe, among=True))))

    def finite(self, matrix: Float64Array) -> Float64Array:
        """Put the sample's median where there is no number, which no view finds unusual, and bound the rest."""
        return np.clip(np.where(np.isnan(matrix), self._middle, matrix), -_LIMIT, _LIMIT)

    def score_many(self, matrix: Float64Array) -> Float64Array:
        matrix = self.finite(matrix)
        nats: Float64Array = np.max([scale.nats(view.score_many(matrix)) for view, scale in self._views], axis=0)
        return nats


def _nanmedian(sample: Float64Array) -> Float64Array:
    filled = np.where(np.isnan(sample).all(axis=0), 0.0, sample)
    middle: Float64Array = np.nanmedian(filled, axis=0)
    return middle


class SurpriseEnsemble(base.AnomalyDetector):
    """River's anomaly detector over numeric rows, with an exact batch twin. Scores are nats: 7 is one in a thousand.

    ``size`` rows of the past are kept; ``views`` names the detectors that look at them; ``trees`` isolation trees have
    ``subsample`` rows each; distances are to the ``neighbours``-th neighbour. ``names`` fixes the features and the
    order of a matrix's columns; without it the first learned dict does. A feature without a value says nothing, and one
    that is not among the names is not looked at.

    >>> from detection.detectors.surprise import SurpriseEnsemble
    >>> ensemble = SurpriseEnsemble(seed=7)
    >>> for place in range(500):
    ...     ensemble.learn_one({"rate": place % 10, "length": (place * 7) % 13})
    >>> ensemble.score_one({"rate": 5, "length": 6}) < 2 < ensemble.score_one({"rate": 90, "length": 6})
    True
    """

    def __init__(
        self,
        size: int = 4096,
        trees: int = 50,
        subsample: int = 256,
        neighbours: int = 5,
        views: Sequence[View] = VIEWS,
        seed: int = 20261129,
        names: Sequence[Any] | None = None,
    ) -> None:
        self.size = size
        self.trees = trees
        self.subsample = subsample
        self.neighbours = neighbours
        self.views = views
        self.seed = seed
        self.names = names
        self._order: tuple[Any, ...] = tuple(names or ())
        self._sample = Reservoir(size, len(self._order), seed)
        self._fitted: _Fitted | None = None
        self._next_fit = _FIRST

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        """Take one row into the past."""
        if not self._order:
            self._order = tuple(sorted(x, key=str))
            self._sample = Reservoir(self.size, len(self._order), self.seed)
        self.learn_many(self._row(x))

    def score_one(self, x: Mapping[Any, Any]) -> float:
        """Score one row against the past, without learning it; 0 before the past has 32 rows."""
        return float(self.score_many(self._row(x))[0]) if self._fitted else 0.0

    def _row(self, x: Mapping[Any, Any]) -> Float64Array:
        return np.array([[x.get(name, math.nan) for name in self._order]], np.float64)

    def score_many(self, matrix: Float64Array) -> Float64Array:
        """Score rows, shape ``(n, features)`` in the order of ``names``, without learning them."""
        return self._fitted.score_many(matrix) if self._fitted and len(matrix) else np.zeros(len(matrix))

    def learn_many(self, matrix: Float64Array) -> None:
        """Take rows into the past in their order; the same as ``learn_one`` of each."""
        self._walk(matrix, score=False)

    def score_learn_many(self, matrix: Float64Array) -> Float64Array:
        """Score each row against the rows before it and then learn it; the same as one after the other."""
        return self._walk(matrix, score=True)

    def _walk(self, matrix: Float64Array, *, score: bool) -> Float64Array:
        scores = np.zeros(len(matrix))
        start = 0
        while start < len(matrix):
            stop = min(len(matrix), start + self._next_fit - self._sample.seen)
            part = matrix[start:stop]
            if score:
                scores[start:stop] = self.score_many(part)
            self._sample.add(part)
            if self._sample.seen == self._next_fit:
                self._fitted = _Fitted(self, self._sample.rows, self._sample.seen)
                self._next_fit = math.ceil(self._next_fit * _GROWTH)
            start = stop
        return scores
