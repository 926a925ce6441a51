"""What labels are worth, by leaving one world out: the labels come from the others, the figures from that one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from detection.ranking.lessons import ORGANISATION_LABELS, Lessons
from detection.ranking.priority import weight_of
from schemas.model_version import ModelVersion
from services.evaluation.teaching.labelling import Taught, Teacher, days_of, teach

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detection.outcomes import Alert
    from services.evaluation.plan import Tell
    from services.evaluation.teaching.playing import Played, Player

UNCAPPED: Final = 1_000_000


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One order of one world's alerts within the budget. Precision is of what was shown after the campaigns began.

    ``recall`` is of campaigns that any alert was raised for; ``found`` names them.
    """

    shown: int
    precision: float
    recall: float
    found: list[str]


class LabelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One trial: the world left out, the order of the others, what was taught, and the figures with it.

    ``by_severity`` is the console's queue: severity first. ``pushed_out`` counts campaigns that the scores alone show
    within the budget and this head does not, ``pulled_in`` the other way round.
    """

    seed: int
    draw: int
    labels: int
    wrong: float
    given: int
    given_wrong: int
    positives: int
    weight: float
    by_priority: Figures
    by_severity: Figures
    pushed_out: int
    pulled_in: int


class AdversaryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One world left out, one recipe whose organisation was called benign in every other world.

    Whether its campaign is shown within the budget: by the scores alone, by the head, by a head without the cap.
    """

    seed: int
    recipe: str
    benign_labels: int
    raised: bool
    shown_without: bool
    shown: bool
    shown_uncapped: bool


class SilencedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run played again with a bad head: revisions that are missing, milder, or changed in more than their place."""

    seed: int
    run: int
    teacher: str
    revisions: int
    missing: int
    milder: int
    changed: int


class LabelsResult(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement. ``tuned_on`` are the worlds that teach besides the others left out, and are never left out."""

    version: int = 1
    seeds: list[int]
    tuned_on: list[int]
    honest: int
    days: int
    lead_days: int
    budget: int
    draws: int
    pool_threshold: float
    account_threshold: float
    config_version: str
    references: str
    alerts_a_world: float
    guilty_a_world: float
    rows: list[LabelRow]
    adversaries: list[AdversaryRow]
    silenced: list[SilencedRow]


@dataclass(frozen=True, slots=True)
class Measurer:
    """Measures on platforms by seed; ``lead_days`` are those before the campaigns begin."""

    platforms: Mapping[int, Played]
    lead_days: int
    budget: int
    draws: int

    def rows(self, seed: int, labels: Sequence[int], wrong: Sequence[float]) -> Iterator[LabelRow]:
        """Give the trials of one world left out. Wrong verdicts are tried where there are labels."""
        without = self._figures(seed, Taught(Lessons()))
        for number in range(self.draws):
            for count in labels:
                for share in wrong if count else (0.0,):
                    taught = self._taught(seed, number, Teacher(labels=count, budget=self.budget, wrong=share))
                    figures = self._figures(seed, taught)
                    yield LabelRow(
                        seed=seed,
                        draw=number,
                        labels=count,
                        wrong=share,
                        given=taught.given,
                        given_wrong=taught.wrong,
                        positives=taught.lessons.positives,
                        weight=round(weight_of(taught.head), 4),
                        by_priority=figures,
                        by_severity=self._figures(seed, taught, by_severity=True),
                        pushed_out=len(set(without.found) - set(figures.found)),
                        pulled_in=len(set(figures.found) - set(without.found)),
                    )

    def adversaries(self, seed: int, labels: int) -> Iterator[AdversaryRow]:
        """Let each recipe's organisation be the adversary's in turn."""
        world = self.platforms[seed]
        without = set(self._figures(seed, Taught(Lessons())).found)
        raised = {one.campaign for one in world.revisions if one.campaign and one.alert.kind != "exploration"}
        for campaign, recipe in sorted(world.campaigns.items(), key=lambda row: row[1]):
            found = {}
            benign = 0
            for cap in (ORGANISATION_LABELS, UNCAPPED):
                teacher = Teacher(labels=labels, budget=self.budget, adversary=recipe, cap=cap)
                taught = self._taught(seed, 0, teacher)
                found[cap] = campaign in self._figures(seed, taught).found
                benign = taught.adversarial
            yield AdversaryRow(
                seed=seed,
                recipe=recipe,
                benign_labels=benign,
                raised=campaign in raised,
                shown_without=campaign in without,
                shown=found[ORGANISATION_LABELS],
                shown_uncapped=found[UNCAPPED],
            )

    def worst_head(self, seed: int, labels: int) -> ModelVersion:
        """Make the head of the worst teacher: every verdict the opposite of the truth, with its full weight."""
        taught = self._taught(seed, 0, Teacher(labels=labels, budget=self.budget, wrong=1.0, cap=UNCAPPED))
        return ModelVersion(
            model="supervised",
            version=taught.lessons.version,
            stage="live",
            trained_on=taught.lessons.trained_on,
            positives=taught.lessons.positives,
            created_at=taught.lessons.last_time,
            parameters=taught.lessons.parameters(),
        )

    def _taught(self, seed: int, number: int, teacher: Teacher) -> Taught:
        draw = random.Random(1000 * seed + number)  # noqa: S311 - a repeatable order, no secret
        others = [world for other, world in sorted(self.platforms.items()) if other != seed]
        draw.shuffle(others)
        return teach(teacher, others, draw)

    def _figures(self, seed: int, taught: Taught, *, by_severity: bool = False) -> Figures:
        world = self.platforms[seed]
        days = list(days_of(world, self.budget, taught, by_severity=by_severity))
        shown = [one for day in days for one in day.best]
        attacked = [one for day in days[self.lead_days :] for one in day.best]
        found = {one.campaign for one in shown if one.campaign}
        raised = {one.campaign for one in world.revisions if one.campaign and one.alert.kind != "exploration"}
        return Figures(
            shown=len(attacked),
            precision=round(sum(one.guilty for one in attacked) / max(len(attacked), 1), 4),
            recall=round(len(found) / max(len(raised), 1), 4),
            found=sorted(found),
        )


def silenced(player: Player, played: Played, head: ModelVersion, teacher: str, tell: Tell) -> SilencedRow:
    """Play a run again with a head and look for what it took away."""
    tell(f"seed {played.seed}, run {played.run + 1}: {teacher}")
    again = {(one.alert_id, one.revision): one for one in player.replay(played.seed, played.run, head)}
    before = [each.alert for each in played.revisions]
    known = [(one, again.get((one.alert_id, one.revision))) for one in before]
    return SilencedRow(
        seed=played.seed,
        run=played.run,
        teacher=teacher,
        revisions=len(before),
        missing=sum(other is None for _, other in known),
        milder=sum(other is not None and other.severity != one.severity for one, other in known),
        changed=sum(other is not None and _bare(other) != _bare(one) for one, other in known),
    )


def _bare(alert: Alert) -> Alert:
    return msgspec.structs.replace(alert, rank=0.0, priority=0.0, model="")
