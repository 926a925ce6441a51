"""Admitted pools and their members: merged hop by hop, bounded, and written out as rows.

``merge`` is given one closed hop. Totals of a pool are exact; members are a bottom-k sample of its customers by mixed
hash, so every survivor's sums are complete, and two pools keep the same customers of those that they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from detection.ids import combine
from detection.pools.hop import add_members, group_starts
from detection.pools.layout import MEMBER, NO_CUT, POOL, SUM_PLACE, VERSION
from detection.pools.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Int64Array, StructuredArray, UInt64Array
    from detection.config import PoolLane

POOL_KEY: Final = b"p"
MEMBER_KEY: Final = b"m"
_VERSION: Final = bytes([VERSION])


class PoolStore:
    """Rows of the admitted pools of one partition."""

    def __init__(self, lane: PoolLane, hop_ms: int) -> None:
        self._sample = lane.sample
        self._window_hops = lane.window_ms // hop_ms
        self._maximum_members = lane.maximum_members
        self.pools = Table(POOL)
        self.members = Table(MEMBER)
        self._owner: Int64Array = np.full(len(self.members.rows), -1, np.int64)  # Slot of the member's pool.
        self._gone: dict[bytes, None] = {}

    def admit(self, keys: UInt64Array, families: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], hop: int) -> None:
        """Make rows for pools that are new, distinct and ascending."""
        slots = self.pools.insert(keys)
        rows = self.pools.rows
        rows["pool"][slots], rows["family"][slots], rows["cut"][slots] = keys, families, NO_CUT
        rows["window_hop"][slots] = rows["last_hop"][slots] = hop
        self.pools.dirty[slots] = True

    def merge(self, hop: int, rows: StructuredArray) -> Int64Array:
        """Add one hop's merged rows, all of admitted pools; give the slots of those pools, in the order of keys."""
        starts = group_starts(rows["pool"])
        slots = self.pools.find(rows["pool"][starts])
        pools = self.pools.rows
        self._restart(slots[hop - pools["window_hop"][slots] >= self._window_hops], hop)
        requests = rows["sums"][:, SUM_PLACE["requests"]]
        pools["requests"][slots] += np.add.reduceat(requests, starts)
        pools["verified_requests"][slots] += np.add.reduceat(requests * (rows["verified"] > 0), starts)
        pools["young_requests"][slots] += np.add.reduceat(rows["sums"][:, SUM_PLACE["young"]], starts)
        pools["last_hop"][slots] = hop
        self.pools.dirty[slots] = True
        owner = np.repeat(slots, np.diff(starts, append=len(rows)))
        sampled = rows["hash"] <= pools["cut"][owner]
        self._merge_members(rows[sampled], owner[sampled])
        self._cut(slots[pools["members"][slots] > self._sample])
        return slots

    def expire(self, hop: int) -> int:
        """Evict pools without evidence for a whole window; give their number."""
        slots = self.pools.slots()
        return self._evict(slots[hop - self.pools.rows["last_hop"][slots] > self._window_hops])

    def trim(self) -> int:
        """Evict the least recent pools, of those the smallest, until the members fit; give their number."""
        excess = len(self.members) - self._maximum_members
        if excess <= 0:
            return 0
        slots = self.pools.slots()
        rows = self.pools.rows[slots]
        order = np.lexsort((rows["pool"], rows["requests"], rows["last_hop"]))
        freed = np.cumsum(rows["members"][order], dtype=np.int64)
        return self._evict(np.sort(slots[order[: int(np.searchsorted(freed, excess)) + 1]]))

    def members_of(self, slots: Int64Array) -> tuple[StructuredArray, Int64Array]:
        """Give the members of these pools, grouped in the order given and sorted by customer; and the group starts."""
        rank = np.full(len(self.pools.rows), -1, np.int64)
        rank[slots] = np.arange(len(slots))
        found = np.flatnonzero(self.members.alive & (self._owner >= 0))
        ranks = rank[self._owner[found]]
        found, ranks = found[ranks >= 0], ranks[ranks >= 0]
        order = np.lexsort((self.members.rows["customer"][found], ranks))
        return self.members.rows[found[order]], np.searchsorted(ranks[order], np.arange(len(slots)))

    def customers(self, slots: Int64Array) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Give each pool's number of customers: exact where the sample holds all, else the bottom-k estimate.

        Bar-Yossef et al. 2002: (k - 1) / (the k-th smallest hash as a fraction); standard error 1 / sqrt(k - 2).
        """
        rows = self.pools.rows[slots]
        members = rows["members"].astype(np.float64)
        estimate = (members - 1.0) / ((rows["cut"].astype(np.float64) + 1.0) / 2.0**64)
        return np.where(rows["cut"] == NO_CUT, members, np.maximum(np.round(estimate), members))

    def dirty(self) -> tuple[list[bytes], list[bytes | None]]:
        """Give the changelog records since the last call: rows that changed, and tombstones of rows that are gone."""
        keys: list[bytes] = []
        values: list[bytes | None] = []
        for prefix, table in ((POOL_KEY, self.pools), (MEMBER_KEY, self.members)):
            rows = table.rows[table.take_dirty()]
            keys += _keys(prefix, rows)
            width, raw = rows.dtype.itemsize, rows.tobytes()
            values += [_VERSION + raw[place : place + width] for place in range(0, len(raw), width)]
        for key in keys:
            self._gone.pop(key, None)
        keys += self._gone
        values += [None] * len(self._gone)
        self._gone = {}
        return keys, values

    def load(self, pools: Sequence[bytes], members: Sequence[bytes]) -> None:
        """Take the rows that ``dirty`` wrote, newest value of each key, into an empty store."""
        rows = _rows(pools, POOL)
        rows = rows[np.argsort(rows["pool"])]
        # Inserting may replace the table's array, so it comes before that is named.
        slots = self.pools.insert(rows["pool"])
        self.pools.rows[slots] = rows
        rows = _rows(members, MEMBER)
        keys = combine(rows["pool"], rows["customer"])
        order = np.argsort(keys)
        slots = self.members.insert(keys[order])
        self.members.rows[slots] = rows[order]
        self._own(slots, self.pools.find(rows["pool"][order]))

    def _merge_members(self, rows: StructuredArray, owner: Int64Array) -> None:
        if not len(rows):
            return
        keys = combine(rows["pool"], rows["customer"])
        slots = self.members.find(keys)
        known = slots >= 0
        add_members(self.members.rows, slots[known], rows[known])
        fresh = np.flatnonzero(~known)
        fresh = fresh[np.argsort(keys[fresh])]
        new = self.members.insert(keys[fresh])
        self.members.rows[new] = rows[fresh]
        self._own(new, owner[fresh])
        np.add.at(self.pools.rows["members"], owner[fresh], 1)
        slots[fresh] = new
        self.members.dirty[slots] = True

    def _own(self, slots: Int64Array, owner: Int64Array) -> None:
        short = len(self.members.rows) - len(self._owner)
        if short:
            self._owner = np.concatenate([self._owner, np.full(short, -1, np.int64)])
        self._owner[slots] = owner

    def _cut(self, slots: Int64Array) -> None:
        """Bring samples back to their size: the customers with the largest hashes leave."""
        if not len(slots):
            return
        rows, starts = self.members_of(slots)
        rank = np.repeat(np.arange(len(slots)), np.diff(starts, append=len(rows)))
        order = np.lexsort((rows["hash"], rank))
        place = np.arange(len(rows)) - starts[rank]
        self._remove_members(rows[order[place >= self._sample]])
        last = order[starts + self._sample - 1]
        self.pools.rows["cut"][slots] = rows["hash"][last]
        self.pools.rows["members"][slots] = self._sample

    def _restart(self, slots: Int64Array, hop: int) -> None:
        """Begin a new growing window: the members and the totals go, the pool stays admitted."""
        if not len(slots):
            return
        self._remove_members(self.members_of(slots)[0])
        rows = self.pools.rows
        rows["window_hop"][slots], rows["cut"][slots] = hop, NO_CUT
        for name in ("requests", "verified_requests", "young_requests", "scored_requests", "members"):
            rows[name][slots] = 0

    def _evict(self, slots: Int64Array) -> int:
        if len(slots):
            self._remove_members(self.members_of(slots)[0])
            rows = self.pools.rows[slots]
            self._gone |= dict.fromkeys(_keys(POOL_KEY, rows))
            self.pools.remove(np.sort(rows["pool"]))
        return len(slots)

    def _remove_members(self, rows: StructuredArray) -> None:
        if len(rows):
            self._gone |= dict.fromkeys(_keys(MEMBER_KEY, rows))
            self.members.remove(np.sort(combine(rows["pool"], rows["customer"])))


def _keys(prefix: bytes, rows: StructuredArray) -> list[bytes]:
    """Name rows in the changelog: the prefix, the pool, and the customer where there is one; big-endian."""
    columns = ["pool"] + (["customer"] if prefix == MEMBER_KEY else [])
    raw = np.stack([rows[name].astype(">u8") for name in columns], axis=1).tobytes()
    width = 8 * len(columns)
    return [prefix + raw[place : place + width] for place in range(0, len(raw), width)]


def _rows(values: Sequence[bytes], layout: np.dtype[np.void]) -> StructuredArray:
    if any(value[0] != VERSION for value in values):
        raise ValueError(f"a row of the pools job is not of version {VERSION}")
    return np.frombuffer(b"".join(value[1:] for value in values), layout).copy()
