"""A local reference from traffic that may hold attackers: proposed to a person, never taken by itself.

Whatever is learned from a stream can be taught by whoever sends most. Four guards, in this order:

1. **Trimming**: what the reference in use finds suspicious, by half of what raises an alert, teaches nothing.
2. **Overlap**: nor does a pool that shares three in ten of its customers with those.
3. **Caps**: a pool teaches once a day, and a customer within at most so many pools, whatever it sends.
4. **Agreement**: a stratum whose honest middle has moved far from that of the reference in use is not taken over; it is
   reported as drift, and the old one goes on to speak.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.detectors.calibration import pool_upwards
from detection.detectors.reference import LEVELS, Reference, References
from detection.detectors.tail import DirectionalTail
from detection.pools.scoring import LEAST_ROWS, build_pool_reference, pool_tails, speaking, strata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from detection.accounts.lane import MilestoneVectors
    from detection.columns import Float64Array
    from detection.config import DetectionConfig
    from detection.pools.scoring import PoolVector

OVERLAP: Final = 0.3
TRIM: Final = 0.5  # Of the threshold.
POOLS_TAUGHT: Final = 24  # That one customer may be counted in, for each stratum.
ACCOUNTS_TAUGHT: Final = 3  # Of one customer, at each milestone.
FAR: Final = 0.45  # Levels that the honest middle may move: from the median to beyond the 5th or 95th percentile.
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Proposal:
    """What was learned. ``drift`` is by stratum: how far the middle moved, in levels of the reference in use, 0..0.5.

    ``refused`` are strata that moved too far; their tables in ``references`` are those of the reference in use.
    """

    references: References
    trimmed: int
    overlapping: int
    capped: int
    drift: dict[str, float]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Screened:
    """Pools that may teach, and how many may not, and why. ``suspects`` are customers of what was trimmed."""

    kept: list[PoolVector]
    trimmed: int
    overlapping: int
    capped: int
    suspects: frozenset[int]


def screen(vectors: Sequence[PoolVector], used: References, config: DetectionConfig) -> Screened:
    """Apply the first three guards; the order of ``vectors`` changes nothing."""
    tails = pool_tails(used)
    limit = TRIM * config.pools.threshold
    suspicious = [_score(tails, vector) >= limit for vector in vectors]
    suspects = frozenset(
        customer for vector, bad in zip(vectors, suspicious, strict=True) if bad for customer in vector.customers
    )
    clean, overlapping = [], 0
    for vector, bad in zip(vectors, suspicious, strict=True):
        shared = sum(customer in suspects for customer in vector.customers)
        if not bad and shared < OVERLAP * max(len(vector.customers), 1):
            clean.append(vector)
        elif not bad:
            overlapping += 1
    day_hops = _DAY_MS // config.clocking.hop_ms
    # Of one pool and day the last scoring stays: it has the most evidence.
    latest = {(v.group, v.pool, v.hop // day_hops): v for v in sorted(clean, key=lambda v: (v.pool, v.group, v.hop))}
    taught: Counter[tuple[str, int]] = Counter()
    kept = []
    for vector in latest.values():
        if all(taught[vector.group, customer] < POOLS_TAUGHT for customer in vector.customers):
            kept.append(vector)
            taught.update((vector.group, customer) for customer in vector.customers)
    return Screened(kept, sum(suspicious), overlapping, len(clean) - len(kept), suspects)


def propose(
    version: str,
    accounts: Iterable[MilestoneVectors],
    pools: Sequence[PoolVector],
    used: References,
    config: DetectionConfig,
    build_account_reference: Callable[[Float64Array], Reference],
) -> Proposal:
    """Learn from recorded vectors beside the reference in use; strata seen too seldom keep what is in use."""
    screened = screen(pools, used, config)
    rows: dict[str, list[Float64Array]] = defaultdict(list)
    for vector in screened.kept:
        for name in strata(vector.group, vector.band):
            rows[name].append(vector.values)
    learned_pools = {
        name: build_pool_reference(np.array(v)) for name, v in sorted(rows.items()) if len(v) >= LEAST_ROWS
    }
    trimmed, matrices = _clean_accounts(accounts, used, config, screened.suspects)
    learned_accounts = {
        milestone: build_account_reference(matrix) for milestone, matrix in pool_upwards(matrices, LEAST_ROWS).items()
    }
    drift = {name: moved(used.pools[name], one) for name, one in learned_pools.items() if name in used.pools}
    drift |= {
        f"accounts/{milestone}": moved(used.accounts[milestone], one)
        for milestone, one in learned_accounts.items()
        if milestone in used.accounts
    }
    refused = tuple(sorted(name for name, distance in drift.items() if distance > FAR))
    pools_taken = {name: one for name, one in learned_pools.items() if name not in refused}
    accounts_taken = {m: one for m, one in learned_accounts.items() if f"accounts/{m}" not in refused}
    return Proposal(
        references=msgspec.structs.replace(
            used,
            version=version,
            provisional=False,
            pools={**used.pools, **pools_taken},
            accounts={**used.accounts, **accounts_taken},
        ),
        trimmed=screened.trimmed + trimmed,
        overlapping=screened.overlapping,
        capped=screened.capped,
        drift=dict(sorted(drift.items())),
        refused=refused,
    )


def moved(used: Reference, learned: Reference) -> float:
    """Tell how far the middle of the honest subjects moved: the greatest change of any feature's median, in levels."""
    middle = LEVELS.index(0.5)
    distance = 0.0
    for name, old in zip(used.names, used.quantiles, strict=True):
        new = learned.quantiles[learned.names.index(name)] if name in learned.names else ()
        if old and new:
            # A median that lies on a step of many equal values has not moved while it stays on the step.
            low = LEVELS[max(int(np.searchsorted(old, new[middle], side="left")) - 1, 0)]
            high = LEVELS[min(int(np.searchsorted(old, new[middle], side="right")), len(LEVELS) - 1)]
            distance = max(distance, low - 0.5, 0.5 - high)
    return round(distance, 4)


def _score(tails: Mapping[str, DirectionalTail], vector: PoolVector) -> float:
    name = speaking(tails, vector.group, vector.band)
    return float(tails[name].score_many(vector.values[None, :])[0][0]) if name else 0.0


def _clean_accounts(
    accounts: Iterable[MilestoneVectors], used: References, config: DetectionConfig, suspects: frozenset[int]
) -> tuple[int, dict[int, list[Float64Array]]]:
    matrices: dict[int, list[Float64Array]] = defaultdict(list)
    taught: Counter[tuple[int, int]] = Counter()
    trimmed = 0
    for seen in accounts:
        known = used.accounts.get(seen.milestone)
        limit = TRIM * config.accounts.threshold
        scores = DirectionalTail(known).score_many(seen.matrix)[0] if known is not None else np.zeros(len(seen.matrix))
        for row, (customer, score) in enumerate(zip(seen.customers.tolist(), scores.tolist(), strict=True)):
            if score >= limit or customer in suspects:
                trimmed += 1
            elif taught[seen.milestone, customer] < ACCOUNTS_TAUGHT:
                taught[seen.milestone, customer] += 1
                matrices[seen.milestone].append(seen.matrix[row : row + 1])
    return trimmed, matrices
