"""How bad and how sure: severity from score and size, confidence from score and independent evidence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from detection.detectors.tail import certainty

if TYPE_CHECKING:
    from detection.outcomes import Severity

# Impact is score / threshold x log2(1 + customers). Three hundred customers at twice the threshold are critical,
# fifty high, eight at one and a half times medium; a single account is low until it is four times over.
_LEVELS: Final[tuple[tuple[float, Severity], ...]] = ((16.0, "critical"), (8.0, "high"), (4.0, "medium"))
_COHORT_DISCOUNT: Final = 0.7
_SECOND_VIEW: Final = 0.25  # Share of the remaining doubt that each further kind of key removes.


def severity_of(score: float, threshold: float, customers: int) -> Severity:
    """Grade an incident."""
    impact = score / threshold * math.log2(1 + customers)
    return next((name for least, name in _LEVELS if impact >= least), "low")


def confidence_of(score: float, threshold: float, groups: int, *, cohort_only: bool) -> float:
    """Give how sure an incident is, 0..1: ``certainty`` of its score, surer with each further group of keys.

    ``cohort_only``: nothing but youth holds the customers together. Youth is context, not evidence.
    """
    doubt = (1.0 - certainty(score, threshold)) * math.pow(1.0 - _SECOND_VIEW, max(groups - 1, 0))
    return round((1.0 - doubt) * (_COHORT_DISCOUNT if cohort_only else 1.0), 4)
