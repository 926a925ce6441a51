"""What labels teach: by how they came about, and no more of one organisation than the cap lets through."""

from __future__ import annotations

import itertools

from detection.ranking.head import TrainedHead
from detection.ranking.lessons import ORGANISATION_LABELS, Judged, LabelGiven, Lessons

TIME = "2026-01-02T03:04:05.000Z"
HARVEST, CROWD = {"exchangeable": 4.0}, {"exchangeable": 0.5}
_ids = itertools.count()


def label(verdict: str) -> LabelGiven:
    number = next(_ids)
    return LabelGiven(f"label-{number}", f"alert-{number}", verdict, TIME)


def about(vector: dict[str, float], organisation: str, propensity: float = 1.0) -> Judged:
    return Judged(vector, "directional_tail", organisation, propensity)


def taught(*, silencing: int, cap: int = ORGANISATION_LABELS) -> TrainedHead:
    """Thirty of each kind from customers of their own, then one organisation that is called benign again and again."""
    lessons = Lessons(organisation_labels=cap)
    for number in range(30):
        lessons.add(label("true_positive"), about(HARVEST, f"harvest-{number}"))
        lessons.add(label("benign"), about(CROWD, f"crowd-{number}"))
    for _ in range(silencing):
        lessons.add(label("benign"), about(HARVEST, "adversary"))
    return TrainedHead("supervised/1", lessons.positives, lessons.parameters())


def test_one_organisation_called_benign_a_hundred_times_does_not_clear_who_acts_like_it() -> None:
    assert taught(silencing=100).probability(HARVEST) > 0.5
    assert taught(silencing=100).probability(HARVEST) == taught(silencing=ORGANISATION_LABELS).probability(HARVEST)
    # The cap is what holds it: without one the same labels do clear it.
    assert taught(silencing=100, cap=1000).probability(HARVEST) < 0.3


def test_labels_behind_the_cap_still_count_as_labels() -> None:
    lessons = Lessons()
    for _ in range(20):
        lessons.add(label("true_positive"), about(HARVEST, "one"))
    assert (lessons.version, lessons.trained_on, lessons.positives) == (20, 20, 20)


def test_a_random_draw_weighs_more_than_an_alert_but_within_a_bound() -> None:
    def after(propensity: float) -> float:
        lessons = Lessons()
        for number in range(20):
            lessons.add(label("true_positive" if number % 2 else "benign"), about({"a": number % 3}, f"c{number}"))
        lessons.add(label("benign"), about({"a": 9.0}, "drawn", propensity))
        return TrainedHead("supervised/1", 0, lessons.parameters()).probability({"a": 9.0})

    assert after(0.4) < after(1.0)
    assert after(0.0005) == after(0.2)


def test_a_changed_verdict_is_unlearned_with_its_part_of_the_cap() -> None:
    def run(*verdicts: str) -> dict[str, float]:
        lessons = Lessons(organisation_labels=1)
        lessons.add(LabelGiven("l0", "a0", "benign", TIME), about(CROWD, "other"))
        for place, verdict in enumerate(verdicts):
            lessons.add(LabelGiven(f"l{place + 1}", "a1", verdict, TIME), about(HARVEST, "one"))
        return lessons.parameters()

    assert run("benign", "withdrawn", "true_positive") == run("true_positive")
