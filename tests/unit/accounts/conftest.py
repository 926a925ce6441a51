"""Small random streams of requests, dense enough that accounts, pools and hops meet often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from detection.columns import ATTRIBUTES, EVENT
from detection.config import AccountLane, Clocking, DetectionConfig, Forest, PoolLane, ProbeLane
from detection.detectors.calibration import build
from detection.detectors.reference import References
from detection.features.catalogue import ACCOUNT_FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.columns import StructuredArray

BEGIN = 1_760_000_000_000
MINUTE = 60_000


@pytest.fixture(scope="session")
def config() -> DetectionConfig:
    return DetectionConfig(
        clocking=Clocking(hop_ms=MINUTE, lateness_ms=20_000),
        accounts=AccountLane(milestones=(3, 5, 8, 13), threshold=0.5, alert_floor=5),
        forest=Forest(trees=4, height=3, window=5, learn_gap_hops=2),
        pools=PoolLane(young_ms=5 * MINUTE, cohort_ms=2 * MINUTE),
        probes=ProbeLane(vectors=2, output_tokens=2000, idle_ms=3 * MINUTE, maximum_accounts=3),
    )


@pytest.fixture(scope="session")
def references() -> References:
    """Honest accounts whose features are all near their lower end: most real ones then stand out."""
    names = [feature.name for feature in ACCOUNT_FEATURES]
    matrix = np.random.default_rng(3).random((200, len(names))) * 0.4
    one = build(names, [feature.direction for feature in ACCOUNT_FEATURES], matrix)
    return References(version="test", accounts={3: one, 5: one, 8: one})


@pytest.fixture(scope="session")
def random_events() -> Callable[[int, int], StructuredArray]:
    def make(seed: int, count: int) -> StructuredArray:
        draw = np.random.default_rng(seed)

        def few(values: int, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
            return draw.integers(0, values, (count, *shape))

        events = np.zeros(count, EVENT)
        events["time"] = BEGIN + np.sort(few(12 * MINUTE)) + draw.integers(-45_000, 45_000, count)
        events["account"] = 101 + few(5) * few(2)
        for name in ("organization", "client", "network", "address", "system", "last_turn", "response", "bias"):
            events[name] = few(3)
        events["configuration"] = 1 + few(3)
        events["prefix"], events["suffix"] = few(3, 4), few(3, 4)
        events["boundaries"] = few(12, 4)
        events["flags"] = few(1 << 18)
        # Some accounts converse and some do not.
        events["flags"][events["account"] > 103] &= ~np.uint32(1 << 14)
        for name in ("input_tokens", "output_tokens", "reasoning_tokens", "duration"):
            events[name] = few(3000)
        events["projection"] = draw.integers(-127, 128, (count, 32)) * few(2, 1)
        return events

    return make


@pytest.fixture(scope="session")
def attributes() -> StructuredArray:
    rows = np.zeros(3, ATTRIBUTES)
    rows["account"] = (101, 102, 103)
    rows["created_at"] = (BEGIN - 2 * MINUTE, 0, BEGIN - 1000 * MINUTE)
    rows["organization"] = (7, 0, 7)
    rows["payment"] = (0, 9, 9)
    rows["verified"] = (1, 0, 0)
    return rows
