"""First step of admission: which customers a pool has shown lately, until there are enough of them.

Most keys are seen with one customer only (every new prompt makes several), so a stub is nothing but pairs of pool and
customer fingerprint with the hop in which each was last seen. A pair is forgotten when it has been idle for a day; a
pool is admitted when ``minimum`` distinct customers are remembered at the same time. What is durable is one record for
each hop with that hop's pairs: the records of the last day, played in order, give the table back exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.pools.hop import group_starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detection.columns import Int64Array, StructuredArray, UInt64Array

    BoolArray = NDArray[np.bool_]

PAIR: Final = np.dtype([("pool", "<u8"), ("customer", "<u4")])
_FINGERPRINT_BITS: Final = np.uint64(32)


def fingerprints(hashes: UInt64Array) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    """Shorten mixed customer hashes to 32 bits: two of four customers collide once in 700 million pools."""
    return (hashes >> _FINGERPRINT_BITS).astype(np.uint32)


class Stubs:
    """Pairs of pools that are not admitted, sorted by pool and customer."""

    def __init__(self, minimum: int, idle_hops: int, limit: int) -> None:
        self._minimum = minimum
        self._idle_hops = idle_hops
        self._limit = limit
        self._pairs: StructuredArray = np.empty(0, PAIR)
        self._hops: Int64Array = np.empty(0, np.int64)
        self.floor = -1  # Pairs last seen at or before this hop are forgotten.

    def __len__(self) -> int:
        return len(self._pairs)

    def expire(self, hop: int) -> int:
        """Forget the pairs that are idle at ``hop``; give the number of pools that are gone with them."""
        self.floor = max(self.floor, hop - self._idle_hops - 1)
        return self._forget()

    def observe(self, hop: int, pairs: StructuredArray) -> UInt64Array:
        """Add one hop's pairs, distinct, sorted and not none; give the pools that have enough customers now.

        Those leave the table. They come in the order of keys.
        """
        mine = _among(self._pairs["pool"], pairs["pool"])
        merged, hops = _newest(
            np.concatenate([self._pairs[mine], pairs]),
            np.concatenate([self._hops[mine], np.full(len(pairs), hop, np.int64)]),
        )
        starts = group_starts(merged["pool"])
        admitted: UInt64Array = merged["pool"][starts[np.diff(starts, append=len(merged)) >= self._minimum]]
        stay = ~_among(merged["pool"], admitted)
        self._replace(mine, merged[stay], hops[stay])
        return admitted

    def trim(self) -> int:
        """Keep the table under its limit by forgetting whole hops, oldest first; give the number of pools gone."""
        if len(self._pairs) <= self._limit:
            return 0
        newest_first = np.sort(self._hops)[::-1]
        self.floor = max(self.floor, int(newest_first[self._limit]))
        return self._forget()

    def restore(self, hop: int, pairs: StructuredArray, admitted: UInt64Array) -> None:
        """Play one hop's durable record: the pairs that ``observe`` was given, then the pools that it gave back."""
        if hop > self.floor:
            self._pairs, self._hops = _newest(
                np.concatenate([self._pairs, pairs]), np.concatenate([self._hops, np.full(len(pairs), hop, np.int64)])
            )
        if len(admitted):
            stay = ~_among(self._pairs["pool"], admitted)
            self._pairs, self._hops = self._pairs[stay], self._hops[stay]

    def _forget(self) -> int:
        keep = self._hops > self.floor
        if keep.all():
            return 0
        gone = self._pairs["pool"][~keep]
        gone = gone[group_starts(gone)]
        self._pairs, self._hops = self._pairs[keep], self._hops[keep]
        return int(len(gone) - _among(gone, self._pairs["pool"]).sum())

    def _replace(self, mine: BoolArray, pairs: StructuredArray, hops: Int64Array) -> None:
        rest, rest_hops = self._pairs[~mine], self._hops[~mine]
        # Pools of the two parts are disjoint, so the pool alone tells where each pair belongs.
        places = np.searchsorted(rest["pool"], pairs["pool"])
        self._pairs = np.insert(rest, places, pairs)
        self._hops = np.insert(rest_hops, places, hops)


def _among(pools: UInt64Array, listed: UInt64Array) -> BoolArray:
    """Tell which pools stand in a sorted list."""
    if not len(listed):
        return np.zeros(len(pools), bool)
    place = np.minimum(np.searchsorted(listed, pools), len(listed) - 1)
    found: BoolArray = listed[place] == pools
    return found


def _newest(pairs: StructuredArray, hops: Int64Array) -> tuple[StructuredArray, Int64Array]:
    """Sort pairs and keep the newest hop of each."""
    order = np.lexsort((hops, pairs["customer"], pairs["pool"]))
    pairs, hops = pairs[order], hops[order]
    last = np.ones(len(pairs), bool)
    last[:-1] = pairs[1:] != pairs[:-1]
    return pairs[last], hops[last]
