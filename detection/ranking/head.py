"""A trained supervised head as the incidents step uses it: plain numbers to a probability, without River.

Whatever the numbers are, the probability is between 0 and 1: a head that was poisoned or damaged stays within the
weight that it is given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

_STEEPEST: Final = 30.0  # Log odds beyond which nothing changes in a double; keeps exp from overflowing.
_MEANT: Final = ("count", "mean", "variance", "weight")


class HeadRecord(Protocol):
    """What ``schemas.model_version.ModelVersion`` tells; the core does not know the wire's type."""

    @property
    def model(self) -> str: ...  # noqa: D102 - The wire's own words.
    @property
    def version(self) -> int: ...  # noqa: D102 - Labels that it has seen.
    @property
    def positives(self) -> int: ...  # noqa: D102 - Confirmed alerts among them.
    @property
    def parameters(self) -> Mapping[str, float]: ...  # noqa: D102 - As ``SupervisedHead.parameters`` gives them.


class TrainedHead:
    """One version. ``name`` is what an alert quotes, for example ``supervised/57``."""

    def __init__(self, name: str, positives: int, parameters: Mapping[str, float]) -> None:
        """Read the numbers of ``SupervisedHead.parameters``; raises ValueError where they are not such."""
        self.name = name
        self.positives = positives
        if not all(math.isfinite(value) for value in parameters.values()):
            raise ValueError(f"{name} has a parameter that is no number")
        names = [key.removeprefix("count.") for key in parameters if key.startswith("count.")]
        try:
            self._intercept = parameters["intercept"]
            self._features = {
                feature: (
                    parameters[f"mean.{feature}"],
                    math.sqrt(max(parameters[f"variance.{feature}"], 0.0)),
                    parameters[f"weight.{feature}"],
                )
                for feature in sorted(names)
            }
        except KeyError as error:
            raise ValueError(f"{name} lacks the parameter {error}") from None

    @classmethod
    def of(cls, record: HeadRecord) -> TrainedHead:
        """Make it from a published version; raises ValueError."""
        return cls(f"{record.model}/{record.version}", record.positives, record.parameters)

    def probability(self, vector: Mapping[str, float]) -> float:
        """Give how likely people would confirm this, 0..1. Features that it has never seen say nothing."""
        odds = self._intercept
        for feature, (mean, deviation, weight) in self._features.items():
            value = vector.get(feature)
            if value is not None and deviation and math.isfinite(value):
                odds += weight * (value - mean) / deviation
        if math.isnan(odds):  # Finite numbers of the largest size can still cancel to no number.
            return 0.5
        return 1.0 / (1.0 + math.exp(-min(max(odds, -_STEEPEST), _STEEPEST)))
