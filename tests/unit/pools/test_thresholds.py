"""Pools that accuse more people must be surer."""

from __future__ import annotations

import pytest

from detection.config import PoolLane
from detection.pools.thresholds import threshold_of

LANE = PoolLane(threshold=2.4)


@pytest.mark.parametrize(
    ("customers", "threshold"), [(3, 2.4), (8, 2.4), (16, 2.6), (32, 2.8), (64, 3.0), (25_000, 3.0)]
)
def test_a_pool_of_twice_the_customers_must_score_a_twelfth_more_up_to_64(customers: int, threshold: float) -> None:
    assert threshold_of(customers, LANE) == pytest.approx(threshold)
