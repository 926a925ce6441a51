"""Campaigns: recipes by which somebody copies a model from its answers."""

from __future__ import annotations

from services.simulator.behaviour import Worker
from services.simulator.population import CLIENTS, Population, SimulatedAccount
from services.simulator.prompts import HARVEST_SYSTEM


def add_heavy_account(population: Population, requests: float = 1500) -> None:
    """Add one account that makes instructions and their answers round the clock."""
    population.add(
        1,
        lambda _: SimulatedAccount(
            key=population.key(),
            recipe="heavy-synthesis",
            behaviour=Worker(requests, 5.0, 6.9),
            client=CLIENTS["httpx"],
            address=population.home_address(),
            created_at_ms=population.age(20, 60),
            payment=population.payment(),
            campaign="heavy-account",
        ),
    )


def add_shared_template(population: Population, accounts: int = 50, requests: float = 40) -> None:
    """Add new accounts that put one template's slots through a reseller's addresses."""
    population.add(
        accounts,
        lambda _: SimulatedAccount(
            key=population.key(),
            recipe="shared-template",
            behaviour=Worker(requests, 5.1, 6.4),
            client=CLIENTS["aiohttp"],
            address=population.home_address(),
            created_at_ms=population.age(0.5, 6),
            payment=population.payment(),
            campaign="shared-template",
            system=HARVEST_SYSTEM,
        ),
    )


def add_sharded_harvest(population: Population, accounts: int = 300, requests: float = 26) -> None:
    """Add many accounts at 26 requests a day each: bare prompts, a popular library's defaults, scattered addresses."""
    population.add(
        accounts,
        lambda _: SimulatedAccount(
            key=population.key(),
            recipe="sharded-harvest",
            behaviour=Worker(requests, 4.4, 6.1),
            client=CLIENTS["httpx"],
            address=population.home_address(),
            created_at_ms=population.age(1, 12),
            payment=population.payment(),
            campaign="sharded-harvest",
            settings={"temperature": 0.8, "max_tokens": 4096},
        ),
    )
