"""The simulator: reproducible, in order of time, honest about who is who."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from services.errors import ConfigurationError
from services.simulator.corpus import Corpus
from services.simulator.pacing import pace
from services.simulator.scenarios import SCENARIOS, make_population
from services.simulator.traffic import Traffic

START = 1_795_046_400_000


def records(scenario: str, seed: int, days: int) -> list[dict[str, Any]]:
    return list(Traffic(make_population(scenario, seed, START), Corpus(), seed).days(days))


def test_same_seed_same_records_and_another_seed_others() -> None:
    assert records("tiny", 5, 1) == records("tiny", 5, 1)
    assert records("tiny", 5, 1) != records("tiny", 6, 1)


def test_records_come_in_order_of_time_over_days() -> None:
    times = [record["started_at"] for record in records("tiny", 1, 2)]
    assert all(before <= after for before, after in pairwise(times))
    assert times[0] >= START / 1000
    assert times[-1] < START / 1000 + 2 * 86_400


def test_every_sender_stands_in_the_truth_file() -> None:
    population = make_population("tiny", 2, START)
    truth = {account.truth()["account"] for account in population.accounts}
    senders = {record["api_key"] for record in Traffic(population, Corpus(), 2).days(1)}
    assert len(truth) == len(population.accounts)
    assert senders <= truth
    assert {account.campaign for account in population.accounts} == {None, "shared-template"}


def test_the_demo_meets_the_size_that_live_and_backtest_are_compared_at() -> None:
    population = make_population("demo", 1, START)
    attackers = Counter(account.campaign for account in population.accounts)
    assert len(population.accounts) >= 1000
    assert attackers["sharded-harvest"] == 300
    assert attackers["shared-template"] == 50
    assert attackers["heavy-account"] == 1


def test_workers_vary_less_than_chance_and_people_more() -> None:
    population = make_population("demo", 3, START)
    counts: Counter[str] = Counter()
    for record in Traffic(population, Corpus(), 3).days(1):
        counts[record["api_key"]] += 1
    by_recipe: dict[str, list[int]] = {}
    for account in population.accounts:
        by_recipe.setdefault(account.recipe, []).append(counts[account.key])
    workers, people = np.array(by_recipe["sharded-harvest"]), np.array(by_recipe["person"])
    assert workers.var() / workers.mean() < 1
    assert people.var() / people.mean() > 3


def test_a_follow_up_carries_the_conversation_so_far() -> None:
    follow_ups = [r["request"]["messages"] for r in records("tiny", 4, 1) if len(r["request"]["messages"]) > 2]
    assert follow_ups
    assert all(messages[-1]["role"] == "user" for messages in follow_ups)
    assert all("assistant" in {message["role"] for message in messages} for messages in follow_ups)


def test_an_unknown_scenario_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_population("nothing", 1, START)
    assert all(name in caught.value.hint for name in SCENARIOS)


@dataclass
class FakeClock:
    now: float = 1000.0

    def now_ms(self) -> int:
        return round(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_past_records_keep_the_rate_and_future_ones_their_time() -> None:
    clock = FakeClock()
    past, future = [500_000] * 400, [1_020_000, 1_030_000]
    seen = [(record, clock.now) for record in pace(past + future, lambda r: r, clock, rate=100, sleep=clock.sleep)]
    assert seen[399][1] == pytest.approx(1003.0)  # Three bursts of 100 at 100 a second lie before the last one.
    assert [moment for record, moment in seen[400:]] == pytest.approx([1020.0, 1030.0])
