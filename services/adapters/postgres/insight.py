"""Figures about alerts for pictures: rates, ages, the top campaigns, what is alike, what an account has been in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import defer

from services.adapters.postgres.queue import TO_DO
from services.adapters.postgres.tables import AlertRevisionRow, AlertRow, LabelRow, MemberRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

_CANDIDATES: Final = 400  # Of the newest alerts, how many are looked at for likeness.
_ALIKE: Final = 0.6
_RATE: Final = text("""
    SELECT date_bin(:step, stored_at, TIMESTAMPTZ 'epoch') AS moment, severity, count(*) AS number
      FROM alerts WHERE tenant = :tenant AND stored_at >= :since GROUP BY 1, 2 ORDER BY 1
""")
_AGES: Final = text("""
    SELECT severity, width_bucket(extract(epoch FROM :now - event_time), ARRAY[3600, 14400, 86400, 259200]) AS age,
           count(*) AS number
      FROM alerts WHERE tenant = :tenant AND state IN ('open', 'claimed', 'reopened') GROUP BY 1, 2
""")
_LATENCY: Final = text("""
    SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM stored_at - updated_time))
      FROM alert_revisions WHERE tenant = :tenant AND stored_at >= :since AND event_time >= :oldest
""")
_PERIOD: Final = text("""
    SELECT member.customer AS organisation,
           count(DISTINCT alert.alert_id) FILTER (WHERE alert.event_time >= :middle) AS now_alerts,
           count(DISTINCT alert.alert_id) FILTER (WHERE alert.event_time < :middle) AS then_alerts,
           coalesce(sum(member.requests) FILTER (WHERE alert.event_time >= :middle), 0) AS now_requests,
           coalesce(sum(member.requests) FILTER (WHERE alert.event_time < :middle), 0) AS then_requests
      FROM alerts AS alert JOIN campaign_members AS member USING (tenant, alert_id)
     WHERE alert.tenant = :tenant AND alert.event_time >= :since
     GROUP BY 1 ORDER BY 2 DESC, 4 DESC, 1 LIMIT :limit
""")
_COMPANIONS: Final = text("""
    SELECT other.account, min(other.customer) AS customer, count(*) AS shared, max(other.strength) AS strength,
           sum(other.requests)::bigint AS requests
      FROM campaign_members AS mine JOIN campaign_members AS other USING (tenant, alert_id)
     WHERE mine.tenant = :tenant AND mine.account = :account AND other.account <> :account
     GROUP BY other.account ORDER BY shared DESC, strength DESC, other.account LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Alike:
    """An earlier alert, how alike its evidence is (cosine, 0..1), and the newest verdict on it, if any."""

    alert: AlertRow
    likeness: float
    verdict: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Membership:
    """One alert that names an account, and how."""

    alert: AlertRow
    customer: str
    strength: float
    requests: int
    since: datetime


def alert_rate(session: Session, tenant: str, *, since: datetime, step: timedelta) -> list[tuple[datetime, str, int]]:
    """Count stored alerts by step and severity."""
    rows = session.execute(_RATE, {"tenant": tenant, "since": since, "step": step})
    return [(row.moment, row.severity, row.number) for row in rows]


def queue_ages(session: Session, tenant: str, now: datetime) -> dict[tuple[str, int], int]:
    """Count what is to do by severity and age: 0 under an hour, then 4 hours, a day, three days, older."""
    rows = session.execute(_AGES, {"tenant": tenant, "now": now})
    return {(row.severity, row.age): row.number for row in rows}


def event_to_alert(session: Session, tenant: str, *, since: datetime) -> tuple[float, float] | None:
    """Give median and 95th percentile of seconds from a hop's end to the row here; None where nothing came."""
    # Partitions go by event time; a revision stored now may belong to an alert of a week ago.
    oldest = since - timedelta(days=40)
    found = session.scalar(_LATENCY, {"tenant": tenant, "since": since, "oldest": oldest})
    return None if found is None or found[0] is None else (float(found[0]), float(found[1]))


def top_campaigns(session: Session, tenant: str, *, limit: int) -> Sequence[AlertRow]:
    """Give the campaigns to do of highest priority."""
    rows = (
        select(AlertRow)
        .where(AlertRow.tenant == tenant, AlertRow.subject_kind == "campaign", AlertRow.state.in_(TO_DO))
        .options(defer(AlertRow.record, raiseload=True), defer(AlertRow.payload, raiseload=True))
        .order_by(AlertRow.priority.desc(), AlertRow.alert_id.desc())
        .limit(limit)
    )
    return session.scalars(rows).all()


def revisions(session: Session, tenant: str, alert: AlertRow) -> Sequence[AlertRevisionRow]:
    """Give every revision of an alert, oldest first."""
    rows = select(AlertRevisionRow).where(
        AlertRevisionRow.tenant == tenant,
        AlertRevisionRow.alert_id == alert.alert_id,
        AlertRevisionRow.event_time == alert.event_time,
    )
    return session.scalars(rows.order_by(AlertRevisionRow.revision)).all()


