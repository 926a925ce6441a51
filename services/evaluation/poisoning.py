"""Poisoning: attackers present from the first minute, with a growing share of the traffic that references learn from.

References are learnt in the lead days of each world, once with what keeps attackers out (trimming, overlap, caps for
each customer: ``references propose``) and once without it, and the days after are judged. What matters is how far the
recall of accounts falls against the same world with no attacker in the lead days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from services.evaluation import sketched
from services.evaluation.judging import judge
from services.evaluation.trial import detect, learn
from services.simulator.world.actors import DAY_MS
from services.simulator.world.build import World, WorldOptions
from services.simulator.world.harvests import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from services.evaluation.plan import Plan, Tell
    from services.evaluation.sketched import Sketched

_RECIPE: Final = "shared-template"
_RATE: Final = 40.0  # Requests a day of one of its accounts.
_LEAST: Final = 12


class PoisoningRow(msgspec.Struct, frozen=True, kw_only=True):
    """One seed, share and way of learning. ``share`` is asked for; ``share_seen`` came out, of the lead days."""

    seed: int
    share: float
    share_seen: float
    caps: bool
    attackers: int
    covered: int
    honest_customers: int
    touched: int


@dataclass(frozen=True, slots=True)
class Poisoning:
    """Plays the trial for every seed of a plan; ``tell`` is given a line about what is being done."""

    plan: Plan
    config: DetectionConfig
    references: References  # Those in use, beside which others are learnt.
    tell: Tell

    def run(self, shares: Sequence[float]) -> list[PoisoningRow]:
        """Give one row for each seed, share and way of learning."""
        return [row for seed in self.plan.seeds for row in self._seed(seed, shares)]

    def _seed(self, seed: int, shares: Sequence[float]) -> Iterator[PoisoningRow]:
        plan = self.plan
        options = plan.world(seed)
        self.tell(f"seed {seed}: the honest world")
        world = World(options)
        honest = sketched.sketch_block(world, world.honest, plan.cache)
        lead_ms = options.start_ms + options.lead_days * DAY_MS
        daily = int((honest.events["time"] < lead_ms).sum()) / options.lead_days
        for share in shares:
            whole = self._whole(options, honest, daily, share)
            in_lead = whole.events["time"] < lead_ms
            seen = float(whole.harvest[in_lead].mean()) if in_lead.any() else 0.0
            for caps in (True, False):
                self.tell(f"seed {seed}: {share:.0%} of the lead days' traffic, caps {'on' if caps else 'off'}")
                yield self._row(whole, options, share, seen, caps=caps)

    def _whole(self, options: WorldOptions, honest: Sketched, daily: float, share: float) -> Sketched:
        """Put the campaign in: from the first minute where it has a share, else from the first attack day."""
        size = max(_LEAST, math.ceil(daily * share / (1 - share) / _RATE))
        world = World(replace(options, lead_days=0) if share else options)
        return sketched.merge([honest, sketched.sketch_block(world, world.campaign(BY_NAME[_RECIPE], size), None)])

    def _row(self, whole: Sketched, options: WorldOptions, share: float, seen: float, *, caps: bool) -> PoisoningRow:
        plan = self.plan
        lead_ms = options.start_ms + options.lead_days * DAY_MS
        name = f"poisoned-{options.seed}"
        used = self.references if caps else None
        references = learn(whole, lead_ms, self.config, plan.partitions, name, used)
        run = detect(whole, self.config, references, plan.partitions)
        judged = judge(run.alerts, whole, options.start_ms, lead_ms, options.start_ms + options.days * DAY_MS)
        return PoisoningRow(
            seed=options.seed,
            share=share,
            share_seen=round(seen, 4),
            caps=caps,
            attackers=judged.attackers,
            covered=judged.covered,
            honest_customers=judged.honest_customers,
            touched=judged.touched,
        )
