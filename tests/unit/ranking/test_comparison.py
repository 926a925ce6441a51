"""Orders compared on judged alerts, before their verdicts were learned; the live head on what it has not learned."""

from __future__ import annotations

import msgspec

from detection.outcomes import Alert, Evidence, Member
from detection.ranking.comparison import Case, compare
from detection.ranking.head import TrainedHead
from detection.ranking.lessons import LabelGiven, Lessons, judged


def alert(number: int, *, guilty: bool, rank: float = 0.5) -> Alert:
    """A harvest is exchangeable, a crowd is not; the score's rank says nothing of it."""
    moment = f"2026-03-01T00:{number // 60:02d}:{number % 60:02d}.000Z"
    member = Member(account=f"{number:016x}", customer=f"{number:016x}", requests=9, strength=0.9, since=moment)
    return Alert(
        alert_id=f"a{number}",
        revision=1,
        kind="alert",
        lane="pool",
        subject_kind="campaign",
        subject="5" * 16,
        event_time=moment,
        updated_time=moment,
        score=3.0,
        severity="high",
        confidence=0.5,
        title="",
        requests=9,
        contributions=[Evidence(feature="icc", actual=0.0, expected=0.0, weight=3.0 if guilty else 0.5)],
        members=[member],
        findings=[],
        config_version="test",
        rank=rank,
    )


def case(number: int, *, stands: bool = True) -> Case:
    guilty = number % 2 == 1
    told = alert(number, guilty=guilty, rank=0.3 if guilty else 0.6)
    verdict = "true_positive" if guilty else "benign"
    return Case(LabelGiven(f"l{number}", told.alert_id, verdict, told.updated_time), told, stands)


def test_a_shadow_that_has_learned_enough_shows_more_true_ones_than_the_scores() -> None:
    overall = {order.name: order for order in compare([case(number) for number in range(400)], None, "").overall}
    score, shadow = overall["score"], overall["shadow"]
    assert (score.judged, score.shown, score.confirmed) == (400, 200, 0)
    assert shadow.shown == 200
    assert shadow.confirmed > 100


def test_nothing_is_ordered_by_a_head_that_knows_its_verdict() -> None:
    # With the whole log before it the head would know all; each case alone, it knows nothing.
    alone = [compare([case(number)], None, "").overall for number in range(5)]
    assert all(orders[0][1:] == orders[1][1:] for orders in alone)


def test_the_live_head_is_asked_about_later_verdicts_only() -> None:
    cases = [case(number) for number in range(300)]
    lessons = Lessons()
    for each in cases[:250]:
        lessons.add(each.label, judged(each.alert))
    live = TrainedHead("supervised/250", lessons.positives, lessons.parameters())
    since = {order.name: order for order in compare(cases, live, cases[249].label.labelled_at).since}
    assert {name: order.judged for name, order in since.items()} == dict.fromkeys(("score", "live", "shadow"), 50)
    assert since["live"].confirmed == 25
    assert since["score"].confirmed == 0


def test_an_alert_counts_once_by_the_verdict_that_stands() -> None:
    first = case(1, stands=False)
    second = Case(first.label._replace(label_id="later"), first.alert, stands=True)
    unsure = Case(first.label._replace(label_id="last", verdict="insufficient_data"), first.alert, stands=True)
    assert compare([first, second], None, "").overall[0].judged == 1
    assert compare([first, unsure], None, "").overall[0].judged == 0
    assert msgspec.json.encode(compare([], None, "").overall[0]) == b'["score",0,0,0]'
