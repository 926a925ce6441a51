"""A world from its options: honest archetypes, crowds and campaigns, in blocks that do not disturb each other.

``deal`` spreads recipes over several runs, so that attackers stay below their share of accounts in each.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from services.errors import ConfigurationError
from services.simulator.library import Library
from services.simulator.traces import Traces
from services.simulator.world.actors import Block
from services.simulator.world.crowds import CROWDS
from services.simulator.world.harvests import BY_NAME, RECIPES, Recipe
from services.simulator.world.honest import ARCHETYPES, LICENSED_ORGANIZATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HONEST: Final = "honest"
ALL_CROWDS: Final = tuple(name for name, _, _ in CROWDS)
_USUAL: Final = 3000  # Honest accounts for which crowds and recipes have their usual size.
START_MS: Final = 1_780_012_800_000  # A midnight.


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOptions:
    """``days`` includes ``lead_days``, in which no campaign sends (but for those whose recipe is to come early)."""

    seed: int
    start_ms: int = START_MS
    honest: int = _USUAL
    days: int = 10
    lead_days: int = 7
    crowds: tuple[str, ...] = ALL_CROWDS
    shared: str = ""  # The folder of public data; "" does without.

    def check(self) -> None:
        """Raise ConfigurationError where the options name nothing that there is."""
        unknown = sorted(set(self.crowds) - {name for name, _, _ in CROWDS})
        if unknown:
            known = ", ".join(name for name, _, _ in CROWDS)
            raise ConfigurationError(f"no crowd is called {unknown[0]!r}", f"Choose of: {known}.")
        if not 0 <= self.lead_days < self.days:
            raise ConfigurationError("the lead days leave no day after them", "Give more --days or fewer --lead-days.")


@dataclass
class World:
    """All blocks of one seed; a block is made when it is asked for, and always the same."""

    options: WorldOptions
    library: Library = field(init=False)
    traces: Traces = field(init=False)

    def __post_init__(self) -> None:
        self.options.check()
        shared = Path(self.options.shared) if self.options.shared else None
        self.library = Library(shared)
        self.traces = Traces(shared)

    @cached_property
    def honest(self) -> Block:
        """Everyone who harvests nothing, licensed customers and crowds included."""
        whole = self._block(HONEST)
        for name, make, share, least in ARCHETYPES:
            block = self._block(f"honest/{name}")
            for _ in range(max(least, round(share * self.options.honest))):
                make(block)
            whole.actors += block.actors
        for name, crowd, usual in CROWDS:
            if name in self.options.crowds:
                block = self._block(name)
                # A class does not shrink with the town: crowds go with the square root, down to eight.
                crowd(block, max(min(usual, 8), round(usual * min(1.0, self.options.honest / _USUAL) ** 0.5)))
                whole.actors += block.actors
        return whole

    def campaign(self, recipe: Recipe, accounts: int | None = None) -> Block:
        """Make one campaign of a recipe, of its usual size unless told otherwise."""
        size = recipe.accounts if accounts is None else max(recipe.least, accounts)
        block = self._block(f"{recipe.name}#{size}" if size != recipe.accounts else recipe.name)
        recipe.make(block, size)
        return block

    def _block(self, name: str) -> Block:
        options = self.options
        return Block(name, options.seed, options.start_ms, options.lead_days, options.days, self.traces)


def licensed_organizations() -> tuple[str, ...]:
    """Give the organisations that hold a licence in every world."""
    return LICENSED_ORGANIZATIONS


def choose_recipes(names: Sequence[str], family: str = "all") -> list[Recipe]:
    """Give recipes by name (none: all) and family: ``all``, ``tuning`` or ``held-out``; raises ConfigurationError."""
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise ConfigurationError(f"no recipe is called {unknown[0]!r}", f"Choose of: {', '.join(BY_NAME)}.")
    chosen = [BY_NAME[name] for name in names] or list(RECIPES)
    return [recipe for recipe in chosen if family == "all" or recipe.held_out == (family == "held-out")]


def deal(recipes: Iterable[Recipe], honest: int, prevalence: float, seed: int) -> list[list[tuple[Recipe, int]]]:
    """Deal recipes to runs of at most ``prevalence`` of all accounts each, shuffled by the seed.

    A recipe's size goes with the number of honest accounts. One above the whole budget is made smaller, down to its
    least size; one that still does not fit has a run of its own, above the share that was asked for (the result tells
    the share that came out).
    """
    budget = max(1, int(prevalence * honest / (1 - prevalence)))
    every = list(recipes)
    shuffled = np.random.default_rng([seed, zlib.crc32(b"deal")]).permutation(len(every))
    order = [every[place] for place in shuffled.tolist()]
    scale = min(1.0, honest / _USUAL)
    sized = [
        (recipe, max(recipe.least, min(round(recipe.accounts * scale), recipe.accounts, budget))) for recipe in order
    ]
    runs: list[list[tuple[Recipe, int]]] = []
    for recipe, size in sized:
        for run in runs:
            if sum(taken for _, taken in run) + size <= budget:
                run.append((recipe, size))
                break
        else:
            runs.append([(recipe, size)])
    return runs
