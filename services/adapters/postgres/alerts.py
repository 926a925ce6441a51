"""Reading alerts: lists by cursor, one with all that belongs to it, an account's, and the exact records for export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import defer

from services.adapters.postgres.cursors import Order, Page, read_page
from services.adapters.postgres.tables import AlertRow, EvidenceRow, LabelRow, MemberRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from detection.outcomes import AlertKind, Lane, Severity, SubjectKind

State = Literal["open", "claimed", "labelled", "snoozed", "closed", "reopened"]
_EXPORT_ROWS: Final = 200  # Fetched at a time: records may be megabytes.


class UnknownAlertError(StillwatchError):
    """There is no such alert."""

    hint = "`stillwatch alerts list` shows those that there are."


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """What a list holds; None asks for all.

    ``account`` asks for alerts that name it as subject or member, ``customer`` for those with a member of its.
    """

    state: State | None = None
    severity: Severity | None = None
    kind: AlertKind | None = None
    lane: Lane | None = None
    subject_kind: SubjectKind | None = None
    account: str | None = None
    customer: str | None = None
    detector: str | None = None
    family: str | None = None
    assignee: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertDetail:
    """One alert with its findings (by hop), labels (newest first) and strongest members."""

    alert: AlertRow
    evidence: Sequence[EvidenceRow]
    labels: Sequence[LabelRow]
    members: Sequence[MemberRow]


def list_alerts(
    session: Session, tenant: str, wanted: AlertFilter | None = None, *, limit: int = 50, cursor: str | None = None
) -> Page[AlertRow]:
    """Give a page of alerts, newest event first, without ``record`` and ``payload``; raises CursorError."""
    rows = select(AlertRow).where(AlertRow.tenant == tenant, *conditions(wanted or AlertFilter()))
    light = rows.options(defer(AlertRow.record, raiseload=True), defer(AlertRow.payload, raiseload=True))
    return read_page(session, light, Order(AlertRow, "event_time", "alert_id"), limit=limit, cursor=cursor)


def find_alert(session: Session, tenant: str, alert_id: str) -> AlertRow:
    """Give one alert; raises UnknownAlertError."""
    row = session.get(AlertRow, (tenant, alert_id))
    if row is None:
        raise UnknownAlertError(f"there is no alert {alert_id}")
    return row


def read_alert(session: Session, tenant: str, alert_id: str, *, members: int = 100) -> AlertDetail:
    """Give one alert with what belongs to it, at most ``members`` members; raises UnknownAlertError."""
    alert = find_alert(session, tenant, alert_id)
    evidence = session.scalars(
        select(EvidenceRow)
        .where(EvidenceRow.tenant == tenant, EvidenceRow.alert_id == alert_id)
        .where(EvidenceRow.event_time == alert.event_time)
        .order_by(EvidenceRow.hop, EvidenceRow.finding_id)
    ).all()
    strongest = list_members(session, tenant, alert_id, limit=members).rows
    return AlertDetail(alert, evidence, list_labels_of(session, tenant, [alert_id]), strongest)


def list_labels_of(session: Session, tenant: str, alert_ids: Sequence[str]) -> Sequence[LabelRow]:
    """Give the labels of these alerts, newest first."""
    labels = select(LabelRow).where(LabelRow.tenant == tenant, LabelRow.alert_id.in_(alert_ids))
    return session.scalars(labels.order_by(LabelRow.labelled_at.desc(), LabelRow.label_id.desc())).all()


def list_members(
    session: Session, tenant: str, alert_id: str, *, limit: int = 100, cursor: str | None = None
) -> Page[MemberRow]:
    """Give a page of an alert's accounts, strongest lead first; raises CursorError."""
    rows = select(MemberRow).where(MemberRow.tenant == tenant, MemberRow.alert_id == alert_id)
    return read_page(session, rows, Order(MemberRow, "strength", "account"), limit=limit, cursor=cursor)


def list_labels(session: Session, tenant: str, *, limit: int = 50, cursor: str | None = None) -> Page[LabelRow]:
    """Give a page of labels, newest first; raises CursorError."""
    rows = select(LabelRow).where(LabelRow.tenant == tenant)
    return read_page(session, rows, Order(LabelRow, "labelled_at", "label_id"), limit=limit, cursor=cursor)


def count_alerts(session: Session, tenant: str) -> dict[str, int]:
    """Count a tenant's alerts by state; states without alerts are left out."""
    counted = select(AlertRow.state, func.count()).where(AlertRow.tenant == tenant).group_by(AlertRow.state)
    return {row[0]: row[1] for row in session.execute(counted)}


def export_records(session: Session, tenant: str, wanted: AlertFilter | None = None) -> Iterator[bytes]:
    """Give the exact bytes of each alert's newest revision, by event time and id, oldest first."""
    statement = (
        select(AlertRow.record)
        .where(AlertRow.tenant == tenant, *conditions(wanted or AlertFilter()))
        .order_by(AlertRow.event_time, AlertRow.alert_id)
        .execution_options(yield_per=_EXPORT_ROWS)
    )
    for record in session.scalars(statement):
        yield bytes(record)


def conditions(wanted: AlertFilter) -> list[ColumnElement[bool]]:
    """Give the filter as conditions on the alert's row."""
    exact = {
        AlertRow.state: wanted.state,
        AlertRow.severity: wanted.severity,
        AlertRow.kind: wanted.kind,
        AlertRow.lane: wanted.lane,
        AlertRow.subject_kind: wanted.subject_kind,
        AlertRow.detector: wanted.detector,
        AlertRow.family: wanted.family,
        AlertRow.assignee: wanted.assignee,
    }
    found = [column == value for column, value in exact.items() if value is not None]
    if wanted.since is not None:
        found.append(AlertRow.event_time >= wanted.since)
    if wanted.until is not None:
        found.append(AlertRow.event_time < wanted.until)
    if wanted.tag is not None:
        found.append(AlertRow.tags.contains([wanted.tag]))
    if wanted.customer is not None:
        has_member = exists().where(
            MemberRow.tenant == AlertRow.tenant,
            MemberRow.alert_id == AlertRow.alert_id,
            MemberRow.customer == wanted.customer,
        )
        found.append(has_member)
    if wanted.account is not None:
        is_member = exists().where(
            MemberRow.tenant == AlertRow.tenant,
            MemberRow.alert_id == AlertRow.alert_id,
            MemberRow.account == wanted.account,
        )
        is_subject = and_(AlertRow.subject_kind == "account", AlertRow.subject == wanted.account)
        found.append(or_(is_subject, is_member))
    return found
