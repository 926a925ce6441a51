"""Learning a local reference while attackers are present: trimming, overlap, caps, drift."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from detection.config import DetectionConfig
from detection.pools.learning import FAR, POOLS_TAUGHT, moved, propose, screen
from detection.pools.scoring import PoolVector, build_pool_reference
from detection.pools.step import PoolsStep
from services.evaluation.references import build_account_reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.detectors.reference import References

CONFIG = DetectionConfig()


@pytest.fixture(scope="module")
def recorded(traffic: Any, feed: Callable[..., Any]) -> dict[str, list[PoolVector]]:
    rng = np.random.default_rng(21)
    honest = [r for pool in range(1, 11) for r in traffic.organic(rng, pool, int(rng.integers(6, 16)))]
    workers = [r for pool in range(101, 104) for r in traffic.campaign(rng, pool, 20)]

    def vectors(requests: list[Any]) -> list[PoolVector]:
        found: list[PoolVector] = feed(PoolsStep(CONFIG, None, 0, 1), traffic.contributions(requests))[1]
        return found

    return {"honest": vectors(honest), "workers": vectors(workers)}


def test_attackers_teach_nothing_and_honest_pools_do(
    recorded: dict[str, list[PoolVector]], honest_references: References
) -> None:
    screened = screen(recorded["honest"] + recorded["workers"], honest_references, CONFIG)
    hostile = {vector.pool for vector in recorded["workers"]}
    assert screened.trimmed >= len(hostile)
    assert not hostile & {vector.pool for vector in screened.kept}
    assert len({vector.pool for vector in screened.kept}) >= 6


def test_a_pool_that_shares_customers_with_suspects_teaches_nothing(
    recorded: dict[str, list[PoolVector]], honest_references: References
) -> None:
    worst = recorded["workers"][-1]
    bystander = replace(recorded["honest"][-1], pool=777, customers=(*worst.customers[:10], 1, 2, 3))
    screened = screen([worst, bystander], honest_references, CONFIG)
    assert (screened.kept, screened.overlapping) == ([], 1)


def test_one_customer_teaches_within_a_bounded_number_of_pools(
    recorded: dict[str, list[PoolVector]], honest_references: References
) -> None:
    one = next(vector for vector in recorded["honest"] if not screen([vector], honest_references, CONFIG).trimmed)
    many = [replace(one, pool=pool, customers=(5, 1000 + pool)) for pool in range(1, 200)]
    screened = screen(many, honest_references, CONFIG)
    assert len(screened.kept) == POOLS_TAUGHT
    assert len(screened.kept) + screened.capped + screened.trimmed == len(many)


def test_a_stratum_whose_middle_moved_far_is_drift_and_is_not_taken_over(
    recorded: dict[str, list[PoolVector]], honest_references: References
) -> None:
    name, used = next(iter(sorted(honest_references.pools.items())))
    assert moved(used, used) == 0.0
    rng = np.random.default_rng(4)
    shifted = build_pool_reference(np.abs(rng.normal(40.0, 1.0, (80, len(used.names)))))
    assert moved(used, shifted) > FAR
    far = msgspec.structs.replace(honest_references, pools=dict.fromkeys(honest_references.pools, shifted))
    proposal = propose("next", [], recorded["honest"], far, CONFIG, build_account_reference)
    assert set(proposal.refused) == {key for key, distance in proposal.drift.items() if distance > FAR}
    assert all(proposal.references.pools[key] == far.pools[key] for key in proposal.refused)
    assert name in proposal.references.pools
