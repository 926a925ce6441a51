"""The closed loop over a world: who is refused loses answers, buys accounts, and nobody else feels it."""

from __future__ import annotations

import pytest

from detection.config import DetectionConfig
from detection.ids import to_hex
from services import bootstrap
from services.closed_loop.crowd import Made
from services.closed_loop.runs import Comparison, Stage, world_stages
from services.settings import Settings
from services.simulator.world.build import WorldOptions

DAY = 2
OPTIONS = WorldOptions(seed=31, honest=60, days=3, lead_days=1, crowds=())


@pytest.fixture(scope="module")
def stage() -> Stage:
    return next(iter(world_stages(OPTIONS, ["shared-template"], None, lambda _: None)))


def test_a_campaign_that_feels_decisions_gets_less_and_pays_more(stage: Stage) -> None:
    references = bootstrap.load_references(Settings())
    assert references is not None
    costs, touched = Comparison(DetectionConfig(), references, partitions=1).run(stage, lambda _: None)
    by_policy = {each.policy: each for each in costs}
    observe, ladder = by_policy["observe"], by_policy["ladder"]
    assert observe.corpus_share == 1.0
    assert observe.refused == observe.accounts_bought == 0
    assert observe.planned == ladder.planned > 0
    assert ladder.refused > 0
    assert ladder.corpus_share < 0.95
    assert all(each.honest_accounts == each.licensed_accounts == 0 for each in touched)


def test_a_bought_account_asks_what_the_lost_one_had_left(stage: Stage) -> None:
    crowd = stage.crowd()
    lost = next(index for index, party in enumerate(crowd.parties) if party.campaign is not None)
    asks = crowd.schedule(lost, DAY)
    bought = crowd.buy(lost, OPTIONS.start_ms + 5)
    assert crowd.schedule(bought, DAY) == asks
    assert crowd.parties[bought].campaign == crowd.parties[lost].campaign
    moved, own = crowd.columns([Made(bought, asks[0].turn, 123), Made(lost, asks[0].turn, 456)])
    assert (to_hex(moved["account"]), to_hex(own["account"])) == (
        crowd.parties[bought].account,
        crowd.parties[lost].account,
    )
    assert (moved["time"], own["time"]) == (123, 456)
    assert moved["network"] != own["network"]
    assert moved["last_turn"] == own["last_turn"]
    (row,) = crowd.attributes([bought])
    assert to_hex(row["account"]) == crowd.parties[bought].account
    assert row["created_at"] == OPTIONS.start_ms + 5


def test_a_crowd_is_the_same_each_time(stage: Stage) -> None:
    first, second = stage.crowd(), stage.crowd()
    assert first.parties == second.parties
    assert first.schedule(0, 0) == second.schedule(0, 0)
