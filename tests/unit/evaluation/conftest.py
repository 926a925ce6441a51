"""One simulated day with a campaign in it, references from honest days of other seeds, and who is who."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detection.config import Clocking, DetectionConfig
from services.evaluation.backtest import Backtest
from services.evaluation.references import build_references
from services.evaluation.truth import Truth
from services.gateway.formats import openai
from services.gateway.identity import Identity
from services.gateway.sketching import EventMaker
from services.simulator.corpus import Corpus
from services.simulator.scenarios import make_population
from services.simulator.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from detection.detectors.reference import References
    from schemas.request_event import RequestEvent

START_MS = 1_780_012_800_000  # A midnight.
PARTITIONS = 3
CONFIG = DetectionConfig(clocking=Clocking(hop_ms=3_600_000))


@dataclass(frozen=True)
class Day:
    events: list[RequestEvent]
    truth: list[Truth]
    ids: dict[str, str]


def make_day(seed: int, *, honest: bool, limit: int | None = None) -> Day:
    population = make_population("tiny", seed, START_MS)
    if honest:
        population.accounts = [account for account in population.accounts if not account.campaign]
    maker = EventMaker(Identity(b"k" * 32))
    ids: dict[str, str] = {}
    events = []
    for place, record in enumerate(islice(Traffic(population, Corpus(Path("absent")), seed).days(1), limit)):
        parsed = openai.parse(record)
        event = maker.to_event(parsed, str(place))
        ids[parsed.account_raw] = event.account
        events.append(event)
    truth = [Truth(**account.truth()) for account in population.accounts]
    return Day(events, truth, ids)


@pytest.fixture(scope="session")
def day() -> Day:
    return make_day(3, honest=False)


@pytest.fixture(scope="session")
def references() -> References:
    accounts, pools = [], []
    for seed in (1, 2, 4, 5):
        run = Backtest(CONFIG, None, PARTITIONS)
        assert list(run.run(make_day(seed, honest=True).events)) == []
        accounts += run.pipeline.account_vectors
        pools += run.pipeline.pool_vectors
    return build_references("test", accounts, pools)


@pytest.fixture(scope="session")
def new_day() -> Callable[..., Day]:
    return make_day
