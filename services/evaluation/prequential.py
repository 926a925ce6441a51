"""The evaluation: fresh seeds, recipes dealt to runs, the detector judged on each, and what changes when parts go.

Prequential: an alert counts from the moment it is raised in the stream, and nothing is scored on what came after.
Seeds below 1,000 are for tuning. A result that used one says so; a figure worth quoting comes from others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from services.evaluation import sketched
from services.evaluation.ablations import ablations
from services.evaluation.baselines import BaselineResult, run_baselines
from services.evaluation.judging import Judged, judge
from services.evaluation.poisoning import PoisoningRow
from services.evaluation.summary import CrowdSummary, RecipeSummary, Summary, by_crowd, by_recipe, summarise
from services.evaluation.trial import detect, learn, without_configuration
from services.simulator.world.actors import DAY_MS
from services.simulator.world.build import World, WorldOptions, choose_recipes, deal
from services.simulator.world.harvests import RECIPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from services.evaluation.plan import Plan, Tell
    from services.evaluation.sketched import Sketched
    from services.simulator.world.actors import Block
    from services.simulator.world.harvests import Recipe

TUNING_SEEDS: Final = range(1, 1000)
FRESH_SEED: Final = 5001
MAIN: Final = "all"
NO_RECIPES: Final = "none"
WITHOUT_CONFIGURATION: Final = "without configuration keys"


class VariantResult(msgspec.Struct, frozen=True, kw_only=True):
    """One variant: its figures, and all of its runs."""

    name: str
    summary: Summary
    recipes: list[RecipeSummary]
    crowds: list[CrowdSummary]
    runs: list[Judged]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation. ``tuned_on`` are its seeds that are for tuning: a figure worth quoting has none."""

    version: int = 1
    seeds: list[int]
    tuned_on: list[int]
    family: str
    honest: int
    days: int
    lead_days: int
    prevalence: float
    references: str
    config_version: str
    sources: list[str]
    requests: int
    detector_cpu_seconds: float
    requests_per_cpu_second: float
    variants: list[VariantResult]
    baselines: list[BaselineResult] = []  # One row for each method and run.
    poisoning: list[PoisoningRow] = []

    def variant(self, name: str) -> VariantResult | None:
        """Give one variant by its name."""
        return next((variant for variant in self.variants if variant.name == name), None)


@dataclass(slots=True)
class _Clock:
    requests: int = 0
    seconds: float = 0.0


@dataclass
class Evaluator:
    """Runs a plan; ``tell`` is given a line about what is being done."""

    plan: Plan
    config: DetectionConfig
    references: References | None  # In use; None where every world learns its own, attackers and all.
    tell: Tell
    _clock: _Clock = field(default_factory=_Clock)
    _runs: dict[str, list[Judged]] = field(default_factory=dict)
    _baselines: list[BaselineResult] = field(default_factory=list)
    _sources: set[str] = field(default_factory=set)

    def run(self) -> Result:
        """Evaluate all seeds."""
        plan = self.plan
        for seed in plan.seeds:
            self._seed(seed)
        held_out = frozenset(recipe.name for recipe in RECIPES if recipe.held_out)
        variants = [
            VariantResult(
                name=name,
                summary=summarise(runs),
                recipes=by_recipe(runs, held_out),
                crowds=by_crowd(runs),
                runs=runs,
            )
            for name, runs in self._runs.items()
        ]
        clock = self._clock
        return Result(
            seeds=list(plan.seeds),
            tuned_on=[seed for seed in plan.seeds if seed in TUNING_SEEDS],
            family=plan.family,
            honest=plan.honest,
            days=plan.days,
            lead_days=plan.lead_days,
            prevalence=plan.prevalence,
            references=self._told_references(),
            config_version=self.config.version,
            sources=sorted(self._sources),
            requests=clock.requests,
            detector_cpu_seconds=round(clock.seconds, 2),
            requests_per_cpu_second=round(clock.requests / clock.seconds, 1) if clock.seconds else 0.0,
            variants=variants,
            baselines=self._baselines,
        )

    def _told_references(self) -> str:
        if self.references is None:
            return f"{self.plan.references}, everything taken"
        shipped = self.plan.references == "shipped"
        return self.references.version if shipped else f"{self.plan.references}, beside {self.references.version}"

    def _seed(self, seed: int) -> None:
        plan = self.plan
        options = plan.world(seed)
        world = World(options)
        honest = self._sketch(world, world.honest)
        recipes = choose_recipes(plan.recipes, plan.family) if plan.family != NO_RECIPES else []
        dealt = deal(recipes, len(honest.truth), plan.prevalence, seed) or [[]]
        for number, run in enumerate(dealt):
            whole = self._world(world, honest, run)
            what = f"seed {seed}, run {number + 1} of {len(dealt)}"
            references = self._references(whole, options, what)
            self._judge(MAIN, what, whole, options, self.config, references)
            if plan.without_configuration:
                blind = without_configuration(whole)
                self._judge(WITHOUT_CONFIGURATION, what, blind, options, self.config, references)
            if plan.baselines:
                self.tell(f"{what}: baselines")
                self._baselines += run_baselines(whole, options.start_ms + options.lead_days * DAY_MS)
            if plan.ablation:
                for name, config in ablations(self.config):
                    self._judge(name, what, whole, options, config, references)
        for prevalence in plan.lower_prevalences:
            # One run says what a rare attacker looks like; all recipes at this share would take dozens.
            run = deal(recipes, len(honest.truth), prevalence, seed)[0]
            whole = self._world(world, honest, run)
            what = f"seed {seed}, attackers {prevalence:.2%}"
            references = self._references(whole, options, what)
            self._judge(f"prevalence {prevalence:g}", what, whole, options, self.config, references)

    def _world(self, world: World, honest: Sketched, run: Sequence[tuple[Recipe, int]]) -> Sketched:
        return sketched.with_campaigns(world, honest, run, partial(self._sketch, world))

    def _sketch(self, world: World, block: Block) -> Sketched:
        def tell(count: int) -> None:
            self.tell(f"seed {world.options.seed}: sketching {block.name}, {count:,} requests")

        made = sketched.sketch_block(world, block, self.plan.cache, tell)
        self._sources.update(world.library.sources, world.traces.sources)
        return made

    def _references(self, whole: Sketched, options: WorldOptions, what: str) -> References:
        if self.references is not None and self.plan.references == "shipped":
            return self.references
        self.tell(f"{what}: learning references in the lead days")
        until = options.start_ms + options.lead_days * DAY_MS
        name = f"lead-{options.seed}"
        return learn(whole, until, self.config, self.plan.partitions, name, self.references)

    def _judge(
        self,
        variant: str,
        what: str,
        whole: Sketched,
        options: WorldOptions,
        config: DetectionConfig,
        references: References,
    ) -> None:
        self.tell(f"{what}: {variant}, {len(whole.events):,} requests")
        run = detect(whole, config, references, self.plan.partitions, self.plan.head, self.plan.bars)
        self._clock.requests += len(whole.events)
        self._clock.seconds += run.cpu_seconds
        start = options.start_ms
        lead, end = start + options.lead_days * DAY_MS, start + options.days * DAY_MS
        self._runs.setdefault(variant, []).append(judge(run.alerts, whole, start, lead, end))


def fresh_seeds(count: int) -> tuple[int, ...]:
    """Give the first ``count`` seeds that tuning never uses."""
    return tuple(range(FRESH_SEED, FRESH_SEED + count))
