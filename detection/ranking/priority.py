"""Priority: the place of an alert among others, from its score's rank and, within a bound, from people's verdicts.

The head only orders. It suppresses nothing, lowers no severity, and never moves an alert by more than its weight, which
stays below one half: of two alerts whose ranks differ by ``w / (1 - w)`` and more, the higher one comes first whatever
the head says. So a head that an adversary taught cannot put the best evidence behind the worst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from detection.detectors.tail import certainty
from detection.outcomes import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detection.outcomes import Severity
    from detection.ranking.head import TrainedHead

LEAST_POSITIVES: Final = 20  # Below it nothing was learned that could be told from chance.
FULL_POSITIVES: Final = 50
MOST_WEIGHT: Final = 0.4
HISTORY: Final = 256  # Incidents that a score is ranked among.
_PRIOR: Final = 8.0  # Worth of ``certainty`` in incidents: it speaks while few are known.
_DIGITS: Final = 4


def severity_place(severity: Severity) -> int:
    """Give the place of a severity: 0 for the mildest."""
    return SEVERITIES.index(severity)


def weight_of(head: TrainedHead | None) -> float:
    """Give the head's share of a priority: 0 without one or with few positives, then growing to ``MOST_WEIGHT``."""
    if head is None or head.positives < LEAST_POSITIVES:
        return 0.0
    return MOST_WEIGHT * min(head.positives / FULL_POSITIVES, 1.0)


def rank_of(ratio: float, history: Sequence[float]) -> float:
    """Rank a score over its threshold among those of the last incidents, 0..1; equal ones count half.

    While few are known, ``certainty`` of the score stands in for those that are not.
    """
    below = sum((known < ratio) + (known == ratio) / 2 for known in history)
    assumed = _PRIOR * certainty(ratio, 1.0)
    return round((below + assumed) / (len(history) + _PRIOR), _DIGITS)


def priority_of(rank: float, head: TrainedHead | None, vector: Mapping[str, float]) -> float:
    """Blend the rank with the head's probability; 0..1."""
    weight = weight_of(head)
    if head is None or not weight:
        return rank
    return round((1.0 - weight) * rank + weight * head.probability(vector), _DIGITS)
