"""From pool features to findings: the right reference, the directional tail, the members.

References are stratified by the family's group and by the number of customers. Where a stratum was seen with too few
honest pools, the next wider one speaks: group and band, group, band, all. Where strangers share the attribute by
design, only those who act alike are accused together: a pool's densest part (``detection.pools.densest``), which has
strata of its own, or the whole where it is of one kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.detectors.calibration import build
from detection.detectors.tail import DirectionalTail, certainty
from detection.families import FAMILIES, Family
from detection.features.pools import CATALOGUE, NAMES, SCORED, PoolBatch, pool_features
from detection.ids import digest_hex, rfc3339, to_hex
from detection.outcomes import Evidence, Finding, Member
from detection.pools.densest import densest
from detection.pools.layout import SUM_PLACE
from detection.pools.members import choose
from detection.pools.thresholds import threshold_of
from detection.ranking.exploring import as_draw, drawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from detection.columns import Float64Array, Int64Array, StructuredArray, UInt64Array
    from detection.config import DetectionConfig
    from detection.detectors.reference import Reference, References

DETECTOR: Final = "directional_tail"
BANDS: Final = ((60, "60+"), (20, "20-59"), (8, "8-19"), (0, "4-7"))
EVERY: Final = "all"
PART: Final = ".part"  # Ends the group's name where the densest part of a pool is meant.
CUSTOMERS_KEPT: Final = 64
LEAST_ROWS: Final = 60  # A reference of fewer honest pools knows too little of its own tail.
_FEATURES: Final = tuple(feature for feature in CATALOGUE if feature.scored)
SCORED_NAMES: Final = tuple(feature.name for feature in _FEATURES)
SCORED_DIRECTIONS: Final = tuple(feature.direction for feature in _FEATURES)
_BY_DESIGN: Final = [int(family) for family, fact in FAMILIES.items() if fact.shared_by_design]
_EXCHANGEABLE: Final = np.array([feature.exchangeability for feature in _FEATURES])
# That nobody carries a conversation on is no likeness of one customer to another: it never speaks for a crowd.
_LIKENESS: Final = np.array([feature.exchangeability and feature.aspect != "conversation" for feature in _FEATURES])
# Of a score: how much must be likeness, twice as much where strangers share the attribute by design.
_EXCHANGEABLE_SHARE: Final = 0.15
_EXCHANGEABLE_SHARE_BY_DESIGN: Final = 0.3


@dataclass(frozen=True, slots=True)
class PoolVector:
    """One scoring as the reference builder records it: the stratum, and the scored features in their order.

    ``customers`` are those of the smallest mixed hashes, at most ``CUSTOMERS_KEPT``: two pools that share customers
    keep the same of them.
    """

    group: str
    band: str
    values: Float64Array
    pool: int = 0
    hop: int = 0
    customers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Scored:
    """Pools or parts of pools with their scores; ``place`` is each one's place in the batch that was given."""

    batch: PoolBatch
    place: Int64Array
    features: Float64Array
    tails: list[str]  # "" where no reference speaks.
    scores: Float64Array
    addends: Float64Array


def build_pool_reference(matrix: Float64Array) -> Reference:
    """Make the reference of one stratum from honest pools' scored features, one pool a row."""
    aspects = [feature.aspect for feature in _FEATURES]
    return build(SCORED_NAMES, SCORED_DIRECTIONS, matrix, aspects, [feature.alibi for feature in _FEATURES])


def band_of(customers: float) -> str:
    """Name the size band of a pool."""
    return next(name for least, name in BANDS if customers >= least)


def strata(group: str, band: str) -> tuple[str, ...]:
    """Name the reference strata that may speak for a pool, narrowest first."""
    every = EVERY + PART if group.endswith(PART) else EVERY
    return f"{group}/{band}", f"{group}/{EVERY}", f"{every}/{band}", f"{every}/{EVERY}"


def pool_tails(references: References) -> dict[str, DirectionalTail]:
    """Give the strata that were seen often enough to speak; raises ValueError for a reference of other features."""
    tails = {}
    for name, reference in references.pools.items():
        if reference.names != SCORED_NAMES or reference.directions != SCORED_DIRECTIONS:
            raise ValueError(f"the reference {references.version!r} was built for other features: {name}")
        if reference.count >= LEAST_ROWS:
            tails[name] = DirectionalTail(reference)
    return tails


