"""The unsupervised ensemble: what it finds, what it ignores, and that no cut of the stream can change a score."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.detectors.density import NeighbourDistance, TwoSidedTail
from detection.detectors.isolation import IsolationForest, average_path
from detection.detectors.surprise import VIEWS, SurpriseEnsemble, View

if TYPE_CHECKING:
    from detection.columns import Float64Array

NAMES = ("a", "b", "c")


def crowd(rows: int, seed: int = 1) -> Float64Array:
    return np.random.default_rng(seed).normal(size=(rows, 3))


def scored(matrix: Float64Array, **how: object) -> Float64Array:
    return SurpriseEnsemble(names=NAMES, trees=10, size=256, **how).score_learn_many(matrix)  # type: ignore[arg-type] - Keywords of the tests' own.


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=5), st.integers(0, 100))
def test_cutting_the_stream_changes_no_score(borders: list[int], seed: int) -> None:
    stream = crowd(400, seed)
    stream[::17, 1] = np.nan
    whole = scored(stream)
    ensemble = SurpriseEnsemble(names=NAMES, trees=10, size=256)
    parts = [ensemble.score_learn_many(stream[a:b]) for a, b in pairwise(sorted({0, 400, *borders}))]
    assert np.concatenate(parts).tolist() == whole.tolist()


def test_one_by_one_is_all_at_once() -> None:
    stream = crowd(150)
    one = SurpriseEnsemble(trees=10, size=64)
    found = []
    for row in stream.tolist():
        x = dict(zip(NAMES, row, strict=True))
        found.append(one.score_one(x))
        one.learn_one(x)
    many = SurpriseEnsemble(trees=10, size=64, names=NAMES).score_learn_many(stream)
    assert found == many.tolist()


def test_a_row_is_scored_before_it_is_learned() -> None:
    stream = crowd(300)
    stream[250] = 40.0
    scores = scored(stream)
    # The same outlier again and again: the first is judged without itself.
    again = stream.copy()
    again[251:] = 40.0
    assert scored(again)[250] == scores[250]
    assert scores[250] == scores.max()


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_alone_finds_what_lies_far_out(view: View) -> None:
    stream = crowd(600)
    stream[500] = 12.0
    scores = scored(stream, views=(view,))
    assert scores[500] >= np.quantile(scores, 0.998)


def test_neighbours_see_the_gap_that_single_features_hide() -> None:
    generator = np.random.default_rng(5)
    sides = generator.choice([-10.0, 10.0], (800, 1))
    stream = np.hstack([sides + generator.normal(size=(800, 1)) for _ in range(3)])
    stream[700] = 0.0  # Between the two crowds: the middle of every feature.
    assert scored(stream, views=("neighbours",)).argmax() == 700
    assert scored(stream, views=("tail",))[700] < 1.0


def test_a_burst_does_not_become_the_norm() -> None:
    stream = crowd(6000)
    stream[5000:5100] = crowd(100, 2) * 0.01 + 9.0
    scores = scored(stream)
    assert np.median(scores[5000:5100]) > np.quantile(scores[:5000], 0.99)


def test_missing_constant_and_endless_values() -> None:
    stream = crowd(300)
    stream[:, 1] = 4.0
    stream[120:, 2] = np.nan
    stream[200, 0], stream[201, 0] = np.inf, -np.inf
    scores = scored(stream)
    assert np.isfinite(scores).all()
    assert set(np.argsort(scores)[-2:].tolist()) == {200, 201}
    nothing = np.full((100, 3), np.nan)
    assert np.isfinite(scored(nothing)).all()


def test_nothing_is_known_at_first() -> None:
    scores = scored(crowd(60))
    assert not scores[:32].any()
    assert scores[32:].any()
    assert scored(np.empty((0, 3))).tolist() == []


def test_a_new_feature_is_not_looked_at() -> None:
    ensemble = SurpriseEnsemble(trees=10)
    for a, b, c in crowd(100).tolist():
        ensemble.learn_one({"b": b, "a": a, "c": c})
    assert ensemble.score_one({"a": 0.1, "b": 0.2, "c": 0.3, "d": 1e9}) == ensemble.score_one(
        {"c": 0.3, "b": 0.2, "a": 0.1}
    )


def test_scores_are_nats_of_the_past() -> None:
    stream = crowd(20_000)
    scores = SurpriseEnsemble(names=NAMES, views=("neighbours",)).score_learn_many(stream)[5_000:]
    # At 3 nats the scale rests on about fifty rows of the sample, known to a seventh: two and a half of that.
    for nats in (1.0, 2.0, 3.0):
        assert (scores >= nats).mean() == pytest.approx(np.exp(-nats), rel=0.35)


def test_an_isolation_forest_by_hand() -> None:
    # Two rows, one feature: one cut parts them, and the path of each is one.
    forest = IsolationForest(np.array([[0.0], [1.0]]), 5, 256, np.random.default_rng(1))
    assert forest.score_many(np.array([[0.0], [1.0]])).tolist() == [0.5, 0.5]
    assert average_path(np.array([0, 1, 2])).tolist() == [0.0, 0.0, 1.0]
    # Rows that are all alike cannot be parted: depth 0, and the leaf stands for the average path.
    same = IsolationForest(np.full((64, 2), 3.0), 5, 256, np.random.default_rng(1))
    assert same.score_many(np.full((1, 2), 3.0)).tolist() == [0.5]


def test_the_tail_by_hand() -> None:
    tail = TwoSidedTail(np.arange(1.0, 10.0)[:, None])
    # Of nine: the value 9 and more is one of them, so (1 + 1) / (9 + 1); 10 is none of them.
    assert tail.score_many(np.array([[9.0], [10.0], [5.0]])) == pytest.approx(-np.log([0.2, 0.1, 0.6]))


def test_distance_by_hand() -> None:
    near = NeighbourDistance(np.array([[0.0], [1.0], [2.0], [3.0], [4.0]]), neighbours=2)
    unit = 2.0 / 1.349  # From the first quartile 1 to the third 3.
    assert near.score_many(np.array([[10.0]])) == pytest.approx([7.0 / unit])
    assert near.score_many(np.array([[2.0]]), among=True) == pytest.approx([1.0 / unit])
