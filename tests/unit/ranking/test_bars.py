"""Bars and where they should stand: within their bounds whatever is told, and moved by what they ought to move by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.config import DetectionConfig
from detection.ranking.bars import HELD_SHARE, LANES, LEAST_BAR, MOST_BAR, Bars, exempt, thresholds
from detection.ranking.drifting import DriftWatch
from detection.ranking.lessons import ORGANISATION_LABELS, Judged
from detection.ranking.proposing import (
    LEAST_REFUSED,
    STEPS,
    Budget,
    Judgement,
    Standing,
    budget_of,
    by_budget,
    by_verdicts,
    judgements,
    propose,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

HOP_MS = 900_000
WEEK = 672  # Hops.
RATIOS = st.floats(1.0, 3.0)
TOLD = st.lists(st.builds(Judgement, st.just("pool"), RATIOS, st.booleans()), max_size=150)
STANDING = st.lists(
    st.builds(Standing, st.sampled_from(LANES), RATIOS, st.booleans(), st.integers(0, WEEK), st.just("a")), max_size=60
)
PLENTY = Budget(20.0, {"pool": 20.0, "account": 10.0, "link": 10.0})


def standing(ratios: Sequence[float], lane: str = "pool", hop: int = 0) -> list[Standing]:
    return [
        Standing(lane, ratio, free=False, hop=hop + place, alert_id=str(place)) for place, ratio in enumerate(ratios)
    ]


def benign(count: int, ratio: float = 1.02) -> list[Judgement]:
    return [Judgement("pool", ratio, confirmed=False)] * count


@given(
    st.dictionaries(
        st.sampled_from([f"bar.{lane}" for lane in (*LANES, "probe", "x")]),
        st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_whatever_a_record_says_a_bar_is_within_its_bounds(parameters: dict[str, float]) -> None:
    bars = Bars("bars/1", parameters)
    assert all(LEAST_BAR <= bars.of_lane(lane) <= MOST_BAR for lane in LANES)
    assert bars.of_lane("probe") == bars.of_lane("entitlement") == LEAST_BAR
    assert bars.clears({"pool": MOST_BAR})
    assert bars.clears({"pool": 1.0, "probe": 1.0})


def test_a_bar_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="no number"):
        Bars("bars/1", {"bar.pool": math.nan})


def test_what_is_graded_high_is_exempt() -> None:
    assert [exempt(severity) for severity in ("low", "medium", "high", "critical")] == [False, False, True, True]


@given(st.lists(RATIOS, max_size=60), st.floats(0, 70))
def test_the_budgets_bar_lets_through_no_more_than_is_allowed_unless_it_is_the_highest(
    ratios: list[float], allowed: float
) -> None:
    incidents = standing(ratios)
    bar = by_budget(incidents, allowed)
    assert LEAST_BAR <= bar <= MOST_BAR
    assert bar == MOST_BAR or sum(one.clears(bar) for one in incidents) <= allowed
    # A larger budget never asks for a higher bar, and a step lower would have let through one too many.
    assert by_budget(incidents, allowed + 1) <= bar
    lower = sum(one.clears(bar - 1.01 / STEPS) for one in incidents)
    assert bar == LEAST_BAR or lower > math.floor(allowed)


@given(TOLD, RATIOS)
def test_a_benign_verdict_never_lowers_and_a_confirmed_one_never_raises(told: list[Judgement], ratio: float) -> None:
    asked, most = by_verdicts(told)
    assert LEAST_BAR <= asked <= most <= MOST_BAR
    for confirmed, sign in ((True, -1), (False, 1)):
        after, limit = by_verdicts([*told, Judgement("pool", ratio, confirmed)])
        assert sign * (after - asked) >= 0
        assert sign * (limit - most) >= 0


def test_verdicts_raise_a_bar_band_by_band_and_only_when_there_are_enough() -> None:
    assert by_verdicts(benign(LEAST_REFUSED - 1)) == (1.0, MOST_BAR)
    assert by_verdicts(benign(LEAST_REFUSED)) == (1.05, MOST_BAR)
    # The second band alone says nothing of the first.
    assert by_verdicts(benign(50, 1.07)) == (1.0, MOST_BAR)
    assert by_verdicts(benign(20) + benign(20, 1.07)) == (1.1, MOST_BAR)
    assert by_verdicts([*benign(20), *benign(20, 1.07), *[Judgement("pool", 1.02, confirmed=True)] * 2])[0] == 1.0
    # Far more benign ones than bounds allow for.
    assert by_verdicts(
        [each for ratio in (1.02, 1.07, 1.12, 1.17, 1.22, 1.27, 1.9) for each in benign(500, ratio)]
    ) == (
        MOST_BAR,
        MOST_BAR,
    )


def test_confirmed_alerts_stop_a_bar_that_the_budget_asks_for() -> None:
    incidents = standing([1.0 + 0.2 * place / 400 for place in range(400)])
    tight = Budget(1.0, PLENTY.lanes)
    alone = propose(incidents, [], tight, WEEK, HOP_MS)
    assert alone["bar.pool"] == alone["budget.pool"] == 1.15
    assert alone["raised.pool"] <= 1.0 < alone["hourly.pool"]
    confirmed = [Judgement("pool", 1.07, confirmed=True)] * 3
    stopped = propose(incidents, confirmed, tight, WEEK, HOP_MS)
    assert (stopped["bar.pool"], stopped["most.pool"]) == (1.05, 1.05)
    # Of another lane they say nothing.
    other = propose(incidents, [each._replace(lane="account") for each in confirmed], tight, WEEK, HOP_MS)
    assert other["bar.pool"] == alone["bar.pool"]


@given(STANDING, TOLD, st.floats(0, 40))
def test_any_proposal_is_within_the_bounds_and_the_same_each_time(
    incidents: list[Standing], told: list[Judgement], hourly: float
) -> None:
    found = propose(incidents, told, Budget(hourly, PLENTY.lanes), WEEK, HOP_MS)
    assert found == propose(incidents, told, Budget(hourly, PLENTY.lanes), WEEK, HOP_MS)
    for lane in LANES:
        assert LEAST_BAR <= found[f"bar.{lane}"] <= found[f"most.{lane}"] <= MOST_BAR
    assert all(math.isfinite(value) for value in found.values())


def test_a_week_within_the_budget_and_without_verdicts_asks_for_nothing() -> None:
    found = propose(standing([1.0, 1.2, 4.0] * 20), [], PLENTY, WEEK, HOP_MS)
    assert {found[f"bar.{lane}"] for lane in LANES} == {1.0}
    # Older incidents than a week count no more, and a first hour is counted as a day.
    old = propose(standing([1.0] * 40, hop=0), [], Budget(0.01, PLENTY.lanes), 2 * WEEK, HOP_MS)
    assert (old["bar.pool"], old["hourly.pool"]) == (1.0, 0.0)
    first = propose(standing([1.0] * 4), [], Budget(1.0, PLENTY.lanes), 3, HOP_MS)
    assert (first["hours"], first["bar.pool"]) == (24.0, 1.0)


def test_the_budget_is_what_people_can_look_at() -> None:
    config = DetectionConfig()
    assert budget_of(config, 0, 6.0).hourly == config.incidents.alerts_per_hour
    assert budget_of(config, 2, 4.0).hourly == 8.0
    assert budget_of(config, 100, 4.0).hourly == config.incidents.alerts_per_hour
    assert set(budget_of(config, 1, 1.0).lanes) == set(thresholds(config)) == set(LANES)


def judged(organisation: str = "", propensity: float = 1.0, scored_in: str = "pool") -> Judged:
    score = 1.05 * thresholds(DetectionConfig())["pool"]
    return Judged({}, "d", organisation, propensity, "pool", scored_in, score)


def test_one_organisations_labels_move_a_bar_no_further_than_a_few_would() -> None:
    config = DetectionConfig()
    bought = judgements([(judged("o"), "benign")] * 500, config)
    assert len(bought) == ORGANISATION_LABELS
    assert by_verdicts(bought) == (1.0, MOST_BAR)
    # What stands against him is not capped.
    against = judgements([(judged("o"), "true_positive")] * 500, config)
    assert len(against) == 500
    assert round(against[0].ratio, 6) == 1.05


def test_only_verdicts_on_alerts_above_the_threshold_count() -> None:
    config = DetectionConfig()
    below = judged(propensity=0.0005)
    assert (
        judgements([(below, "benign"), (judged(), "insufficient_data"), (judged(scored_in="probe"), "benign")], config)
        == []
    )
    assert len(judgements([(judged(propensity=HELD_SHARE), "benign")], config)) == 1


def test_a_drift_is_told_once_with_its_means_and_steady_scores_tell_none() -> None:
    steady = [1.0 + 0.2 * (place * 7919 % 100) / 100 for place in range(300)]
    watch = DriftWatch()
    assert watch.watch(standing(steady), 299) == []
    moved = [ratio + 0.6 for ratio in steady[:100]]
    (shift, *more) = watch.watch(standing([*steady, *moved]), 399)
    assert shift.lane == "pool"
    assert 300 <= shift.hop < 400
    assert shift.before < shift.after
    assert len(more) <= 2  # The window shrinks in a few steps.
    assert watch.watch(standing([*steady, *moved]), 399) == []


def test_a_hop_that_is_not_closed_is_not_watched_yet() -> None:
    ratios = [1.0] * 100 + [2.5] * 100
    whole, parts = DriftWatch(), DriftWatch()
    expected = whole.watch(standing(ratios), 199)
    found = [shift for hop in range(200) for shift in parts.watch(standing(ratios), hop)]
    assert found == expected != []
