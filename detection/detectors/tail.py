"""Directional tail: how far a subject lies out on the side that each feature calls suspicious.

For feature j, p_j is the share of honest subjects at least as extreme on that side. The raw score is the sum of
``max(0, min(-ln p_j, 6) - 1)``, in nats: an ordinary feature adds nothing, and none adds more than five. Of the
features of one aspect only the strongest speaks, and a feature that is an alibi takes up to three nats away where a
subject lies on the honest side: ``max(-3, -ln p_j - 1 + ln(2 (1 - p_j)))`` for p_j above one half. The score is
``(raw - median) / (q95 - median)`` of the honest subjects' raw scores: 0 is ordinary, 1 is the honest 95th percentile.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from river import base

from detection.detectors.reference import LEVELS, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from detection.columns import Float64Array

CAP_NATS: Final = 6.0  # Rarer than 1 in 400 counts as 1 in 400: a reference rarely knows more.
IDLE_NATS: Final = 1.0  # Two in five honest values lie out this far; they are no evidence.
ALIBI_NATS: Final = 3.0  # One aspect alone must not clear what all others agree on.
_HALVINGS: Final = 4.0  # Of doubt, from the threshold to twice the threshold.
MOST_CERTAIN: Final = 0.99  # An alert is a lead: behaviour alone is no proof.
_LEAST_SPREAD: Final = 1.0  # Nats. A reference whose scores all agree would blow up the smallest difference.
_LEVELS: Final = np.array(LEVELS)
_ROWS_AT_ONCE: Final = 512  # Times features times quantiles: a megabyte of comparisons.
_Q90: Final = LEVELS.index(0.9)
_Q99: Final = LEVELS.index(0.99)


class Tables:
    """A reference's tables as arrays: all features of all rows are read at once. Shapes ``(features, ...)``."""

    def __init__(self, reference: Reference) -> None:
        width = len(reference.names)
        self.counts = np.array(reference.counts, np.float64)
        self.sign = np.array([1.0 if direction == "high" else -1.0 for direction in reference.directions])
        self.honest = np.zeros((width, len(LEVELS)))  # Ascending towards the suspicious side.
        for j, (table, direction) in enumerate(zip(reference.quantiles, reference.directions, strict=True)):
            if table:
                self.honest[j] = table if direction == "high" else -np.array(table)[::-1]
        self.scale = (self.honest[:, _Q99] - self.honest[:, _Q90]) / math.log(10.0)
        self.alibis = np.array(reference.alibis or (False,) * width, np.bool_)
        groups: dict[str, list[int]] = {}
        for j, aspect in enumerate(reference.aspects):
            groups.setdefault(aspect, []).append(j)
        self.aspects = [np.array(columns) for columns in groups.values() if len(columns) > 1]

    def probabilities(self, matrix: Float64Array) -> Float64Array:
        """Give P(honest value at least as extreme), 0..1, shape of ``matrix``; 1 where value or table is missing.

        Between quantiles it is interpolated; a rank r of n honest values reads as (r + 1) / (n + 1). Beyond the most
        extreme honest value the tail goes on as an exponential with the scale of the outer tenth, and stays at
        1 / (n + 1) where the outer tenth has no width: then nothing is known of how rare "further" is.
        """
        x = matrix * self.sign
        every = np.arange(len(self.sign))
        # The number of table entries below x is where a left-sided search would put it; NaN goes to the end.
        at = (self.honest < x[:, :, None]).sum(axis=2)
        inside = np.clip(at, 1, len(LEVELS) - 1)
        low, high = self.honest[every, inside - 1], self.honest[every, inside]
        width = high - low
        part = np.clip((x - low) / np.where(width > 0, width, 1.0), 0.0, 1.0)
        below = _LEVELS[inside - 1] + part * (_LEVELS[inside] - _LEVELS[inside - 1])
        below[at == 0] = 0.0
        p: Float64Array = ((1.0 - below) * self.counts + 1.0) / (self.counts + 1.0)
        beyond = x > self.honest[:, -1]
        if beyond.any():
            scale = np.broadcast_to(self.scale, x.shape)[beyond]
            excess = (x - self.honest[:, -1])[beyond] / np.where(scale > 0, scale, np.inf)
            p[beyond] = np.exp(-excess) / (np.broadcast_to(self.counts, x.shape)[beyond] + 1.0)
        p[np.isnan(x) | (self.counts == 0)] = 1.0
        return p

    def nats(self, matrix: Float64Array) -> Float64Array:
        """Give each feature's nats, shape of ``matrix``; of each aspect the feature that says most, others nothing."""
        if len(matrix) > _ROWS_AT_ONCE:
            parts = range(0, len(matrix), _ROWS_AT_ONCE)
            return np.concatenate([self.nats(matrix[start : start + _ROWS_AT_ONCE]) for start in parts])
        p = self.probabilities(matrix)
        # Below e^-6 the logarithm is capped anyway, and an underflow to 0 would warn.
        nats = np.minimum(-np.log(np.maximum(p, 1e-300)), CAP_NATS) - IDLE_NATS
        cleared = np.maximum(nats + np.log(np.clip(2.0 * (1.0 - p), 1e-300, 1.0)), -ALIBI_NATS)
        cleared[np.isnan(matrix)] = 0.0
        nats = np.where(self.alibis, cleared, np.maximum(nats, 0.0))
        every = np.arange(len(nats))
        for columns in self.aspects:
            part = nats[:, columns]
            best = np.argmax(part, axis=1)
            kept = np.zeros_like(part)
            kept[every, best] = part[every, best]
            nats[:, columns] = kept
        return nats


