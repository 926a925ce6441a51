"""How good the verdicts are, and the detectors by them: precision with its interval, agreement, latency."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from detection.ranking.interval import wilson
from services.adapters.postgres.lifecycle_tables import ReviewRow
from services.adapters.postgres.tables import AlertRow, LabelRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

JUDGED: Final = ("true_positive", "false_positive", "benign")


@dataclass(frozen=True, slots=True)
class Precision:
    """A detector's standing verdicts: how many, how many confirmed, and the share with its 95 % interval."""

    detector: str
    judged: int
    confirmed: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Quality:
    """``kappa`` and ``agreement`` are None without reviews, ``latency_*`` without labels; seconds."""

    precision: list[Precision]
    labels: int
    reviews: int
    agreement: float | None
    kappa: float | None
    latency_p50_seconds: float | None
    latency_p90_seconds: float | None


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Give Cohen's kappa of paired verdicts: agreement beyond chance; None where there is nothing to compare.

    Where both always say one and the same word, chance alone explains the agreement, and kappa is undefined: None.
    """
    if not pairs:
        return None
    count = len(pairs)
    first, second = Counter(left for left, _ in pairs), Counter(right for _, right in pairs)
    observed = sum(left == right for left, right in pairs) / count
    chance = sum(first[word] * second[word] for word in first) / (count * count)
    return None if math.isclose(chance, 1.0) else (observed - chance) / (1 - chance)


def measure(session: Session, tenant: str, since: datetime | None = None) -> Quality:
    """Measure a tenant's standing verdicts, those given from ``since`` on."""
    mine = [LabelRow.tenant == tenant]
    if since is not None:
        mine.append(LabelRow.labelled_at >= since)
    standing = (AlertRow.tenant == LabelRow.tenant) & (AlertRow.label_id == LabelRow.label_id)
    rows = session.execute(
        select(AlertRow.detector, LabelRow.verdict, func.count())
        .join(AlertRow, standing)
        .where(*mine, LabelRow.verdict.in_(JUDGED))
        .group_by(AlertRow.detector, LabelRow.verdict)
    ).all()
    judged: Counter[str] = Counter()
    confirmed: Counter[str] = Counter()
    for detector, verdict, count in rows:
        judged[detector] += count
        confirmed[detector] += count if verdict == "true_positive" else 0
    waited = func.extract("epoch", LabelRow.labelled_at - AlertRow.stored_at)
    halves = session.execute(
        select(
            func.count(),
            func.percentile_cont(0.5).within_group(waited),
            func.percentile_cont(0.9).within_group(waited),
        )
        .join(AlertRow, standing)
        .where(*mine)
    ).one()
    pairs = [
        (row.first_verdict, row.verdict)
        for row in session.execute(
            select(ReviewRow.first_verdict, ReviewRow.verdict).where(
                ReviewRow.tenant == tenant,
                ReviewRow.verdict.is_not(None),
                *([ReviewRow.reviewed_at >= since] if since is not None else []),
            )
        )
    ]
    return Quality(
        precision=[_precision(name, judged[name], confirmed[name]) for name in sorted(judged)],
        labels=halves[0],
        reviews=len(pairs),
        agreement=sum(left == right for left, right in pairs) / len(pairs) if pairs else None,
        kappa=kappa(pairs),
        latency_p50_seconds=_seconds(halves[1]),
        latency_p90_seconds=_seconds(halves[2]),
    )


def _precision(detector: str, judged: int, confirmed: int) -> Precision:
    low, high = wilson(confirmed, judged)
    return Precision(detector, judged, confirmed, confirmed / judged, low, high)


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
