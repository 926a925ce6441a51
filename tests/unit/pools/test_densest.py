"""Workers among many honest strangers are found as the densest part; a varied or uniform pool has none."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.columns import FIXED_POINT
from detection.pools.densest import LEAST, densest
from detection.pools.hop import merge_rows
from detection.pools.layout import SUM_PLACE


def test_workers_are_the_densest_part_of_a_popular_pool(traffic: Any) -> None:
    rng = np.random.default_rng(11)
    workers = traffic.campaign(rng, 1, 30)
    members = merge_rows(traffic.contributions(workers + traffic.organic(rng, 1, 90)))
    inside = members["customer"][densest(members).part]
    guilty = {r.customer for r in workers}
    assert len(guilty & set(inside.tolist())) >= 27
    assert sum(customer not in guilty for customer in inside.tolist()) <= 5


def test_a_pool_that_is_alike_has_no_part_and_speaks_as_a_whole(traffic: Any) -> None:
    members = merge_rows(traffic.contributions(traffic.campaign(np.random.default_rng(12), 1, 40)))
    for some in (members, members[: LEAST - 1]):
        part, whole = densest(some)
        assert (len(part), whole) == (0, True)


def test_a_crowd_in_which_nobody_is_alike_speaks_neither_as_a_whole_nor_in_part(traffic: Any) -> None:
    members = merge_rows(traffic.contributions(traffic.organic(np.random.default_rng(14), 1, 40)))
    crowd = members.copy()
    # Everybody's answers twice as long as the next one's.
    requests = crowd["sums"][:, SUM_PLACE["requests"]]
    crowd["sums"][:, SUM_PLACE["log_output"]] = requests * (np.arange(len(crowd)) % 20) * FIXED_POINT
    part, whole = densest(crowd)
    assert (len(part), whole) == (0, False)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(traffic: Any, seed: int) -> None:
    rng = np.random.default_rng(13)
    members = merge_rows(traffic.contributions(traffic.campaign(rng, 1, 12) + traffic.organic(rng, 1, 20)))
    shuffled = members[np.random.default_rng(seed).permutation(len(members))]
    assert set(members["customer"][densest(members).part].tolist()) == set(
        shuffled["customer"][densest(shuffled).part].tolist()
    )
