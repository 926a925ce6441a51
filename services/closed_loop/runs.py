"""The runs that are compared: one population, three policies."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from detection.pipeline import LocalPipeline
from schemas.entitlement import Entitlement
from services.closed_loop.loop import Loop, LoopTraffic, Parts
from services.closed_loop.report import ClosedLoop, costs_of, touched_by
from services.gateway.accounts import to_attributes
from services.gateway.formats import openai
from services.gateway.sketching import EventMaker
from services.simulator.behaviour import Worker
from services.simulator.population import CLIENTS, DAY_MS, Population, SimulatedAccount
from services.simulator.prompts import HARVEST_SYSTEM
from services.simulator.scenarios import make_population

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.config import DetectionConfig
    from detection.detectors.reference import References
    from schemas.account_attributes import AccountAttributes
    from services.gateway.identity import Identity
    from services.simulator.corpus import Corpus

LICENSED: Final = "licensed"
_ORGANIZATION: Final = "Licensed Laboratory"
_HOUR_MS: Final = 3_600_000


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


class Comparison:
    """Runs the policies one after the other, each over the same population from the same seed."""

    def __init__(
        self,
        config: DetectionConfig,
        references: References,
        corpus: Corpus,
        identity: Identity,
        *,
        scenario: str,
        seed: int,
        start_ms: int,
        days: int,
        partitions: int,
        approval_hours: float = 1.0,
    ) -> None:
        self._config = config
        self._references = references
        self._corpus = corpus
        self._identity = identity
        self._scenario = scenario
        self._seed = seed
        self._start_ms = start_ms
        self._days = days
        self._partitions = partitions
        self._approval_hours = approval_hours

    def run(self, told: Callable[[str], None]) -> ClosedLoop:
        """Play every policy; ``told`` hears the name of each as it begins."""
        costs, touched = [], []
        approval = round(self._approval_hours * _HOUR_MS)
        # Who only observes decides as well, and enforces nothing: the same alerts, and no feeling of them.
        for name, dry_run, approval_ms in (
            ("observe", True, None),
            ("throttle", False, None),
            ("ladder", False, approval),
        ):
            told(name)
            population = make_population(self._scenario, self._seed, self._start_ms)
            add_licensed_customer(population)
            accounts = Counter(each.campaign for each in population.accounts if each.campaign is not None)
            policy = msgspec.structs.replace(self._config.decisions, dry_run=dry_run)
            loop = Loop(LoopTraffic(population, self._corpus, self._seed), self._parts(), policy, approval_ms)
            loop.run(self._days)
            costs += costs_of(loop, name, dict(accounts))
            touched.append(touched_by(loop, name))
        return ClosedLoop(
            scenario=self._scenario,
            seed=self._seed,
            days=self._days,
            approval_hours=self._approval_hours,
            costs=costs,
            touched=touched,
        )

    def _parts(self) -> Parts:
        identity = self._identity
        maker = EventMaker(identity)
        licence = Entitlement(
            entitlement_id="simulated",
            subject_kind="organization",
            subject=identity.identifier("organization", _ORGANIZATION),
            kind="licence",
            valid_from_unix_ms=0,
            valid_until_unix_ms=self._start_ms + (self._days + 1) * DAY_MS,
        )
        return Parts(
            pipeline=LocalPipeline(self._config, self._references, self._partitions),
            partitions=self._partitions,
            hop_ms=self._config.clocking.hop_ms,
            event_of=lambda record: maker.to_event(openai.parse(record)),
            attributes_of=self._attributes,
            account_of=identity.account,
            organization_of=lambda name: identity.identifier("organization", name),
            entitlements=(licence,),
        )

    def _attributes(self, account: SimulatedAccount) -> AccountAttributes:
        return to_attributes(account.attributes(), self._identity)
