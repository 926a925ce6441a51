"""The bound of the head: it orders, by less than half, and whatever it says the best stays before the worst."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.ranking.head import TrainedHead
from detection.ranking.priority import LEAST_POSITIVES, MOST_WEIGHT, priority_of, rank_of, weight_of

RATIOS = st.floats(0.5, 20)
SHARES = st.floats(0, 1)


def head(positives: int, intercept: float = 0.0) -> TrainedHead:
    return TrainedHead("supervised/9", positives, {"intercept": intercept, "steps": 1.0})


@given(st.integers(0, 10_000))
def test_its_say_begins_at_twenty_positives_grows_with_them_and_stays_below_one_half(positives: int) -> None:
    weight = weight_of(head(positives))
    assert weight <= MOST_WEIGHT < 0.5
    assert (weight > 0) == (positives >= LEAST_POSITIVES)
    assert weight <= weight_of(head(positives + 1))
    assert weight_of(None) == 0.0


@given(SHARES, SHARES, st.integers(0, 10_000), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_head_moves_nothing_further_than_its_say(
    first: float, second: float, positives: int, says: float, other: float
) -> None:
    weight = weight_of(head(positives))
    high, low = max(first, second), min(first, second)
    # The worst that a head can do to these two: all against the one, all for the other.
    above = priority_of(high, head(positives, min(says, other)), {})
    below = priority_of(low, head(positives, max(says, other)), {})
    assert abs(above - high) <= weight + 1e-4
    if high - low > weight / (1 - weight) + 1e-3:
        assert above > below


@given(st.lists(RATIOS, max_size=40), RATIOS, RATIOS)
def test_a_higher_score_never_ranks_lower(history: list[float], one: float, other: float) -> None:
    assert rank_of(min(one, other), history) <= rank_of(max(one, other), history)
    assert 0.0 <= rank_of(one, history) <= 1.0


def test_a_rank_is_certainty_at_first_and_the_share_below_later() -> None:
    assert rank_of(1.0, []) == 0.5
    assert rank_of(2.0, [1.0] * 128 + [3.0] * 128) == pytest.approx(0.5, abs=0.02)
    assert rank_of(9.0, [1.0] * 256) > 0.99