def speaking(tails: Mapping[str, DirectionalTail], group: str, band: str) -> str:
    """Name the narrowest stratum that speaks for a pool; "" where none does."""
    return next((name for name in strata(group, band) if name in tails), "")


class PoolScorer:
    """Scores batches of pools. With ``references`` None it scores nothing: its vectors make a reference."""

    def __init__(self, config: DetectionConfig, references: References | None) -> None:
        self._config = config
        self._recording = references is None
        self._provisional = references is not None and references.provisional
        self._tails = {} if references is None else pool_tails(references)

    def score(self, batch: PoolBatch, pools: StructuredArray, hop: int) -> tuple[list[Finding], list[PoolVector]]:
        """Score pools in the order given; ``pools`` are their ``POOL`` rows."""
        vectors: list[PoolVector] = []
        speaker: dict[int, tuple[_Scored, int]] = {}
        parts, owners, speaks = _parts(batch)
        wholes = self._scored(batch, np.arange(len(pools)), "")
        for scored in (
            wholes,
            *([self._scored(parts, owners, PART)] if len(owners) else []),
        ):
            if self._recording:
                vectors += _vectors(scored, pools["pool"], hop, PART if scored.batch is parts else "")
            # Features that say "these are different people" count as well: the others may not speak over them.
            alike = scored.addends[:, _LIKENESS].sum(axis=1)
            alike += np.minimum(scored.addends[:, _EXCHANGEABLE & ~_LIKENESS], 0.0).sum(axis=1)
            shared = np.isin(scored.batch.families, _BY_DESIGN)
            least = np.where(shared, _EXCHANGEABLE_SHARE_BY_DESIGN, _EXCHANGEABLE_SHARE)
            limits = [threshold_of(customers, self._config.pools) for customers in scored.batch.customers.tolist()]
            telling = (np.round(scored.scores, 4) >= limits) & (alike >= least * scored.scores)
            if scored is wholes:
                telling &= speaks
            for row in np.flatnonzero(telling).tolist():
                speaker[int(scored.place[row])] = scored, row
        findings: list[Finding] = []
        for place in sorted(speaker) if self._config.pools.enabled else ():
            scored, row = speaker[place]
            findings += self._finding(scored, row, pools[place], hop)
        if self._config.pools.enabled and not self._recording:
            findings += self._draws(wholes, set(speaker), pools, hop)
        return findings, vectors

    def _draws(self, scored: _Scored, found: set[int], pools: StructuredArray, hop: int) -> Iterator[Finding]:
        """Draw from the pools that raise nothing."""
        share = self._config.exploration.share
        for place in np.flatnonzero(drawn(pools["pool"], share) & np.isfinite(scored.scores)).tolist():
            if place not in found:
                for finding in self._finding(scored, place, pools[place], hop):
                    yield as_draw(finding, share)

    def _scored(self, batch: PoolBatch, place: Int64Array, ending: str) -> _Scored:
        features = pool_features(batch)
        strata_of = [
            (FAMILIES[Family(family)].group + ending, band_of(customers))
            for family, customers in zip(batch.families.tolist(), batch.customers.tolist(), strict=True)
        ]
        tails = [self._tail_of(*one) for one in strata_of]
        scores = np.full(len(place), -math.inf)
        addends = np.zeros((len(place), len(SCORED_NAMES)))
        for name in sorted({name for name in tails if name}):
            rows = np.flatnonzero(np.array([name == other for other in tails]))
            scores[rows], addends[rows] = self._tails[name].score_many(features[rows][:, SCORED])
        return _Scored(batch, place, features, tails, scores, addends)

    def _tail_of(self, group: str, band: str) -> str:
        return speaking(self._tails, group, band)

    def _finding(self, scored: _Scored, row: int, pool: np.void, hop: int) -> Iterator[Finding]:
        """Make the finding of a pool or a part, where its core is enough of it."""
        batch = scored.batch
        threshold = threshold_of(float(batch.customers[row]), self._config.pools)
        ends = np.append(batch.starts[1:], len(batch.members))
        members = batch.members[batch.starts[row] : ends[row]]
        family = Family(int(pool["family"]))
        confidence = certainty(float(scored.scores[row]), threshold)
        by_design = FAMILIES[family].shared_by_design
        core = choose(members, self._config.pools, 0.5 + confidence / 2.0, shared_by_design=by_design)
        if not core.whole:
            return
        named = members[core.named]
        subject = to_hex(pool["pool"])
        score = round(float(scored.scores[row]), 4)
        yield Finding(
            finding_id=digest_hex("pool", family.name.lower(), subject, hop, self._config.version),
            lane="pool",
            detector=DETECTOR,
            family=family.name.lower(),
            subject=subject,
            hop=hop,
            event_time=rfc3339(batch.time_ms),
            score=score,
            threshold=threshold,
            customers=int(batch.customers[row]),
            requests=int(members["sums"][:, SUM_PLACE["requests"]].sum()),
            verified_share=round(float(pool["verified_requests"] / pool["requests"]), 4),
            young_share=round(float(pool["young_requests"] / pool["requests"]), 4),
            network_share=_top_share(named["network"]),
            evidence=self._evidence(self._tails[scored.tails[row]], scored.features[row], scored.addends[row]),
            members=list(_members(named, core.strength[core.named], batch.time_ms)),
            config_version=self._config.version,
            provisional=self._provisional,
        )

    @staticmethod
    def _evidence(tail: DirectionalTail, features: Float64Array, addends: Float64Array) -> list[Evidence]:
        """Give the addends, heaviest first."""
        counted = [
            Evidence(
                feature=name,
                actual=round(float(features[NAMES.index(name)]), 4),
                expected=round(tail.reference.expected(name), 4),
                weight=round(float(addend), 4),
            )
            for name, addend in zip(SCORED_NAMES, addends.tolist(), strict=True)
            if addend
        ]
        return sorted(counted, key=lambda evidence: (-evidence.weight, evidence.feature))


