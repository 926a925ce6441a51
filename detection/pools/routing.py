"""Which partition of the pools job owns a pool: said once, for the stream's shell and for the backtest."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from detection.state.records import take

if TYPE_CHECKING:
    from detection.columns import Int64Array, StructuredArray, UInt64Array


def partition_of_pool(pools: UInt64Array, partitions: int) -> Int64Array:
    """Give each pool's partition. Pool keys are mixed hashes, so the remainder spreads them evenly."""
    return (pools % np.uint64(partitions)).astype(np.int64)


def split_rows(rows: StructuredArray, partitions: int) -> list[StructuredArray]:
    """Cut contribution rows by the partition that owns their pool; the order inside a part is the input's.

    ``rows`` is contiguous.
    """
    if partitions == 1:
        return [rows]
    owner = partition_of_pool(rows["pool"], partitions)
    order = np.argsort(owner, kind="stable")
    cuts = np.searchsorted(owner[order], np.arange(1, partitions))
    return cast("list[StructuredArray]", np.split(take(rows, order), cuts))
