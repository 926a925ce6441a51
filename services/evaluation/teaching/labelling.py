"""An analyst with a budget: each day the best alerts that are not yet judged, and whatever was drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from detection.features.evidence import evidence_vector
from detection.ids import rfc3339
from detection.ranking.head import TrainedHead
from detection.ranking.lessons import ORGANISATION_LABELS, LabelGiven, Lessons, judged
from detection.ranking.priority import priority_of, severity_place
from services.simulator.world.actors import DAY_MS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from detection.outcomes import Alert
    from services.evaluation.teaching.playing import Played, Shown

ADVERSARY: Final = "adversary"
_EXPLORATION: Final = "exploration"


class Day(NamedTuple):
    """What one day showed: the best of the queue, best first, and the draws."""

    best: list[Shown]
    drawn: list[Shown]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """How labels come about. ``adversary`` names a recipe whose campaigns are one organisation's, called benign.

    That organisation makes every alert of its own come ``copies`` times. ``cap`` is the labels of one organisation that
    teach; ``wrong`` the share of verdicts that are the opposite of the truth.
    """

    labels: int
    budget: int
    wrong: float = 0.0
    adversary: str = ""
    copies: int = 10
    cap: int = ORGANISATION_LABELS


@dataclass(slots=True)
class Taught:
    """What has been learned so far, and the head of it."""

    lessons: Lessons
    head: TrainedHead | None = None
    given: int = 0
    wrong: int = 0
    adversarial: int = 0
    _stale: bool = field(default=True)

    def priority(self, alert: Alert) -> float:
        """Place an alert as the incidents step would with this head."""
        if self._stale:
            self.head = TrainedHead("supervised/0", self.lessons.positives, self.lessons.parameters())
            self._stale = False
        return priority_of(alert.rank, self.head, evidence_vector(alert))

    def judge(self, alert: Alert, *, confirmed: bool, organisation: str = "") -> None:
        """Take one verdict."""
        self.given += 1
        known = judged(alert)
        if organisation:
            known = known._replace(organisation=organisation)
        verdict = "true_positive" if confirmed else "benign"
        label = LabelGiven(f"label-{self.given}", f"alert-{self.given}", verdict, alert.updated_time)
        self.lessons.add(label, known)
        self._stale = True


def days_of(world: Played, budget: int, taught: Taught, *, by_severity: bool = False) -> Iterator[Day]:
    """Walk through a world day by day. What is learned between two days counts from the next on."""
    waiting: dict[str, Shown] = {}
    done: set[str] = set()
    coming = iter(world.revisions)
    pending = next(coming, None)
    for end_ms in range(world.start_ms + DAY_MS, world.end_ms + 1, DAY_MS):
        end = rfc3339(end_ms)
        while pending is not None and pending.alert.updated_time <= end:
            if pending.alert.alert_id not in done:
                waiting[pending.alert.alert_id] = pending
            pending = next(coming, None)
        drawn = [one for one in waiting.values() if one.alert.kind == _EXPLORATION]
        queue = [one for one in waiting.values() if one.alert.kind != _EXPLORATION]
        places = {
            one.alert.alert_id: (
                -severity_place(one.alert.severity) if by_severity else 0,
                -taught.priority(one.alert),
                one.alert.alert_id,
            )
            for one in queue
        }
        best = sorted(queue, key=lambda one: places[one.alert.alert_id])[:budget]
        for one in (*best, *drawn):
            done.add(one.alert.alert_id)
            del waiting[one.alert.alert_id]
        yield Day(best, drawn)


def teach(teacher: Teacher, worlds: Iterable[Played], draw: random.Random) -> Taught:
    """Let the analyst work through worlds, one after the other, until the labels are given."""
    taught = Taught(Lessons(organisation_labels=teacher.cap))
    for world in worlds if teacher.labels else ():
        for day in days_of(world, teacher.budget, taught):
            for one in (*day.best, *day.drawn):
                if taught.given >= teacher.labels:
                    return taught
                _judge(teacher, taught, one, world, draw)
    return taught


def _judge(teacher: Teacher, taught: Taught, one: Shown, world: Played, draw: random.Random) -> None:
    if teacher.adversary and world.campaigns.get(one.campaign) == teacher.adversary:
        for _ in range(teacher.copies):
            taught.judge(one.alert, confirmed=False, organisation=ADVERSARY)
        taught.adversarial += teacher.copies
        return
    wrong = draw.random() < teacher.wrong
    taught.wrong += wrong
    taught.judge(one.alert, confirmed=one.guilty != wrong)
