"""Bars: how far beyond its lane's threshold an incident's score must lie before it is raised.

A bar multiplies the threshold of one lane where incidents are raised, and nowhere else: what is found, what belongs
together and what is drawn stay as they are. An incident stands above the bars when one of its findings stands above its
own lane's. Whatever the numbers are, a bar lies within ``LEAST_BAR`` and ``MOST_BAR``, and holds nothing that is graded
high or critical. So bars that an adversary taught cannot silence an alarm that stands well above its threshold, or one
that names many.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from detection.ranking.priority import severity_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detection.config import DetectionConfig
    from detection.outcomes import Severity

# Probes have none: each finding of theirs is one fact, and all have the same score.
LANES: Final = ("pool", "account", "link")
LEAST_BAR: Final = 1.0
MOST_BAR: Final = 1.25  # Doubt is halved there. Higher ones would hold campaigns: docs/decisions/0029 has figures.
HELD_SHARE: Final = 0.1  # Of what is held, by a hash: shown as draws, so that verdicts can also take a bar down again.
_NEVER_HELD: Final = severity_place("high")


class BarsRecord(Protocol):
    """What ``schemas.model_version.ModelVersion`` tells; the core does not know the wire's type."""

    @property
    def model(self) -> str: ...  # noqa: D102 - The wire's own words.
    @property
    def version(self) -> int: ...  # noqa: D102 - Counts proposals.
    @property
    def parameters(self) -> Mapping[str, float]: ...  # noqa: D102 - Names to numbers: ``bar.<lane>``, and why it is there.


class Bars:
    """One set of bars. ``name`` is for example ``bars/3``; "" where the configured thresholds stand alone."""

    def __init__(self, name: str = "", parameters: Mapping[str, float] | None = None) -> None:
        """Read ``bar.<lane>`` of the lanes, 1 where there is none; raises ValueError where one is no number."""
        self.name = name
        told = parameters or {}
        if not all(math.isfinite(value) for value in told.values()):
            raise ValueError(f"{name} has a parameter that is no number")
        self._bars = {lane: within(told.get(f"bar.{lane}", LEAST_BAR)) for lane in LANES}

    @classmethod
    def of(cls, record: BarsRecord) -> Bars:
        """Make them from a published version; raises ValueError."""
        return cls(f"{record.model}/{record.version}", record.parameters)

    def of_lane(self, lane: str) -> float:
        """Give a lane's bar; 1 for a lane that has none."""
        return self._bars.get(lane, LEAST_BAR)

    def clears(self, peaks: Mapping[str, float]) -> bool:
        """Say whether one of these scores over thresholds, the highest of each lane, reaches its lane's bar."""
        return any(ratio >= self.of_lane(lane) for lane, ratio in peaks.items())


def within(bar: float) -> float:
    """Bring a number into the bounds."""
    return min(max(bar, LEAST_BAR), MOST_BAR)


def exempt(severity: Severity) -> bool:
    """Say whether no bar holds what is graded so."""
    return severity_place(severity) >= _NEVER_HELD


def thresholds(config: DetectionConfig) -> dict[str, float]:
    """Give the lanes' configured thresholds, each in the unit of its own scores."""
    return {
        "pool": config.pools.threshold,
        "account": config.accounts.threshold,
        "link": float(config.links.coincidences),
    }
