"""A trained head without River: the same probabilities, and a number between 0 and 1 whatever it was given."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.detectors.supervised import SupervisedHead
from detection.ranking.head import TrainedHead

VALUES = st.floats(-50, 50).map(lambda value: round(value, 4))
VECTORS = st.dictionaries(st.sampled_from("abcde"), VALUES, min_size=1)
LESSONS = st.lists(st.tuples(VECTORS, st.booleans(), st.floats(0.1, 5)), min_size=1, max_size=30)
ANY = st.floats(allow_nan=False, allow_infinity=False)


@given(LESSONS, VECTORS)
def test_it_says_what_river_says(lessons: list[tuple[dict[str, float], bool, float]], vector: dict[str, float]) -> None:
    river = SupervisedHead()
    for each, confirmed, weight in lessons:
        river.learn_one(each, confirmed=confirmed, weight=weight)
    trained = TrainedHead("supervised/1", 0, river.parameters())
    assert trained.probability(vector) == pytest.approx(river.score_one(vector), abs=1e-9)


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(ANY, ANY, ANY)), ANY, st.dictionaries(st.text(), st.floats()))
def test_no_numbers_take_it_out_of_its_range(
    features: dict[str, tuple[float, float, float]], intercept: float, vector: dict[str, float]
) -> None:
    parameters = {"intercept": intercept, "steps": 1.0}
    for name, (mean, variance, weight) in features.items():
        parameters |= {f"count.{name}": 1.0, f"mean.{name}": mean}
        parameters |= {f"variance.{name}": variance, f"weight.{name}": weight}
    assert 0.0 <= TrainedHead("supervised/1", 0, parameters).probability(vector) <= 1.0


@pytest.mark.parametrize(
    "parameters", [{}, {"intercept": math.nan}, {"intercept": math.inf}, {"intercept": 0.0, "count.a": 1.0}]
)
def test_what_is_no_head_is_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="supervised/3"):
        TrainedHead("supervised/3", 0, parameters)
