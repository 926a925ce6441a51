"""The supervised head: what it learns, that its state is whole, and that it depends on nothing but the labels."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from detection.detectors.supervised import SupervisedHead

VALUES = st.floats(-50, 50).map(lambda value: round(value, 4))
VECTORS = st.dictionaries(st.sampled_from("abcde"), VALUES, min_size=1)
LESSONS = st.lists(st.tuples(VECTORS, st.booleans()), min_size=1, max_size=30)


def taught(lessons: list[tuple[dict[str, float], bool]]) -> SupervisedHead:
    head = SupervisedHead()
    for vector, confirmed in lessons:
        head.learn_one(vector, confirmed=confirmed)
    return head


def test_it_knows_nothing_before_the_first_label() -> None:
    assert SupervisedHead().score_one({"a": 3.0}) == 0.5


def test_it_tells_what_people_confirm_from_what_they_do_not() -> None:
    head = taught([({"signal": 3.0 + n % 3, "noise": n * 7 % 5}, True) for n in range(30)])
    for n in range(30):
        head.learn_one({"signal": float(n % 2), "noise": n * 7 % 5}, confirmed=False)
    assert head.score_one({"signal": 4.5, "noise": 2.0}) > 0.8
    assert head.score_one({"signal": 0.5, "noise": 2.0}) < 0.3


@given(LESSONS, LESSONS)
def test_a_head_rebuilt_from_its_parameters_goes_on_bit_by_bit(
    before: list[tuple[dict[str, float], bool]], after: list[tuple[dict[str, float], bool]]
) -> None:
    whole = taught(before)
    rebuilt = SupervisedHead.from_parameters(json.loads(json.dumps(whole.parameters())))
    for vector, confirmed in after:
        assert rebuilt.score_one(vector) == whole.score_one(vector)
        whole.learn_one(vector, confirmed=confirmed)
        rebuilt.learn_one(vector, confirmed=confirmed)
    assert rebuilt.parameters() == whole.parameters()


@given(LESSONS)
def test_the_order_of_features_and_values_that_are_no_numbers_do_not_matter(
    lessons: list[tuple[dict[str, float], bool]],
) -> None:
    turned = [
        (dict(reversed(vector.items())) | {"z": math.nan, "y": math.inf}, confirmed) for vector, confirmed in lessons
    ]
    assert taught(turned).parameters() == taught(lessons).parameters()


@given(VECTORS)
def test_inputs_stay_untouched(vector: dict[str, float]) -> None:
    copy = dict(vector)
    head = taught([(vector, True)])
    head.score_one(vector)
    assert vector == copy
