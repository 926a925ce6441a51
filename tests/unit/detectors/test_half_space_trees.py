from __future__ import annotations

import math
import pickle
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import anomaly

from detection.detectors.half_space_trees import ForeignStateError, HalfSpaceTrees

NAMES = ("b", "a", "c")


def rows(count: int, seed: int = 1, missing: float = 0.0) -> list[dict[str, float]]:
    generator = random.Random(seed)  # noqa: S311 - Test data.
    return [{name: generator.random() for name in NAMES if generator.random() >= missing} for _ in range(count)]


def matrix(dicts: list[dict[str, float]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([[x.get(name, math.nan) for name in NAMES] for x in dicts]).reshape(-1, len(NAMES))


@settings(max_examples=25, deadline=None)
@given(
    trees=st.integers(1, 6),
    height=st.integers(1, 7),
    window=st.integers(1, 60),
    seed=st.integers(0, 1000),
    missing=st.sampled_from([0.0, 0.2]),
    wide=st.booleans(),
)
def test_scores_are_rivers_to_the_last_bit(
    trees: int, height: int, window: int, seed: int, missing: float, wide: bool
) -> None:
    limits: Any = {"a": (-1.0, 3.0), "b": (0.25, 0.5)} if wide else None
    river: Any = anomaly.HalfSpaceTrees(n_trees=trees, height=height, window_size=window, limits=limits, seed=seed)
    ours = HalfSpaceTrees(n_trees=trees, height=height, window_size=window, limits=limits, seed=seed)
    batch = HalfSpaceTrees(n_trees=trees, height=height, window_size=window, limits=limits, seed=seed, names=NAMES)
    stream = [dict.fromkeys(NAMES, 0.5), *rows(150, seed, missing)]
    expected = []
    for x in stream:
        expected.append(river.score_one(x))
        river.learn_one(x)
    found = []
    for x in stream:
        found.append(ours.score_one(x))
        ours.learn_one(x)
    assert found == expected
    assert batch.score_learn_many(matrix(stream), np.ones(len(stream), bool)).tolist() == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 120), max_size=5), st.integers(0, 100))
def test_cutting_a_batch_changes_nothing(borders: list[int], seed: int) -> None:
    stream = matrix(rows(120, seed, 0.05))
    learn = np.array([i % 3 > 0 for i in range(120)])
    whole = HalfSpaceTrees(5, 4, 20, seed=3, names=NAMES)
    parts = HalfSpaceTrees(5, 4, 20, seed=3, names=NAMES)
    expected = whole.score_learn_many(stream, learn)
    edges = sorted({0, 120, *borders})
    found = [parts.score_learn_many(stream[a:b], learn[a:b]) for a, b in pairwise(edges)]
    assert np.concatenate(found).tolist() == expected.tolist()
    assert parts.dump() == whole.dump()


def test_learning_in_one_go_is_learning_one_by_one() -> None:
    stream = rows(130)
    one, many = (HalfSpaceTrees(5, 4, 50, seed=3, names=NAMES) for _ in range(2))
    for x in stream:
        one.learn_one(x)
    many.learn_many(matrix(stream))
    assert one.dump() == many.dump()
    assert many.score_many(matrix(stream)).tolist() == [one.score_one(x) for x in stream]


def test_state_comes_back_and_foreign_state_is_refused() -> None:
    stream = matrix(rows(170))
    first, second = (HalfSpaceTrees(5, 4, 50, seed=3, names=NAMES) for _ in range(2))
    first.learn_many(stream[:80])
    second.load(first.dump())
    every = np.ones(90, bool)
    assert first.score_learn_many(stream[80:], every).tolist() == second.score_learn_many(stream[80:], every).tolist()
    with pytest.raises(ForeignStateError, match="saved"):
        HalfSpaceTrees(5, 4, 50, seed=4, names=NAMES).load(first.dump())


def test_rivers_own_ways_with_an_estimator() -> None:
    trees = HalfSpaceTrees(5, 4, 50, seed=3, names=NAMES)
    x = {"a": 0.1, "b": 0.2, "c": 0.3}
    trees.learn_one(x)
    assert x == {"a": 0.1, "b": 0.2, "c": 0.3}
    assert pickle.loads(pickle.dumps(trees)).dump() == trees.dump()  # noqa: S301 - Our own bytes.
    assert trees.clone().counter == 0
    assert trees.clone().score_one({"b": 1.0, "other": 2.0}) == 0.0


def test_a_batch_of_nothing() -> None:
    trees = HalfSpaceTrees(names=NAMES)
    trees.learn_many(np.empty((0, 3)))
    assert trees.score_learn_many(np.empty((0, 3)), np.empty(0, bool)).tolist() == []
    assert HalfSpaceTrees().score_one({"a": 1.0}) == 0.0
