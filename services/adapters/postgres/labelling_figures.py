"""How good the labels and the detectors are: precision with its interval, latency, agreement."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

_Z: Final = 1.959963984540054  # 95 %.
# The newest verdict of an alert stands; "insufficient data" says nothing of the detector.
_PRECISION: Final = text("""
    WITH standing AS (
        SELECT DISTINCT ON (alert_id) alert_id, verdict FROM labels
         WHERE tenant = :tenant AND labelled_at >= :since ORDER BY alert_id, labelled_at DESC, label_id DESC
    )
    SELECT alert.detector, alert.family, count(*) FILTER (WHERE verdict = 'true_positive') AS hits,
           count(*) FILTER (WHERE verdict <> 'insufficient_data') AS judged, count(*) AS labelled
      FROM standing JOIN alerts AS alert ON alert.tenant = :tenant AND alert.alert_id = standing.alert_id
     GROUP BY 1, 2 ORDER BY 5 DESC, 1, 2
""")
_LATENCY: Final = text("""
    SELECT percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY extract(epoch FROM first - stored_at)) FROM (
        SELECT alert.stored_at, min(label.labelled_at) AS first
          FROM labels AS label JOIN alerts AS alert USING (tenant, alert_id)
         WHERE label.tenant = :tenant AND label.labelled_at >= :since GROUP BY alert.alert_id, alert.stored_at
    ) AS each
""")
_REVIEWS: Final = text("""
    SELECT first_verdict, verdict, count(*) AS number FROM reviews
     WHERE tenant = :tenant AND verdict IS NOT NULL AND reviewed_at >= :since GROUP BY 1, 2
""")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two people agree who judged the same alerts apart. ``kappa`` (Cohen 1960) is None where chance is all."""

    reviewed: int
    agreed: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Precision:
    """Share of true positives among a detector's judged alerts, with the 95 % Wilson interval, all 0..1."""

    detector: str
    family: str
    hits: int
    judged: int
    labelled: int
    share: float
    low: float
    high: float


def wilson(hits: int, judged: int) -> tuple[float, float]:
    """Give the 95 % score interval of a share (Wilson 1927); the whole range where nothing was judged."""
    if judged == 0:
        return 0.0, 1.0
    share = hits / judged
    scale = 1 + _Z**2 / judged
    middle = (share + _Z**2 / (2 * judged)) / scale
    half = _Z * math.sqrt(share * (1 - share) / judged + _Z**2 / (4 * judged**2)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)


def precision_by_detector(session: Session, tenant: str, *, since: datetime) -> list[Precision]:
    """Give each detector's precision by the verdicts that stand."""
    rows = session.execute(_PRECISION, {"tenant": tenant, "since": since})
    return [
        Precision(
            row.detector,
            row.family,
            row.hits,
            row.judged,
            row.labelled,
            row.hits / row.judged if row.judged else 0.0,
            *wilson(row.hits, row.judged),
        )
        for row in rows
    ]


def label_latency(session: Session, tenant: str, *, since: datetime) -> tuple[float, float] | None:
    """Give median and 90th percentile of seconds from an alert to its first verdict; None where there is none."""
    found = session.scalar(_LATENCY, {"tenant": tenant, "since": since})
    return None if found is None or found[0] is None else (float(found[0]), float(found[1]))


def agreement(session: Session, tenant: str, *, since: datetime) -> Agreement:
    """Compare first and second verdicts."""
    rows = session.execute(_REVIEWS, {"tenant": tenant, "since": since})
    return cohen({(row.first_verdict, row.verdict): row.number for row in rows})


def cohen(pairs: Mapping[tuple[str, str], int]) -> Agreement:
    """Give agreement beyond chance from counts of (first verdict, second verdict)."""
    total = sum(pairs.values())
    agreed = sum(count for (first, second), count in pairs.items() if first == second)
    if not total:
        return Agreement(0, 0, None)
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    for (mine, theirs), count in pairs.items():
        first[mine] += count
        second[theirs] += count
    chance = sum(first[name] * second[name] for name in first) / total**2
    return Agreement(total, agreed, (agreed / total - chance) / (1 - chance) if chance < 1 else None)
