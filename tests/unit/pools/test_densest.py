"""Workers among many honest strangers are found as the densest part; a varied or uniform pool has none."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.pools.densest import LEAST, densest
from detection.pools.hop import merge_rows


def test_workers_are_the_densest_part_of_a_popular_pool(traffic: Any) -> None:
    rng = np.random.default_rng(11)
    workers = traffic.campaign(rng, 1, 30)
    members = merge_rows(traffic.contributions(workers + traffic.organic(rng, 1, 90)))
    inside = members["customer"][densest(members)]
    guilty = {r.customer for r in workers}
    assert len(guilty & set(inside.tolist())) >= 27
    assert sum(customer not in guilty for customer in inside.tolist()) <= 5


def test_a_pool_that_is_alike_as_a_whole_has_no_part(traffic: Any) -> None:
    members = merge_rows(traffic.contributions(traffic.campaign(np.random.default_rng(12), 1, 40)))
    assert len(densest(members)) == 0
    assert len(densest(members[: LEAST - 1])) == 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(traffic: Any, seed: int) -> None:
    rng = np.random.default_rng(13)
    members = merge_rows(traffic.contributions(traffic.campaign(rng, 1, 12) + traffic.organic(rng, 1, 20)))
    shuffled = members[np.random.default_rng(seed).permutation(len(members))]
    assert set(members["customer"][densest(members)].tolist()) == set(shuffled["customer"][densest(shuffled)].tolist())