def _sum(nats: Float64Array) -> Float64Array:
    # Column by column: numpy's own row sums change their order of addition with the shape of the batch.
    total = np.zeros(len(nats))
    for column in nats.T:
        total += column
    return total


def certainty(score: float, threshold: float) -> float:
    """Tell how sure a score is: 0.5 at its threshold, 0.99 at most, 0 from a quarter below it.

    Doubt halves with every quarter of the threshold. Of honest pools and accounts that no reference had seen, half as
    many reach a score that is a twelfth of the threshold higher, so this is the cautious side.
    """
    beyond = max(score / threshold - 1.0, -1.0 / _HALVINGS)
    return min(1.0 - math.exp2(-1.0 - _HALVINGS * beyond), MOST_CERTAIN)


def raw_scores(reference: Reference, matrix: Float64Array) -> Float64Array:
    """Give the raw scores in nats of rows of features in the order of ``reference.names``."""
    return _sum(Tables(reference).nats(matrix))


class DirectionalTail(base.AnomalyDetector):
    """River's anomaly detector over a frozen ``reference``, with an exact batch twin.

    >>> import numpy as np
    >>> from detection.detectors.calibration import build
    >>> honest = build(["rate"], ["high"], np.arange(1000.0)[:, None])
    >>> tail = DirectionalTail(honest)
    >>> tail.score_one({"rate": 500.0}) == 0.0, tail.score_one({"rate": 998.0}) > 1.0
    (True, True)
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._tables = Tables(reference)

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        # River's checks make estimators without arguments, and a reference has no sensible default.
        yield {
            "reference": Reference(
                names=("a",), directions=("high",), quantiles=(LEVELS,), counts=(400,), median=0.0, q95=2.0, count=400
            )
        }

    @property
    def spread(self) -> float:
        """The honest q95 minus the median, in nats, at least 1."""
        return max(self.reference.q95 - self.reference.median, _LEAST_SPREAD)

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        """Learn nothing, on purpose: a reference is frozen, so that an attacker cannot teach it."""

    def score_one(self, x: Mapping[Any, Any]) -> float:
        """Score one subject; features that are missing add nothing, unknown ones are not looked at."""
        row = np.array([[x.get(name, math.nan) for name in self.reference.names]], np.float64)
        return float(self.score_many(row)[0][0])

    def score_many(self, matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Score rows of features in the order of ``reference.names``; NaN means "no value".

        Returns the scores, shape ``(n,)``, and each feature's addend in them, shape ``(n, features)``: the addends of
        a row sum to its score plus ``median / spread``.
        """
        nats = self._tables.nats(np.asarray(matrix, np.float64))
        return (_sum(nats) - self.reference.median) / self.spread, nats / self.spread
