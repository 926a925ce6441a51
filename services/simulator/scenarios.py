"""Scenarios by name: who takes part. A scenario is a function of its seed and its start, and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from services.errors import ConfigurationError
from services.simulator import campaigns, honest
from services.simulator.population import Population

if TYPE_CHECKING:
    from collections.abc import Callable


class Scenario(NamedTuple):
    """``fill`` adds the accounts; ``story`` is what ``--help`` says."""

    story: str
    fill: Callable[[Population], None]


def _benign(population: Population) -> None:
    honest.add_people(population, 900)
    honest.add_developers(population, 480)
    honest.add_services(population, 40)
    honest.add_sharded_batch(population, 20)
    honest.add_benchmark_teams(population, 24)
    honest.add_class(population, 35)
    honest.add_launch(population, 60)
    honest.add_agents(population, 140)
    honest.add_office(population, 25)


def _demo(population: Population) -> None:
    _benign(population)
    campaigns.add_heavy_account(population)
    campaigns.add_shared_template(population)
    campaigns.add_sharded_harvest(population)


def _tiny(population: Population) -> None:
    honest.add_people(population, 60)
    honest.add_developers(population, 30)
    honest.add_services(population, 4)
    campaigns.add_shared_template(population, accounts=25, requests=60)


SCENARIOS: Final[dict[str, Scenario]] = {
    "demo": Scenario("about 1,700 honest accounts and three campaigns: heavy, shared template, sharded harvest", _demo),
    "benign": Scenario("the honest accounts of demo alone, hard crowds included", _benign),
    "tiny": Scenario("about 100 accounts and one campaign, for tests", _tiny),
}


def make_population(scenario: str, seed: int, start_ms: int) -> Population:
    """Make a scenario's accounts; raises ConfigurationError where no scenario has this name."""
    if scenario not in SCENARIOS:
        raise ConfigurationError(f"no scenario is called {scenario!r}", f"Choose one of: {', '.join(SCENARIOS)}.")
    population = Population(np.random.default_rng([seed, 0]), start_ms)
    SCENARIOS[scenario].fill(population)
    return population
