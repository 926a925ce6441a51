"""What an evaluation is to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.simulator.world.build import ALL_CROWDS, WorldOptions

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.model_version import ModelVersion

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to evaluate. ``references`` is ``shipped`` (the set in use) or ``lead`` (learnt in the lead days)."""

    seeds: tuple[int, ...]
    recipes: tuple[str, ...] = ()
    family: str = "all"
    honest: int = 1200
    days: int = 10
    lead_days: int = 7
    crowds: tuple[str, ...] = ALL_CROWDS
    prevalence: float = 0.05
    lower_prevalences: tuple[float, ...] = ()
    references: str = "shipped"
    partitions: int = 8
    without_configuration: bool = True
    ablation: bool = False
    baselines: bool = False
    shared: str = ""
    cache: Path | None = field(default=None, compare=False)
    head: ModelVersion | None = None
    bars: ModelVersion | None = None

    def world(self, seed: int) -> WorldOptions:
        """Give the world of one seed."""
        return WorldOptions(
            seed=seed,
            honest=self.honest,
            days=self.days,
            lead_days=self.lead_days,
            crowds=self.crowds,
            shared=self.shared,
        )
