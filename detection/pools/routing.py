"""Which partition of the pools job owns a pool: said once, for the stream's shell and for the backtest."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from detection.pools.contributions import Contributions
from detection.state.records import take

if TYPE_CHECKING:
    from detection.columns import Int64Array, StructuredArray, UInt64Array


def partition_of_pool(pools: UInt64Array, partitions: int) -> Int64Array:
    """Give each pool's partition. Pool keys are mixed hashes, so the remainder spreads them evenly."""
    return (pools % np.uint64(partitions)).astype(np.int64)


def split_rows(contributions: Contributions, partitions: int) -> list[Contributions]:
    """Cut contributions by the partition that owns their pool; the order inside a part is the input's.

    Where they lie in the order of so many partitions, nothing is copied.
    """
    if partitions == 1:
        return [contributions]
    if contributions.firsts is not None and contributions.firsts.shape[1] == partitions + 1:
        alone, several = contributions.firsts
        return [
            Contributions(
                contributions.rows[several[owner] : several[owner + 1]],
                contributions.singles[alone[owner] : alone[owner + 1]],
            )
            for owner in range(partitions)
        ]
    rows, singles = (_split(part, partitions) for part in (contributions.rows, contributions.singles))
    return [Contributions(*parts) for parts in zip(rows, singles, strict=True)]


def _split(rows: StructuredArray, partitions: int) -> list[StructuredArray]:
    owner = partition_of_pool(rows["pool"], partitions)
    order = np.argsort(owner.astype(np.uint16), kind="stable")  # Of so narrow a type, in linear time.
    cuts = np.searchsorted(owner[order], np.arange(1, partitions))
    return cast("list[StructuredArray]", np.split(take(rows, order), cuts))
