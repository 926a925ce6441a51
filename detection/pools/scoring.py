"""From pool features to findings: the right reference, the directional tail, the members.

References are stratified by the family's group and by the number of customers. Where a stratum was seen with too few
honest pools, the next wider one speaks: group and band, group, band, all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from detection.detectors.tail import DirectionalTail
from detection.families import FAMILIES, Family
from detection.features.pools import CATALOGUE, EXCHANGEABILITY, NAMES, SCORED, PoolBatch, pool_features
from detection.ids import digest_hex, rfc3339, to_hex
from detection.outcomes import Evidence, Finding, Member
from detection.pools.members import choose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detection.columns import Float64Array, StructuredArray
    from detection.config import DetectionConfig
    from detection.detectors.reference import References

DETECTOR: Final = "directional_tail"
BANDS: Final = ((60, "60+"), (20, "20-59"), (8, "8-19"), (0, "4-7"))
EVERY: Final = "all"
LEAST_ROWS: Final = 60  # A reference of fewer honest pools knows too little of its own tail.
SCORED_NAMES: Final = tuple(feature.name for feature in CATALOGUE if feature.scored)
SCORED_DIRECTIONS: Final = tuple(feature.direction for feature in CATALOGUE if feature.scored)
_EXCHANGEABLE: Final = EXCHANGEABILITY[SCORED]
_EXCHANGEABLE_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class PoolVector:
    """One scoring as the reference builder records it: the stratum, and the scored features in their order."""

    group: str
    band: str
    values: Float64Array


def band_of(customers: float) -> str:
    """Name the size band of a pool."""
    return next(name for least, name in BANDS if customers >= least)


def strata(group: str, band: str) -> tuple[str, ...]:
    """Name the reference strata that may speak for a pool, narrowest first."""
    return f"{group}/{band}", f"{group}/{EVERY}", f"{EVERY}/{band}", f"{EVERY}/{EVERY}"


class PoolScorer:
    """Scores batches of pools. With ``references`` None it scores nothing: its vectors make a reference."""

    def __init__(self, config: DetectionConfig, references: References | None) -> None:
        self._config = config
        self._tails: dict[str, DirectionalTail] = {}
        if references is not None:
            for name, reference in references.pools.items():
                if reference.names != SCORED_NAMES or reference.directions != SCORED_DIRECTIONS:
                    raise ValueError(f"the reference {references.version!r} was built for other features: {name}")
                if reference.count >= LEAST_ROWS:
                    self._tails[name] = DirectionalTail(reference)

    def score(self, batch: PoolBatch, pools: StructuredArray, hop: int) -> tuple[list[Finding], list[PoolVector]]:
        """Score pools in the order given; ``pools`` are their ``POOL`` rows."""
        features = pool_features(batch)
        places = [
            (FAMILIES[Family(family)].group, band_of(customers))
            for family, customers in zip(batch.families.tolist(), batch.customers.tolist(), strict=True)
        ]
        vectors = [PoolVector(*place, values) for place, values in zip(places, features[:, SCORED], strict=True)]
        chosen = [self._tail_of(*place) for place in places]
        scores = np.full(len(pools), -math.inf)
        addends = np.zeros((len(pools), len(SCORED_NAMES)))
        for name in sorted({name for name in chosen if name}):
            rows = np.flatnonzero(np.array([name == other for other in chosen]))
            scores[rows], addends[rows] = self._tails[name].score_many(features[rows][:, SCORED])
        findings = list(self._findings(batch, pools, hop, features, chosen, scores, addends))
        return findings, vectors

    def _tail_of(self, group: str, band: str) -> str:
        return next((name for name in strata(group, band) if name in self._tails), "")

    def _findings(
        self,
        batch: PoolBatch,
        pools: StructuredArray,
        hop: int,
        features: Float64Array,
        chosen: Sequence[str],
        scores: Float64Array,
        addends: Float64Array,
    ) -> Iterator[Finding]:
        threshold = self._config.pools.threshold
        ends = np.append(batch.starts[1:], len(batch.members))
        alike = addends[:, _EXCHANGEABLE].sum(axis=1)
        for place in np.flatnonzero(
            (np.round(scores, 4) >= threshold) & (alike >= _EXCHANGEABLE_SHARE * scores)
        ).tolist():
            members = batch.members[batch.starts[place] : ends[place]]
            # Half sure at the threshold; sure at a few times of it.
            confidence = 1.0 - 2.0 ** -float(scores[place] / threshold)
            core = choose(members, self._config.pools, 0.5 + confidence / 2.0)
            if not core.whole:
                continue
            pool = pools[place]
            family = Family(int(pool["family"])).name.lower()
            subject = to_hex(pool["pool"])
            score = round(float(scores[place]), 4)
            yield Finding(
                finding_id=digest_hex("pool", family, subject, hop, self._config.version),
                lane="pool",
                detector=DETECTOR,
                family=family,
                subject=subject,
                hop=hop,
                event_time=rfc3339(batch.time_ms),
                score=score,
                threshold=threshold,
                customers=int(batch.customers[place]),
                requests=int(pool["requests"]),
                verified_share=round(float(pool["verified_requests"] / pool["requests"]), 4),
                young_share=round(float(pool["young_requests"] / pool["requests"]), 4),
                evidence=self._evidence(self._tails[chosen[place]], features[place], addends[place]),
                members=list(_members(members[core.named], core.strength[core.named], batch.time_ms)),
                config_version=self._config.version,
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
            if addend > 0
        ]
        return sorted(counted, key=lambda evidence: (-evidence.weight, evidence.feature))


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
