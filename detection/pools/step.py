"""The pools job's step: contributions in, findings out; pure, and exact across restarts.

Contributions of one hop come from every partition of the accounts job in any order, and wait in memory until each
source has closed the hop. Then all of them are merged at once, sorted by key, and the pools that they touched are
scored: nothing depends on the order of arrival. Durable state changes only there. A restart reads the blocks again from
``resume``; rows of closed hops are left out, so that nothing counts twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.features.pools import PoolBatch
from detection.ids import mix
from detection.pools.coincidences import take_coincidences
from detection.pools.handovers import HANDOVERS_KEY, Handovers
from detection.pools.hop import group_starts, merge_rows
from detection.pools.pending import Pending
from detection.pools.scoring import PoolScorer, PoolVector
from detection.pools.store import MEMBER_KEY, POOL_KEY, PoolStore
from detection.pools.stubs import PAIR, Stubs, fingerprints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Int64Array, StructuredArray, UInt64Array
    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from detection.outcomes import Finding
    from detection.pools.contributions import Contributions

STUBS_KEY: Final = b"s"
_PAIRS_PER_RECORD: Final = 80_000  # 960 kB.
_NO_POOLS: Final[UInt64Array] = np.empty(0, np.uint64)


class Meta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The durable record of a partition: what is closed, and where reading must start again."""

    closed: int
    resume: int
    sources: list[int]  # Closed hop of each source.
    first_hop: int  # -1 before the first.
    stub_floor: int


@dataclass(frozen=True, slots=True)
class PoolsOutcome:
    """What came of the hops that closed since the last ``take``. ``vectors`` only without references."""

    findings: list[Finding]
    closed_hop: int  # -1 before the first.
    admitted: int
    evicted: int  # Admitted pools and stubs that were forgotten.
    vectors: list[PoolVector] = field(default_factory=list)


