"""The measurement of labels: its analyst, its platforms, its adversary, on a small world made by hand."""

from __future__ import annotations

import random

import msgspec

from detection.config import DetectionConfig
from detection.ids import rfc3339
from detection.outcomes import Alert, AlertKind, Evidence, Member
from detection.ranking.lessons import Lessons
from services.evaluation.teaching import page
from services.evaluation.teaching.labelling import Taught, Teacher, days_of, teach
from services.evaluation.teaching.measuring import LabelsResult, Measurer
from services.evaluation.teaching.playing import Played, Shown, permissive, platform

DAY_MS = 86_400_000
START = 1_900_000 * 900_000
DAYS = 4


def alert(name: str, day: int, rank: float, feature: float, kind: AlertKind = "alert", revision: int = 1) -> Alert:
    moment = rfc3339(START + day * DAY_MS + 3_600_000 * revision)
    member = Member(account=name, customer=f"c-{name}", requests=40, strength=0.8, since=moment)
    return Alert(
        alert_id=name,
        revision=revision,
        kind=kind,
        lane="account",
        subject_kind="account",
        subject=name,
        event_time=moment,
        updated_time=moment,
        score=3.0,
        severity="low",
        confidence=0.6,
        title="",
        requests=40,
        contributions=[Evidence(feature="yield", actual=0.0, expected=0.0, weight=feature)],
        members=[member],
        findings=[],
        config_version="test",
        rank=rank,
        propensity=0.02 if kind == "exploration" else 1.0,
    )


def world(seed: int, run: int = 0) -> Played:
    """Each day two harvests of middling scores and two crowds of slightly higher ones; their evidence differs."""
    shown = []
    for day in range(DAYS):
        for place in range(2):
            name = f"{seed}-{day}-{place}"
            shown.append(Shown(alert(f"guilty-{run}-{name}", day, 0.5, 4.0), guilty=True, campaign=f"h-{run}-{name}"))
            shown.append(Shown(alert(f"crowd-{name}", day, 0.6, 0.5), guilty=False))
        shown.append(Shown(alert(f"drawn-{seed}-{day}", day, 0.0, 0.1, kind="exploration"), guilty=False))
    campaigns = {each.campaign: "sharded" if "-0" in each.campaign[-2:] else "thin" for each in shown if each.campaign}
    return Played(seed, run, START, START + DAYS * DAY_MS, campaigns, shown)


WORLDS = {seed: world(seed) for seed in range(1, 9)}


def measurer() -> Measurer:
    return Measurer(WORLDS, lead_days=1, budget=3, draws=2)


def test_an_analyst_sees_the_best_that_are_not_judged_and_every_draw_once() -> None:
    days = list(days_of(WORLDS[1], 3, Taught(Lessons())))
    assert [(len(day.best), len(day.drawn)) for day in days] == [(3, 1)] * 4
    assert [one.alert.rank for one in days[0].best] == [0.6, 0.6, 0.5]
    seen = [one.alert.alert_id for day in days for one in (*day.best, *day.drawn)]
    assert len(seen) == len(set(seen))
    # What a day leaves is looked at on the next: two crowds of its own come first, then yesterday's.
    assert days[1].best[-1].alert.alert_id.startswith("guilty")


def test_a_platform_holds_the_crowd_once_and_every_runs_campaigns() -> None:
    whole = platform([world(1, 0), world(1, 1)])
    ids = [each.alert.alert_id for each in whole.revisions]
    assert len(ids) == len(set(ids)) == DAYS * (2 + 2 + 2 + 1)
    assert len(whole.campaigns) == 2 * DAYS * 2
    times = [each.alert.updated_time for each in whole.revisions]
    assert times == sorted(times)


def test_right_labels_lift_precision_and_opposite_ones_stay_within_the_bound() -> None:
    rows = list(measurer().rows(1, [0, 80], [0.0, 1.0]))
    by = {(row.labels, row.wrong): row for row in rows}
    none, right, opposite = by[0, 0.0], by[80, 0.0], by[80, 1.0]
    assert (none.weight, none.given, none.pulled_in, none.pushed_out) == (0.0, 0, 0, 0)
    assert right.weight >= 0.16
    assert right.by_priority.precision > none.by_priority.precision
    assert right.pulled_in > right.pushed_out
    assert (right.given_wrong, opposite.given_wrong) == (0, opposite.given)


def test_an_adversarys_verdicts_come_in_copies_and_the_cap_holds_them() -> None:
    teacher = Teacher(labels=80, budget=4, adversary="sharded", copies=10)
    taught = teach(teacher, [WORLDS[seed] for seed in (2, 3, 4, 5)], random.Random(1))  # noqa: S311 - a repeatable order
    assert taught.adversarial >= 30
    assert taught.lessons.positives > 0
    found = list(measurer().adversaries(1, 80))
    assert {row.recipe for row in found} == {"sharded", "thin"}
    assert all(row.raised for row in found)


def test_a_result_is_told_as_tables() -> None:
    told = measurer()
    rows = [row for seed in (1, 2) for row in told.rows(seed, [0, 30], [0.0, 0.3])]
    result = LabelsResult(
        seeds=[1, 2],
        tuned_on=[],
        honest=20,
        days=DAYS,
        lead_days=1,
        budget=2,
        draws=2,
        pool_threshold=1.0,
        account_threshold=0.7,
        config_version="test",
        references="test",
        alerts_a_world=16.0,
        guilty_a_world=8.0,
        rows=rows,
        adversaries=list(told.adversaries(1, 40)),
        silenced=[],
    )
    again = msgspec.json.decode(msgspec.json.encode(result), type=LabelsResult)
    assert [row[:2] for row in page.label_rows(again)] == [("0", "0%"), ("30", "0%"), ("30", "30%")]
    assert len(page.seed_rows(again)) == 4
    tried = [row for row in again.adversaries if row.benign_labels]
    assert page.adversary_rows(again)[0][1] == str(len(tried)) != "0"
    assert page.silenced_rows(again) == []


def test_the_permissive_configuration_lowers_thresholds_and_cuts_nothing() -> None:
    config = permissive(DetectionConfig())
    assert config.pools.threshold < DetectionConfig().pools.threshold
    assert config.incidents.alerts_per_hour >= 1000
