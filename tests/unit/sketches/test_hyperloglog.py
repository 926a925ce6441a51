from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.ids import mix
from detection.sketches.hyperloglog import Registers, estimate, offers


def sketch(values: list[int], m: int) -> Registers:
    registers = np.zeros(m, np.uint8)
    places, ranks = offers(np.array(values, np.uint64), m)
    np.maximum.at(registers, places, ranks)
    return registers


def plain_offer(value: int, m: int) -> tuple[int, int]:
    mixed = int(mix(np.array([value], np.uint64))[0])
    return mixed % m, 54 - (mixed >> 11).bit_length()


@given(st.lists(st.integers(1, 2**64 - 1), max_size=30))
def test_offers_are_those_of_plain_integers(values: list[int]) -> None:
    places, ranks = offers(np.array(values, np.uint64), 64)
    assert list(zip(places.tolist(), ranks.tolist(), strict=True)) == [plain_offer(value, 64) for value in values]


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)))
def test_merging_is_the_sketch_of_all(left: list[int], right: list[int]) -> None:
    assert np.array_equal(np.maximum(sketch(left, 32), sketch(right, 32)), sketch(right + left, 32))


def test_the_absent_hash_is_not_counted() -> None:
    assert estimate(sketch([0, 0], 64)) == 0.0


@pytest.mark.parametrize("m", [32, 64, 128])
@pytest.mark.parametrize("count", [1, 5, 20, 40, 160, 640, 2560])
def test_the_estimate_is_unbiased_within_its_stated_error(m: int, count: int) -> None:
    generator = np.random.default_rng(7)
    rows = np.stack([sketch(generator.integers(1, 2**63, count).tolist(), m) for _ in range(200)])
    ratios = estimate(rows) / count
    assert abs(float(ratios.mean()) - 1) < 4 * 1.04 / np.sqrt(m * 200) + 0.02
    assert float(ratios.std()) < 1.25 * 1.04 / np.sqrt(m)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rows = np.stack([sketch(list(range(1, n)), 128) for n in (2, 50, 900)])
    assert estimate(rows).tolist() == [float(estimate(row)) for row in rows]
