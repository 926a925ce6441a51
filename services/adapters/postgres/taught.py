"""What labels have taught, from the database: the judged alerts in order, and the heads compared on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, select

from detection.ranking.comparison import Case, Order, compare
from detection.ranking.head import TrainedHead
from detection.ranking.interval import wilson
from detection.ranking.lessons import LabelGiven
from schemas.alert import decode_alert
from services.adapters.postgres.models import live_version
from services.adapters.postgres.moments import format_moment
from services.adapters.postgres.tables import AlertRevisionRow, AlertRow, LabelRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

NEWEST: Final = 500  # Labels that are compared on; what older ones taught, newer ones tell as well.


@dataclass(frozen=True, slots=True)
class Precision:
    """One order's precision: the confirmed share of what it showed, with its 95 % Wilson interval."""

    order: str
    judged: int
    shown: int
    confirmed: int
    share: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Compared:
    """``since_live`` is empty where no head is live, or nothing was judged since it was made."""

    labels: int
    overall: list[Precision]
    since_live: list[Precision]


def compare_heads(session: Session, tenant: str, model: str) -> Compared:
    """Compare the live head, the shadow as it was before each verdict, and the scores alone."""
    cases = _cases(session, tenant)
    live = live_version(session, tenant, model)
    found = compare(cases, None if live is None else TrainedHead.of(live), "" if live is None else live.created_at)
    since = found.since if any(order.judged for order in found.since) else []
    return Compared(len(cases), [_precision(order) for order in found.overall], [_precision(each) for each in since])


def _cases(session: Session, tenant: str) -> list[Case]:
    revision = and_(
        AlertRevisionRow.tenant == LabelRow.tenant,
        AlertRevisionRow.alert_id == LabelRow.alert_id,
        AlertRevisionRow.revision == LabelRow.alert_revision,
        AlertRevisionRow.event_time == AlertRow.event_time,  # Names the partition.
    )
    rows = session.execute(
        select(LabelRow, AlertRevisionRow.record, AlertRow.label_id)
        .join(AlertRow, and_(AlertRow.tenant == LabelRow.tenant, AlertRow.alert_id == LabelRow.alert_id))
        .join(AlertRevisionRow, revision)
        .where(LabelRow.tenant == tenant)
        .order_by(LabelRow.labelled_at.desc(), LabelRow.label_id.desc())
        .limit(NEWEST)
    ).all()
    return [
        Case(
            LabelGiven(label.label_id, label.alert_id, label.verdict, format_moment(label.labelled_at)),
            decode_alert(record),
            standing == label.label_id,
        )
        for label, record, standing in reversed(rows)
    ]


def _precision(order: Order) -> Precision:
    low, high = wilson(order.confirmed, order.shown)
    share = order.confirmed / order.shown if order.shown else None
    return Precision(order.name, order.judged, order.shown, order.confirmed, share, low, high)
