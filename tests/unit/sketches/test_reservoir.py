"""The sample of the past: uniform, bounded, and blind to how the stream is cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detection.sketches.reservoir import Reservoir


@given(st.lists(st.integers(0, 300), max_size=6), st.integers(1, 50), st.integers(0, 2**63))
def test_cutting_the_stream_elsewhere_keeps_the_same_rows(borders: list[int], size: int, seed: int) -> None:
    stream = np.arange(600.0).reshape(300, 2)
    whole, parts = Reservoir(size, 2, seed), Reservoir(size, 2, seed)
    whole.add(stream)
    for start, stop in pairwise(sorted({0, 300, *borders})):
        parts.add(stream[start:stop])
    assert whole.seen == parts.seen == 300
    assert len(whole.rows) == size
    assert whole.rows.tolist() == parts.rows.tolist()


def test_everything_is_kept_while_there_is_room() -> None:
    reservoir = Reservoir(10, 1, 3)
    reservoir.add(np.arange(7.0)[:, None])
    assert reservoir.rows[:, 0].tolist() == list(range(7))


def test_early_and_late_rows_have_the_same_chance() -> None:
    kept = np.zeros(1000)
    for seed in range(200):
        reservoir = Reservoir(100, 1, seed)
        reservoir.add(np.arange(1000.0)[:, None])
        kept[reservoir.rows[:, 0].astype(int)] += 1
    tenths = kept.reshape(10, 100).sum(axis=1)
    # 2,000 each, with a standard deviation of about 42.
    assert (abs(tenths - 2000) < 5 * 42).all()