def alike(session: Session, tenant: str, alert: AlertRow, *, limit: int) -> list[Alike]:
    """Find alerts of the same lane whose evidence points the same way, those with a verdict first."""
    mine = _vector(alert.payload)
    newest = (
        select(AlertRow.alert_id, AlertRow.payload["contributions"].label("contributions"))
        .where(AlertRow.tenant == tenant, AlertRow.lane == alert.lane, AlertRow.alert_id != alert.alert_id)
        .order_by(AlertRow.event_time.desc(), AlertRow.alert_id.desc())
        .limit(_CANDIDATES)
    )
    scored = {row.alert_id: _cosine(mine, _vector({"contributions": row[1]})) for row in session.execute(newest)}
    near = {alert_id: likeness for alert_id, likeness in scored.items() if likeness >= _ALIKE}
    verdicts = newest_verdicts(session, tenant, list(near))
    chosen = sorted(near, key=lambda alert_id: (alert_id not in verdicts, -near[alert_id], alert_id))[:limit]
    rows = session.scalars(
        select(AlertRow)
        .where(AlertRow.tenant == tenant, AlertRow.alert_id.in_(chosen))
        .options(defer(AlertRow.record, raiseload=True), defer(AlertRow.payload, raiseload=True))
    )
    by_id = {row.alert_id: row for row in rows}
    return [
        Alike(
            by_id[alert_id],
            near[alert_id],
            verdicts[alert_id].verdict if alert_id in verdicts else None,
            verdicts[alert_id].reason if alert_id in verdicts else None,
        )
        for alert_id in chosen
        if alert_id in by_id
    ]


def newest_verdicts(session: Session, tenant: str, alert_ids: Sequence[str] | None) -> dict[str, LabelRow]:
    """Give the verdict that stands on each of these alerts, or on every one."""
    standing = (AlertRow.tenant == LabelRow.tenant) & (AlertRow.label_id == LabelRow.label_id)
    rows = select(LabelRow).join(AlertRow, standing).where(LabelRow.tenant == tenant)
    if alert_ids is not None:
        rows = rows.where(LabelRow.alert_id.in_(alert_ids))
    return {row.alert_id: row for row in session.scalars(rows)}


def memberships(session: Session, tenant: str, account: str, *, limit: int) -> list[Membership]:
    """Give the newest alerts that name an account, with the strength of the lead."""
    rows = (
        select(AlertRow, MemberRow)
        .join(MemberRow, (MemberRow.tenant == AlertRow.tenant) & (MemberRow.alert_id == AlertRow.alert_id))
        .where(AlertRow.tenant == tenant, MemberRow.account == account)
        .options(defer(AlertRow.record, raiseload=True), defer(AlertRow.payload, raiseload=True))
        .order_by(AlertRow.event_time.desc(), AlertRow.alert_id.desc())
        .limit(limit)
    )
    return [
        Membership(alert, row.customer, row.strength, row.requests, row.since) for alert, row in session.execute(rows)
    ]


def companions(session: Session, tenant: str, account: str, *, limit: int) -> Sequence[Any]:
    """Give the accounts that alerts name together with this one: account, customer, shared, strength, requests."""
    return session.execute(_COMPANIONS, {"tenant": tenant, "account": account, "limit": limit}).all()


def period_over_period(session: Session, tenant: str, *, now: datetime, period: timedelta, limit: int) -> Sequence[Any]:
    """Give the organisations with most alerts in this period, beside the one before."""
    values = {"tenant": tenant, "since": now - 2 * period, "middle": now - period, "limit": limit}
    return session.execute(_PERIOD, values).all()


def shared_members(session: Session, tenant: str, alert_id: str, *, limit: int) -> list[tuple[AlertRow, int]]:
    """Give other alerts that name some of the same accounts, and how many they share."""
    mine = select(MemberRow.account).where(MemberRow.tenant == tenant, MemberRow.alert_id == alert_id)
    shared = (
        select(MemberRow.alert_id, func.count().label("number"))
        .where(MemberRow.tenant == tenant, MemberRow.alert_id != alert_id, MemberRow.account.in_(mine))
        .group_by(MemberRow.alert_id)
        .order_by(func.count().desc(), MemberRow.alert_id)
        .limit(limit)
        .subquery()
    )
    rows = (
        select(AlertRow, shared.c.number)
        .join(shared, (AlertRow.alert_id == shared.c.alert_id) & (AlertRow.tenant == tenant))
        .options(defer(AlertRow.record, raiseload=True), defer(AlertRow.payload, raiseload=True))
        .order_by(shared.c.number.desc(), AlertRow.alert_id)
    )
    return [(row[0], row[1]) for row in session.execute(rows)]


def _vector(payload: Mapping[str, Any]) -> dict[str, float]:
    return {row["feature"]: float(row["weight"]) for row in payload["contributions"]}


def _cosine(mine: Mapping[str, float], other: Mapping[str, float]) -> float:
    length = math.hypot(*mine.values()) * math.hypot(*other.values())
    return sum(weight * other.get(name, 0.0) for name, weight in mine.items()) / length if length else 0.0
