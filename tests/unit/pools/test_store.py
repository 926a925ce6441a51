"""The pool store: what ``dirty`` wrote, ``load`` takes back, however many rows there are."""

from __future__ import annotations

import numpy as np
import pytest

from detection.config import PoolLane
from detection.pools.layout import MEMBER
from detection.pools.store import MEMBER_KEY, POOL_KEY, PoolStore

HOP_MS = 900_000


def filled(pools: int) -> PoolStore:
    store = PoolStore(PoolLane(), HOP_MS)
    keys = np.arange(1, pools + 1, dtype=np.uint64) * np.uint64(7919)
    slots = store.pools.insert(keys)
    store.pools.rows["pool"][slots] = keys
    store.pools.rows["requests"][slots] = np.arange(pools)
    store.pools.dirty[slots] = True
    members = np.zeros(pools, MEMBER)
    members["pool"], members["customer"] = keys, keys + np.uint64(1)
    store._merge_members(members, slots)
    return store


@pytest.mark.parametrize("pools", [1, 256, 257, 3000])
def test_any_number_of_rows_comes_back(pools: int) -> None:
    before = filled(pools)
    keys, values = before.dirty()
    rows = dict(zip(keys, values, strict=True))
    after = PoolStore(PoolLane(), HOP_MS)
    after.load(
        [value for key, value in rows.items() if key.startswith(POOL_KEY) and value],
        [value for key, value in rows.items() if key.startswith(MEMBER_KEY) and value],
    )
    slots = np.arange(0)
    for store in (before, after):
        assert len(store.pools) == len(store.members) == pools
        slots = store.pools.slots()
        assert store.pools.rows["requests"][slots].tolist() == list(range(pools))
    assert after.members_of(slots)[0].tobytes() == before.members_of(before.pools.slots())[0].tobytes()
