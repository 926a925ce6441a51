"""Where the bars should stand: what the alert budget and people's verdicts ask for, as a proposal with its reasons.

A pure function of what stands open and of the verdicts: the same of both give the same proposal. It says nothing of
what is in use; a person promotes it, or does not.

- **The budget** asks for the lowest bar that would have let through no more incidents an hour than people can look at:
  a quantile of the scores of the incidents of the last week.
- **Verdicts** are counted in bands above the threshold. The bar may rise over a band, the lowest first, once enough of
  its alerts were called benign and it is clear that few of the others would be confirmed. It stops below the first band
  of which it is clear that it holds more than few.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from detection.ranking.bars import HELD_SHARE, LANES, LEAST_BAR, MOST_BAR, thresholds, within
from detection.ranking.interval import wilson
from detection.ranking.lessons import CONFIRMED, JUDGED, ORGANISATION_LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from detection.config import DetectionConfig
    from detection.ranking.lessons import Judged

WINDOW_HOURS: Final = 168  # A week holds every weekday once; the incidents job forgets quiet incidents after as long.
LEAST_HOURS: Final = 24  # A shorter past is counted as a day: the first busy hour asks for nothing.
LEAST_REFUSED: Final = 20  # Verdicts "benign" or "false positive" in a band, before the bar may rise over it.
WANTED: Final = 0.2  # Share of alerts that people should confirm; the bands are judged by it.
STEPS: Final = 20  # Of a bar, from one multiple of the threshold to the next: finer ones would move every hour.
EDGES: Final = (LEAST_BAR, 1.05, 1.1, 1.15, 1.2, MOST_BAR)  # Of the bands.


class Standing(NamedTuple):
    """An incident as it stands, raised or not."""

    lane: str
    ratio: float  # Score over threshold, of the lane in which that is highest.
    free: bool  # No bar holds it, whatever its score.
    hop: int  # In which it was founded.
    alert_id: str

    def clears(self, bar: float) -> bool:
        """Say whether a bar lets it through."""
        return self.free or self.ratio >= bar


class Judgement(NamedTuple):
    """A standing verdict on an alert of a lane, with its score over the threshold."""

    lane: str
    ratio: float
    confirmed: bool


class Budget(NamedTuple):
    """New incidents an hour: in all, and of each lane."""

    hourly: float
    lanes: Mapping[str, float]


def budget_of(config: DetectionConfig, analysts: int, each: float) -> Budget:
    """Give the budget: the configured one, and no more than so many people can look at; 0 people set no limit."""
    configured = float(config.incidents.alerts_per_hour)
    lanes = {
        "pool": float(config.pools.alerts_per_hour),
        "account": float(config.accounts.alerts_per_hour),
        "link": float(config.links.alerts_per_hour),
    }
    return Budget(min(configured, analysts * each) if analysts else configured, lanes)


def judgements(standing: Iterable[tuple[Judged, str]], config: DetectionConfig) -> list[Judgement]:
    """Take the verdicts that say something of a bar: of alerts above the threshold, a few of each organisation.

    The threshold is the one that is configured now, whatever it was when the alert was scored.
    """
    limits = thresholds(config)
    counted: Counter[str] = Counter()
    found: list[Judgement] = []
    for judged, verdict in standing:
        # What was drawn from below the thresholds says nothing of what stands above them.
        if verdict not in JUDGED or judged.scored_in not in limits or judged.propensity < HELD_SHARE:
            continue
        confirmed = verdict == CONFIRMED
        if judged.organisation and not confirmed:
            counted[judged.organisation] += 1
            if counted[judged.organisation] > ORGANISATION_LABELS:
                continue
        found.append(Judgement(judged.lane, judged.score / limits[judged.scored_in], confirmed))
    return found


def by_budget(incidents: Iterable[Standing], allowed: float) -> float:
    """Give the lowest bar that at most ``allowed`` of the incidents clear, or the highest where none does that."""
    ordered = sorted((MOST_BAR if one.free else min(one.ratio, MOST_BAR) for one in incidents), reverse=True)
    many = math.floor(allowed)
    if len(ordered) <= many:
        return LEAST_BAR
    # The next step above the best one that has no place.
    return within((math.floor(round(ordered[many] * STEPS, 6)) + 1) / STEPS)


def by_verdicts(told: Sequence[Judgement]) -> tuple[float, float]:
    """Give the bar that one lane's verdicts ask for, and the one that they do not let it pass.

    The first is 1 without enough verdicts; the second is the highest there is while nothing was confirmed. One verdict
    more that is benign lowers neither, one that is confirmed raises neither.
    """
    asked, rising = LEAST_BAR, True
    for low, high in pairwise(EDGES):
        inside = [each.confirmed for each in told if low <= each.ratio < high]
        at_least, at_most = wilson(sum(inside), len(inside))
        if at_least > WANTED:
            return asked, low
        rising = rising and inside.count(False) >= LEAST_REFUSED and at_most < WANTED
        if rising:
            asked = high
    return asked, MOST_BAR


def propose(
    standing: Sequence[Standing], told: Sequence[Judgement], budget: Budget, closed_hop: int, hop_ms: int
) -> dict[str, float]:
    """Give the parameters of a version: each lane's bar and why it is there.

    ``bar.*`` are the bars, ``budget.*`` and ``verdicts.*`` what either asks for, ``most.*`` how far confirmed alerts
    let them rise; ``hourly.*`` are the incidents an hour at the threshold, ``raised.*`` those above the bar;
    ``judged.*`` and ``confirmed.*`` count the verdicts between threshold and the highest bar. ``budget`` and ``hours``
    are of all lanes.
    """
    per_hour = 3_600_000 / hop_ms
    first_hop = closed_hop - round(WINDOW_HOURS * per_hour)
    recent = [one for one in standing if first_hop < one.hop <= closed_hop]
    oldest = min((one.hop for one in recent), default=closed_hop)
    hours = min(max((closed_hop - oldest + 1) / per_hour, LEAST_HOURS), WINDOW_HOURS)
    whole = by_budget(recent, budget.hourly * hours)
    found = {"budget": round(budget.hourly, 4), "hours": round(hours, 4)}
    for lane in LANES:
        theirs = [one for one in recent if one.lane == lane]
        mine = [each for each in told if each.lane == lane and LEAST_BAR <= each.ratio < MOST_BAR]
        capacity = max(whole, by_budget(theirs, budget.lanes[lane] * hours))
        asked, most = by_verdicts(mine)
        bar = max(min(max(capacity, asked), most), LEAST_BAR)
        found |= {
            f"bar.{lane}": bar,
            f"budget.{lane}": capacity,
            f"verdicts.{lane}": asked,
            f"most.{lane}": most,
            f"hourly.{lane}": round(len(theirs) / hours, 4),
            f"raised.{lane}": round(sum(one.clears(bar) for one in theirs) / hours, 4),
            f"judged.{lane}": float(len(mine)),
            f"confirmed.{lane}": float(sum(each.confirmed for each in mine)),
        }
    return found
