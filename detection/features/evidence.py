"""An alert's evidence as a feature vector: what the supervised head learns from and scores, without the head's own say.

Each feature's addend as scored, and what no label has touched: the score's size, how sure the incident is, how many it
names, which lane found it, and whether it asks instead of accusing. Scores of different lanes have different units, so
each lane's has a name of its own. Evidence tells addends that are not zero: a feature that it leaves out is a zero
here, for that a harvest lacks what crowds have is worth as much as what it has.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, get_args

from detection.features import accounts, pools
from detection.outcomes import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable

    from detection.outcomes import Alert, AlertKind, Evidence

_LANES: Final[tuple[Lane, ...]] = get_args(Lane)
_SCORED: Final = tuple(feature.name for feature in pools.CATALOGUE if feature.scored)
_NOTHING: Final = dict.fromkeys(
    (*accounts.NAMES, *_SCORED, *(f"score.{lane}" for lane in _LANES), *(f"lane.{lane}" for lane in _LANES)), 0.0
)


def evidence_vector(alert: Alert) -> dict[str, float]:
    """Give the vector of an alert; names in order."""
    customers = len({member.customer for member in alert.members})
    return vector_of(alert.contributions, alert.lane, alert.kind, alert.score, alert.confidence, customers)


def vector_of(
    contributions: Iterable[Evidence], lane: Lane, kind: AlertKind, score: float, confidence: float, customers: int
) -> dict[str, float]:
    """Give the vector of what will be an alert."""
    vector = _NOTHING | {each.feature: each.weight for each in contributions}
    vector |= {
        f"lane.{lane}": 1.0,
        f"score.{lane}": score,
        "asks": float(kind == "verification_request"),
        "confidence": confidence,
        "customers": math.log2(1 + customers),
    }
    return dict(sorted(vector.items()))
