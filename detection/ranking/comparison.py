"""Heads compared on the alerts that people have judged: each ordered before its own verdict was learned.

Judged alerts are taken in the order of their verdicts, in blocks of ten. Of each block every order shows its best half,
as an analyst with half the time would have seen it, and what counts is how many of those were confirmed. The shadow is
asked as it was at that moment; the live head only about verdicts that it had not learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from detection.ranking.head import TrainedHead
from detection.ranking.lessons import CONFIRMED, JUDGED, LabelGiven, Lessons, judged
from detection.ranking.priority import priority_of, severity_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.outcomes import Alert

BLOCK: Final = 10
SHOWN: Final = 5  # Of each block.


class Case(NamedTuple):
    """A label, and the revision of the alert that was judged. ``stands``: no later label of the alert replaced it."""

    label: LabelGiven
    alert: Alert
    stands: bool


class Order(NamedTuple):
    """One order of alerts: how many it showed, how many of those were confirmed, out of how many judged."""

    name: str  # "score", "live" or "shadow".
    judged: int
    shown: int
    confirmed: int


class Comparison(NamedTuple):
    """``overall`` is of all verdicts, for score and shadow; ``since`` of those after the live head, for all three."""

    overall: list[Order]
    since: list[Order]


class _Placed(NamedTuple):
    confirmed: bool
    at: str
    severity: int
    by: dict[str, float]


def compare(cases: Sequence[Case], live: TrainedHead | None, live_since: str) -> Comparison:
    """Compare; ``cases`` in the order of their labels, ``live_since`` (RFC 3339) is the live head's last label."""
    lessons = Lessons()
    shadow: TrainedHead | None = None
    placed: list[_Placed] = []
    for case in cases:
        alert = case.alert
        known = judged(alert)
        if case.stands and case.label.verdict in JUDGED:
            by = {
                "score": alert.rank,
                "live": priority_of(alert.rank, live, known.vector),
                "shadow": priority_of(alert.rank, shadow, known.vector),
            }
            confirmed = case.label.verdict == CONFIRMED
            placed.append(_Placed(confirmed, case.label.labelled_at, severity_place(alert.severity), by))
        lessons.add(case.label, known)
        shadow = TrainedHead("shadow", lessons.positives, lessons.parameters())
    later = [one for one in placed if live is not None and one.at > live_since]
    return Comparison(
        [_order(name, placed) for name in ("score", "shadow")],
        [_order(name, later) for name in ("score", "live", "shadow")] if live is not None else [],
    )


def _order(name: str, placed: Sequence[_Placed]) -> Order:
    def place(one: _Placed) -> tuple[int, float]:
        return one.severity, one.by[name]

    shown: list[_Placed] = []
    for start in range(0, len(placed), BLOCK):
        block = placed[start : start + BLOCK]
        best = sorted(block, key=place, reverse=True)
        shown += best[: -(-len(block) * SHOWN // BLOCK)]
    return Order(name, len(placed), len(shown), sum(one.confirmed for one in shown))