class PoolsStep:
    """State of one partition of pools: pools admitted, their member rows. Pure.

    ``sources`` is the number of the accounts job's partitions. Records of ``add`` at or below ``applied`` are left
    out, so a block that is delivered twice counts once.
    """

    def __init__(self, config: DetectionConfig, references: References | None, partition: int, sources: int) -> None:
        lane, hop_ms = config.pools, config.clocking.hop_ms
        self._config = config
        self._recording = references is None
        self._scorer = PoolScorer(config, references)
        self.partition = partition
        self.applied = -1
        self.closed_hop = -1
        self._first_hop = -1
        self._sources = [-1] * sources
        self._pending = Pending()
        self._stubs = Stubs(lane.minimum_customers, lane.stub_idle_ms // hop_ms, lane.maximum_stubs)
        self._store = PoolStore(lane, hop_ms)
        self._handovers = Handovers(config)
        self._stub_records: dict[int, int] = {}  # Hop to the number of its durable records.
        self._fresh: dict[bytes, bytes | None] = {}
        self._findings: list[Finding] = []
        self._vectors: list[PoolVector] = []
        self._admitted = self._evicted = 0

    @property
    def resume(self) -> int:
        """Offset to read again from after a restart: everything below it is in closed hops."""
        return self._pending.resume(self.applied + 1)

    @property
    def sizes(self) -> dict[str, int]:
        """Rows by kind, for metrics."""
        store = self._store
        return {
            "stubs": len(self._stubs),
            "pools": len(store.pools),
            "members": len(store.members),
            "watched": len(self._handovers),
        }

    @property
    def holder(self) -> int:
        """The source that holds the time back: the lowest of those that closed least, for metrics."""
        return self._sources.index(min(self._sources))

    def add(self, source: int, rows: Contributions, closed_hop: int, offset: int) -> None:
        """Take one contribution block; ``closed_hop`` counts once its rows are in. Offsets ascend, holes are fine."""
        if offset <= self.applied:
            return
        self.applied = offset
        self._pending.add(rows, offset, self.closed_hop)
        if closed_hop > self._sources[source]:
            self._sources[source] = closed_hop
            closed = min(self._sources)
            if closed > self.closed_hop:
                for hop in self._pending.ripe(closed):
                    self._close(hop, self._pending.take(hop).written_out())
                self.closed_hop = closed

    def take(self) -> PoolsOutcome:
        """Give what came of closed hops since the last call, findings in the order of hop and key."""
        outcome = PoolsOutcome(self._findings, self.closed_hop, self._admitted, self._evicted, self._vectors)
        self._findings, self._vectors = [], []
        self._admitted = self._evicted = 0
        return outcome

    def dirty(self) -> tuple[list[bytes], list[bytes | None]]:
        """Give the changelog records since the last call: keys and values; None is a tombstone."""
        keys, values = self._store.dirty()
        followed, chains = self._handovers.dirty()
        keys += [*followed, *self._fresh]
        values += [*chains, *self._fresh.values()]
        self._fresh = {}
        return keys, values

    def meta(self) -> bytes:
        """Write the partition's durable record; it belongs into the same transaction as ``dirty``."""
        return _meta_encoder.encode(
            Meta(
                closed=self.closed_hop,
                resume=self.resume,
                sources=self._sources,
                first_hop=self._first_hop,
                stub_floor=self._stubs.floor,
            )
        )

    def load_meta(self, value: bytes) -> None:
        """Take what ``meta`` wrote; call it before ``load``."""
        meta = _meta_decoder.decode(value)
        if len(meta.sources) != len(self._sources):
            raise ValueError(f"the state knows {len(meta.sources)} sources, not {len(self._sources)}")
        self.closed_hop, self.applied = meta.closed, meta.resume - 1
        self._sources, self._first_hop, self._stubs.floor = list(meta.sources), meta.first_hop, meta.stub_floor

    def load(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Take the rows that ``dirty`` wrote: the newest value of each key that is not a tombstone, all at once."""
        by_kind: dict[bytes, list[bytes]] = {POOL_KEY: [], MEMBER_KEY: []}
        stubs: list[tuple[bytes, bytes]] = []
        watched: list[tuple[bytes, bytes]] = []
        for key, value in zip(keys, values, strict=True):
            if key[:1] == STUBS_KEY:
                stubs.append((key, value))
            elif key[:1] == HANDOVERS_KEY:
                watched.append((key, value))
            else:
                by_kind[key[:1]].append(value)
        self._store.load(by_kind[POOL_KEY], by_kind[MEMBER_KEY])
        self._handovers.load(watched)
        for key, value in sorted(stubs):
            hop, place = int.from_bytes(key[1:5], "big"), int.from_bytes(key[5:7], "big")
            self._stub_records[hop] = max(self._stub_records.get(hop, 0), place + 1)
            count = int.from_bytes(value[:4], "little")
            admitted = np.frombuffer(value, "<u8", count, 4)
            self._stubs.restore(hop, np.frombuffer(value, PAIR, -1, 4 + 8 * count), admitted)

    def _close(self, hop: int, rows: StructuredArray) -> None:
        if self._first_hop < 0:
            self._first_hop = hop
        self._evicted += self._store.expire(hop) + self._stubs.expire(hop)
        rows, coincidences = take_coincidences(hop, rows, self._config)
        self._findings += coincidences
        self._findings += self._handovers.close(hop, rows)
        if not len(rows):
            return
        order = np.argsort(rows["pool"], kind="stable")
        keys = rows["pool"][order]
        starts = group_starts(keys)
        pools = keys[starts]
        admitted = self._store.pools.find(pools) >= 0
        strangers = np.repeat(~admitted, np.diff(starts, append=len(keys)))
        if strangers.any():
            fresh = self._observe(hop, rows[order[strangers]])
            families = rows["family"][order[starts[np.searchsorted(pools, fresh)]]]
            self._store.admit(fresh, families, hop)
            self._admitted += len(fresh)
            admitted[np.searchsorted(pools, fresh)] = True
        members = rows[order[np.repeat(admitted, np.diff(starts, append=len(keys)))]]
        if len(members):
            self._score(hop, self._store.merge(hop, merge_rows(members)))
        self._evicted += self._store.trim() + self._stubs.trim()
        self._forget_stub_records()

    def _observe(self, hop: int, rows: StructuredArray) -> UInt64Array:
        """Show one hop's rows of pools that are not admitted to the stubs; give those that are admitted now."""
        pairs = np.zeros(len(rows), PAIR)
        pairs["pool"], pairs["customer"] = rows["pool"], fingerprints(mix(rows["customer"]))
        order = np.lexsort((pairs["customer"], pairs["pool"]))
        pairs = pairs[order[group_starts(pairs["pool"][order], pairs["customer"][order].astype(np.uint64))]]
        fresh = self._stubs.observe(hop, pairs)
        cuts = range(0, len(pairs), _PAIRS_PER_RECORD)
        for place, cut in enumerate(cuts):
            # The last record of a hop carries the admitted: they leave once all pairs are in.
            gone = fresh if cut == cuts[-1] else _NO_POOLS
            value = len(gone).to_bytes(4, "little") + gone.astype("<u8").tobytes()
            self._fresh[_stub_key(hop, place)] = value + pairs[cut : cut + _PAIRS_PER_RECORD].tobytes()
        self._stub_records[hop] = len(cuts)
        return fresh

    def _forget_stub_records(self) -> None:
        for hop in [hop for hop in self._stub_records if hop <= self._stubs.floor]:
            for place in range(self._stub_records.pop(hop)):
                self._fresh[_stub_key(hop, place)] = None

    def _score(self, hop: int, slots: Int64Array) -> None:
        lane, hop_ms = self._config.pools, self._config.clocking.hop_ms
        rows = self._store.pools.rows
        grown = rows["requests"][slots] >= np.maximum(
            lane.minimum_requests, lane.growth * rows["scored_requests"][slots]
        )
        slots = slots[grown & (rows["members"][slots] >= lane.minimum_customers)]
        if not len(slots):
            return
        members, starts = self._store.members_of(slots)
        batch = PoolBatch(
            members=members,
            starts=starts,
            customers=self._store.customers(slots),
            families=rows["family"][slots].astype(np.int64),
            time_ms=(hop + 1) * hop_ms,
            observed_since_ms=self._first_hop * hop_ms,
        )
        findings, vectors = self._scorer.score(batch, rows[slots], hop)
        self._findings += findings
        if self._recording:
            self._vectors += vectors
        rows["scored_requests"][slots] = rows["requests"][slots]


def _stub_key(hop: int, place: int) -> bytes:
    return STUBS_KEY + hop.to_bytes(4, "big") + place.to_bytes(2, "big")


_meta_encoder = msgspec.json.Encoder()
_meta_decoder = msgspec.json.Decoder(Meta)
