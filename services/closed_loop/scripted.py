"""The crowd of a scenario: accounts that are drawn request by request, with text that is sketched on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from schemas.columns import attribute_columns, event_columns
from services.closed_loop.crowd import Ask, Party, worth
from services.gateway.accounts import to_attributes
from services.gateway.formats import openai
from services.gateway.sketching import EventMaker
from services.simulator.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import StructuredArray
    from services.closed_loop.crowd import Made
    from services.gateway.identity import Identity
    from services.simulator.behaviour import Turn
    from services.simulator.corpus import Corpus
    from services.simulator.population import Population, SimulatedAccount

LICENSED: Final = "licensed"


class LoopTraffic(Traffic):
    """The simulator's traffic, request by request and not day by day."""

    def schedule(self, index: int, day: int) -> list[tuple[float, int, Turn]]:
        """Give one account's requests of a day, by second."""
        return self._schedule(index, day)

    def record(self, index: int, turn: Turn, time_ms: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give one request and its response."""
        return self._record(self.population.accounts[index], index, turn, time_ms, rng)


class ScriptedCrowd:
    """See ``Crowd``. ``identity`` is the gateway's, so that decisions and requests speak of the same ids."""

    def __init__(self, population: Population, corpus: Corpus, seed: int, identity: Identity) -> None:
        self.start_ms = population.start_ms
        self._population = population
        self._traffic = LoopTraffic(population, corpus, seed)
        self._identity = identity
        self._maker = EventMaker(identity)
        self._rng = np.random.default_rng([seed, 7])
        self.parties = [self._party(account) for account in population.accounts]

    def schedule(self, index: int, day: int) -> Sequence[Ask]:
        """Give what one account would ask on a day; all that a campaign's account asks is for its corpus."""
        account = self._population.accounts[index]
        longest = int({**account.client.settings, **account.settings}.get("max_tokens", 32_000))
        return [
            Ask(day * 86_400.0 + second, account.campaign is not None, worth(min(turn.output_tokens, longest)), turn)
            for second, _, turn in self._traffic.schedule(index, day)
        ]

    def columns(self, made: Sequence[Made]) -> StructuredArray:
        """Write the requests with their text, and sketch them."""
        records = (self._traffic.record(each.party, each.turn, each.time_ms, self._rng) for each in made)
        return event_columns([self._maker.to_event(openai.parse(record)) for record in records])

    def attributes(self, indices: Sequence[int]) -> StructuredArray:
        """Give the accounts' attributes."""
        accounts = [self._population.accounts[index] for index in indices]
        return attribute_columns([to_attributes(account.attributes(), self._identity) for account in accounts])

    def buy(self, like: int, now_ms: int) -> int:
        """Add an account of the same behaviour, with another key, home and card."""
        population = self._population
        account = replace(
            population.accounts[like],
            key=population.key(),
            address=population.home_address(),
            created_at_ms=now_ms,
            payment=population.payment(),
        )
        population.accounts.append(account)
        self.parties.append(self._party(account))
        return len(self.parties) - 1

    def _party(self, account: SimulatedAccount) -> Party:
        organization = account.organization
        return Party(
            account=self._identity.account(account.key),
            organization=self._identity.identifier("organization", organization) if organization else "",
            campaign=account.campaign,
            recipe=account.recipe,
            licensed=account.group == LICENSED,
        )
