"""The runs that are compared: one crowd, three policies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from detection.pipeline import LocalPipeline
from schemas.entitlement import Entitlement
from services.closed_loop.loop import Loop, Parts
from services.closed_loop.report import costs_of, touched_by
from services.closed_loop.scripted import LICENSED, ScriptedCrowd
from services.closed_loop.worlds import WorldCrowd
from services.evaluation.sketched import sketch_block, with_campaigns
from services.evaluation.trial import entitlements
from services.simulator.behaviour import Worker
from services.simulator.population import CLIENTS, DAY_MS, Population, SimulatedAccount
from services.simulator.prompts import HARVEST_SYSTEM
from services.simulator.scenarios import make_population
from services.simulator.world.build import World, WorldOptions, choose_recipes, deal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from services.closed_loop.crowd import Crowd
    from services.closed_loop.report import CampaignCost, Touched
    from services.gateway.identity import Identity
    from services.simulator.corpus import Corpus

_ORGANIZATION: Final = "Licensed Laboratory"
_HOUR_MS: Final = 3_600_000
_PREVALENCE: Final = 0.05  # Attackers' share of the accounts of a world, at most.


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the policies are compared. ``crowd`` gives the same crowd anew for each of them."""

    name: str
    seed: int
    days: int
    crowd: Callable[[], Crowd]
    entitlements: tuple[Entitlement, ...]


def add_licensed_customer(population: Population, accounts: int = 30, requests: float = 60) -> None:
    """Add a customer that distils by contract: in all but its entitlement it is a campaign."""
    population.add(
        accounts,
        lambda _: SimulatedAccount(
            key=population.key(),
            recipe="licensed-distillation",
            behaviour=Worker(requests, 5.1, 6.4),
            client=CLIENTS["aiohttp"],
            address=population.office_address(9),
            created_at_ms=population.age(1, 9),
            organization=_ORGANIZATION,
            payment="card-licensed",
            group=LICENSED,
            system=HARVEST_SYSTEM,
        ),
    )


def scenario_stage(scenario: str, corpus: Corpus, identity: Identity, *, seed: int, start_ms: int, days: int) -> Stage:
    """Set a scenario of the simulator, with a licensed customer in it."""

    def crowd() -> Crowd:
        population = make_population(scenario, seed, start_ms)
        add_licensed_customer(population)
        return ScriptedCrowd(population, corpus, seed, identity)

    licence = Entitlement(
        entitlement_id="simulated",
        subject_kind="organization",
        subject=identity.identifier("organization", _ORGANIZATION),
        kind="licence",
        valid_from_unix_ms=0,
        valid_until_unix_ms=start_ms + (days + 1) * DAY_MS,
    )
    return Stage(name=scenario, seed=seed, days=days, crowd=crowd, entitlements=(licence,))


def world_stages(
    options: WorldOptions, recipes: Sequence[str], cache: Path | None, told: Callable[[str], None]
) -> Iterator[Stage]:
    """Set the worlds of an evaluation: the recipes are dealt to as many as keep attackers below 5 % of the accounts."""
    world = World(options)
    told("sketching honest traffic ...")
    sketch = partial(sketch_block, world, folder=cache)
    honest = sketch(world.honest)
    for place, dealt in enumerate(deal(choose_recipes(recipes), options.honest, _PREVALENCE, options.seed), 1):
        told(f"world {place}: {', '.join(recipe.name for recipe, _ in dealt)}")
        whole = with_campaigns(world, honest, dealt, sketch)
        yield Stage(
            name=f"world {place}",
            seed=options.seed,
            days=options.days,
            crowd=partial(WorldCrowd, whole, options.start_ms, options.seed),
            entitlements=tuple(entitlements()),
        )


class Comparison:
    """Runs the policies one after the other, each over the same crowd from the same seed."""

    def __init__(
        self, config: DetectionConfig, references: References, *, partitions: int, approval_hours: float = 1.0
    ) -> None:
        self._config = config
        self._references = references
        self._partitions = partitions
        self._approval_hours = approval_hours

    def run(self, stage: Stage, told: Callable[[str], None]) -> tuple[list[CampaignCost], list[Touched]]:
        """Play every policy; ``told`` hears the name of each as it begins."""
        costs, touched = [], []
        approval = round(self._approval_hours * _HOUR_MS)
        # Who only observes decides as well, and enforces nothing: the same alerts, and no feeling of them.
        for name, dry_run, approval_ms in (
            ("observe", True, None),
            ("throttle", False, None),
            ("ladder", False, approval),
        ):
            told(f"{stage.name}: {name} ...")
            crowd = stage.crowd()
            accounts = Counter(each.campaign for each in crowd.parties if each.campaign is not None)
            policy = msgspec.structs.replace(self._config.decisions, dry_run=dry_run)
            parts = Parts(
                pipeline=LocalPipeline(self._config, self._references, self._partitions),
                partitions=self._partitions,
                hop_ms=self._config.clocking.hop_ms,
                entitlements=stage.entitlements,
            )
            loop = Loop(crowd, parts, policy, approval_ms, stage.seed)
            loop.run(stage.days)
            costs += costs_of(loop, name, dict(accounts))
            touched.append(touched_by(loop, name, stage.name))
        return costs, touched
