from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.detectors.calibration import build, pool_upwards
from detection.detectors.reference import LEVELS, Reference, References
from detection.detectors.tail import DirectionalTail, Tables, certainty, raw_scores

if TYPE_CHECKING:
    from detection.columns import Float64Array
    from detection.detectors.reference import Direction


def tail_probability(values: Float64Array, table: Float64Array, count: int, direction: Direction) -> Float64Array:
    """Read values of one feature."""
    one = Reference(
        names=("one",),
        directions=(direction,),
        quantiles=(tuple(table.tolist()),),
        counts=(count,),
        median=0.0,
        q95=0.0,
        count=count,
    )
    return Tables(one).probabilities(values[:, None])[:, 0]


def uniform(count: int = 1000) -> Reference:
    values = np.arange(count, dtype=np.float64)
    return build(["up", "down"], ["high", "low"], np.stack([values, values[::-1]], 1))


def test_the_rank_in_the_middle_and_at_the_ends() -> None:
    table = np.array([level * 1000 for level in LEVELS])
    x = np.array([-5.0, 0.0, 500.0, 990.0, 1000.0])
    # P(honest >= x) over 1000 honest values, as (rank + 1) / 1001.
    expected = [1.0, 1.0, 501 / 1001, 11 / 1001, 1 / 1001]
    assert tail_probability(x, table, 1000, "high") == pytest.approx(expected)
    assert tail_probability(-x, -table[::-1], 1000, "low") == pytest.approx(expected)


def test_beyond_the_last_honest_value_the_tail_is_exponential() -> None:
    table = np.array([level * 1000 for level in LEVELS])
    scale = 90 / math.log(10)  # Between q90 = 900 and q99 = 990 an exponential falls to a tenth.
    p = tail_probability(np.array([1000 + scale]), table, 1000, "high")
    assert p[0] == pytest.approx(math.exp(-1) / 1001)


def test_a_reference_without_width_knows_only_its_size() -> None:
    zeros = build(["share"], ["high"], np.zeros((59, 1)))
    table = np.array(zeros.quantiles[0])
    p = tail_probability(np.array([0.0, 1e-9, 1.0]), table, 59, "high")
    assert p == pytest.approx([1.0, 1 / 60, 1 / 60])


def test_the_score_by_hand() -> None:
    reference = msgspec.structs.replace(uniform(), median=0.25, q95=2.25)
    # "up" 989.01 is at level .99: p = (.01 * 1000 + 1) / 1001; "down" is ordinary and adds nothing.
    nats = -math.log(11 / 1001) - 1
    scores, addends = DirectionalTail(reference).score_many(np.array([[989.01, 500.0]]))
    assert scores[0] == pytest.approx((nats - 0.25) / 2.0)
    assert addends[0] == pytest.approx([nats / 2.0, 0.0])


def test_no_feature_adds_more_than_five_nats() -> None:
    assert raw_scores(uniform(), np.array([[1e12, -1e12]]))[0] == pytest.approx(10.0)


def test_median_and_q95_are_those_of_the_honest_subjects() -> None:
    reference = uniform()
    values = np.arange(1000.0)
    raw = raw_scores(reference, np.stack([values, values[::-1]], 1))
    assert reference.median == pytest.approx(float(np.quantile(raw, 0.5)), abs=1e-6)
    assert reference.q95 == pytest.approx(float(np.quantile(raw, 0.95)), abs=1e-6)
    assert np.mean(DirectionalTail(reference).score_many(np.stack([values, values[::-1]], 1))[0] > 1) <= 0.05


def test_missing_values_add_nothing_and_a_feature_without_honest_values_is_silent() -> None:
    matrix = np.array([[value, math.nan] for value in range(100)], np.float64)
    reference = build(["seen", "never"], ["high", "high"], matrix)
    assert reference.counts == (100, 0)
    assert raw_scores(reference, np.array([[math.nan, 7.0]]))[0] == 0.0


def test_learning_changes_nothing_and_unknown_features_are_ignored() -> None:
    tail = DirectionalTail(uniform())
    before = tail.score_one({"up": 999.0, "down": 3.0})
    tail.learn_one({"up": 999.0, "down": 3.0})
    assert tail.score_one({"down": 3.0, "up": 999.0, "other": 1.0}) == before
    assert tail.clone().score_one({"up": 999.0, "down": 3.0}) == before


@given(st.lists(st.tuples(st.floats(-2e3, 2e3), st.floats(-2e3, 2e3)), min_size=1, max_size=20))
def test_the_batch_is_the_single_score_exactly(rows: list[tuple[float, float]]) -> None:
    tail = DirectionalTail(uniform(200))
    batch = tail.score_many(np.array(rows))[0].tolist()
    assert batch == [tail.score_one({"up": up, "down": down}) for up, down in rows]


@given(st.floats(-100, 1200), st.floats(0, 500))
def test_further_out_never_scores_less(x: float, step: float) -> None:
    reference = uniform(300)
    near, far = raw_scores(reference, np.array([[x, 150.0], [x + step, 150.0]]))
    assert far >= near


def test_references_come_back_from_json() -> None:
    references = References(version="r1", accounts={40: uniform()}, pools={"template/4-7": uniform(60)})
    raw = references.to_json()
    assert References.from_json(raw) == references
    assert References.from_json(raw).to_json() == raw


def test_a_reference_whose_tables_do_not_fit_is_refused() -> None:
    good = References(version="r1", pools={"x": uniform()}).to_json()
    with pytest.raises(msgspec.ValidationError, match="one direction"):
        References.from_json(good.replace(b'["up","down"]', b'["up"]'))
    with pytest.raises(ValueError, match="at least one row"):
        build(["a"], ["high"], np.empty((0, 1)))
    with pytest.raises(ValueError, match="sorted"):
        msgspec.structs.replace(uniform(), quantiles=((1.0, 0.0), (0.0,)))


def test_the_expected_value_is_the_honest_median() -> None:
    assert uniform(1001).expected("up") == 500.0
    assert build(["a"], ["high"], np.array([[math.nan]])).expected("a") == 0.0


def test_a_score_at_its_threshold_is_half_certain_and_doubt_halves_with_every_quarter() -> None:
    assert [certainty(score, 2.0) for score in (2.0, 2.5, 3.0, 4.0)] == [0.5, 0.75, 0.875, 0.96875]


def test_many_rows_at_once_score_as_they_do_one_by_one() -> None:
    tail = DirectionalTail(uniform())
    matrix = np.random.default_rng(5).normal(500, 400, (1500, 2))
    matrix[::7, 0] = np.nan
    together = tail.score_many(matrix)
    apart = [tail.score_many(row[None, :]) for row in matrix]
    assert np.array_equal(together[0], np.concatenate([scores for scores, _ in apart]))
    assert np.array_equal(together[1], np.concatenate([addends for _, addends in apart]))


def test_counts_that_few_reach_speak_through_the_next_lower_one() -> None:
    matrices = {count: [np.full((rows, 1), float(count))] for count, rows in ((40, 9), (80, 5), (160, 3), (320, 2))}
    pooled = pool_upwards(matrices, 5)
    assert {count: sorted(set(rows[:, 0].tolist())) for count, rows in pooled.items()} == {
        40: [40.0],
        80: [80.0],
        160: [160.0, 320.0],
    }
    # Too few at the bottom have none; nothing is taken from above that has spoken already.
    assert set(pool_upwards({40: [np.zeros((4, 1))], 80: [np.zeros((5, 1))]}, 5)) == {80}