def _vectors(scored: _Scored, keys: UInt64Array, hop: int, ending: str) -> Iterator[PoolVector]:
    batch = scored.batch
    ends = np.append(batch.starts[1:], len(batch.members)).tolist()
    for row, (family, place) in enumerate(zip(batch.families.tolist(), scored.place.tolist(), strict=True)):
        members = batch.members[batch.starts[row] : ends[row]]
        kept = np.argsort(members["hash"], kind="stable")[:CUSTOMERS_KEPT]
        yield PoolVector(
            group=FAMILIES[Family(family)].group + ending,
            band=band_of(float(batch.customers[row])),
            values=scored.features[row, SCORED],
            pool=int(keys[place]),
            hop=hop,
            customers=tuple(members["customer"][kept].tolist()),
        )


def _parts(batch: PoolBatch) -> tuple[PoolBatch, Int64Array, NDArray[np.bool_]]:
    """Give the densest parts as a batch of their own, the pool of each, and which pools may speak as a whole."""
    ends = np.append(batch.starts[1:], len(batch.members))
    chosen, owners, starts, customers, count = [], [], [], [], 0
    speaks = np.ones(len(batch.starts), np.bool_)
    for place, (family, start, end) in enumerate(
        zip(batch.families.tolist(), batch.starts.tolist(), ends.tolist(), strict=True)
    ):
        if not FAMILIES[Family(family)].shared_by_design:
            continue
        inside, speaks[place] = densest(batch.members[start:end])
        if len(inside):
            chosen.append(start + inside)
            owners.append(place)
            starts.append(count)
            # A sampled pool's part is as large a share of its customers as it is of the sample.
            customers.append(round(float(batch.customers[place]) * len(inside) / (end - start)))
            count += len(inside)
    places = np.array(owners, np.int64)
    every = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    members = batch.members[every]
    parts = PoolBatch(
        members=members,
        starts=np.array(starts, np.int64),
        customers=np.array(customers, np.float64),
        families=batch.families[places],
        time_ms=batch.time_ms,
        observed_since_ms=batch.observed_since_ms,
    )
    return parts, places, speaks


def _top_share(values: UInt64Array) -> float:
    """Give the share of the most common value among all; 0 means "unknown" and is common to nobody."""
    known = np.unique(values[values > 0], return_counts=True)[1]
    return round(int(known.max(initial=0)) / max(len(values), 1), 4)


def _members(members: StructuredArray, strengths: Float64Array, time_ms: int) -> Iterator[Member]:
    """Name the accounts of the chosen customers, in the order of customer and account."""
    since = rfc3339(time_ms)
    for member, strength in zip(members, strengths.tolist(), strict=True):
        for account, requests in zip(member["account"].tolist(), member["account_requests"].tolist(), strict=True):
            if account:
                yield Member(
                    account=to_hex(account),
                    customer=to_hex(member["customer"]),
                    requests=requests,
                    strength=round(strength, 4),
                    since=since,
                )
