"""The sizes at which the capacity model is measured, and which of them it is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from events import HOT_SHARE

from detection.config import DetectionConfig

HOP: Final = DetectionConfig().clocking


@dataclass(frozen=True, slots=True)
class Point:
    """One size. ``hops`` of 15 minutes of event time at ``rate`` requests a second; ``checkpoint`` in seconds."""

    name: str
    use: str  # fit or held
    accounts: int
    rate: float
    hops: int
    checkpoint: float = 0.4
    uniform: bool = True

    @property
    def a_hop(self) -> int:
        """Requests of one hop."""
        return int(self.rate * HOP.hop_ms / 1000)

    @property
    def events(self) -> int:
        """As many whole hops, and what it takes to close the last one."""
        return int(self.a_hop * self.hops + self.rate * HOP.lateness_ms / 1000 * 1.5)

    @property
    def windows(self) -> float:
        """Accounts of a hop, for each of its requests."""
        return self.distinct(self.a_hop) / self.a_hop

    def distinct(self, requests: float) -> float:
        """Give how many accounts so many requests come from."""
        if self.uniform:
            return float(-self.accounts * np.expm1(-requests / self.accounts))
        share = 1.0 / np.arange(1, self.accounts + 1)
        share *= (1 - HOT_SHARE) / share.sum()
        share[0] += HOT_SHARE
        return float(-np.expm1(-requests * share).sum())


POINTS: Final = (
    Point("z20k", "fit", 20_000, 20, 19, 1.0, uniform=False),
    Point("u20k", "fit", 20_000, 20, 16),
    Point("u25k-fast", "fit", 25_000, 150, 1, 0.1),
    Point("u100k", "fit", 100_000, 40, 4, 0.2),
    Point("u250k", "held", 250_000, 200, 1, 0.2),
    Point("u500k", "held", 500_000, 400, 1),
)
