"""Use of entitlements by day, counted once: sums and the topic's offsets are written in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from detection.policy.volumes import Volume, alert_of, notices
from schemas.alert import encode_alert
from schemas.headers import text_headers
from schemas.topics import ACCOUNT_WINDOWS, ALERTS
from services.adapters.postgres import outbox
from services.adapters.postgres.alert_store import save_progress
from services.adapters.postgres.moments import to_unix_ms
from services.adapters.postgres.tables import EntitlementNoticeRow, EntitlementRow, EntitlementUsageRow, SinkProgressRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.orm import Session

    from schemas.account_window import AccountWindow

SOURCE: Final = "stillwatch/metering"


@dataclass(frozen=True, slots=True)
class Used:
    """One day of one entitlement."""

    day: str
    requests: int
    output_tokens: int


def next_offsets(session: Session, tenant: str) -> dict[int, int]:
    """Give where counting goes on, by partition of ``account-windows``."""
    rows = session.execute(
        select(SinkProgressRow.partition, SinkProgressRow.next_offset).where(
            SinkProgressRow.tenant == tenant, SinkProgressRow.topic == ACCOUNT_WINDOWS.name
        )
    )
    return {row.partition: row.next_offset for row in rows}


def count(
    session: Session, tenant: str, windows: Iterable[AccountWindow], offsets: Mapping[int, int], now: datetime
) -> int:
    """Add windows to the days of the licences that cover them; give how many windows were somebody's."""
    licences = _licences(session, tenant)
    sums: dict[tuple[str, str], list[int]] = {}
    counted = 0
    for window in windows:
        row = licences.get(window.account) or licences.get(window.organization)
        moment = datetime.fromtimestamp((window.hop_end_unix_ms - 1) / 1000, UTC)
        if row is None or not row.valid_from <= moment < row.valid_until + timedelta(milliseconds=row.grace_ms):
            continue
        total = sums.setdefault((row.entitlement_id, f"{moment:%Y-%m-%d}"), [0, 0])
        total[0] += window.requests
        total[1] += window.output_tokens
        counted += 1
    for (entitlement_id, day), (requests, tokens) in sorted(sums.items()):
        added = insert(EntitlementUsageRow).values(
            tenant=tenant, entitlement_id=entitlement_id, day=day, requests=requests, output_tokens=tokens
        )
        session.execute(
            added.on_conflict_do_update(
                index_elements=["tenant", "entitlement_id", "day"],
                set_={
                    "requests": EntitlementUsageRow.requests + added.excluded.requests,
                    "output_tokens": EntitlementUsageRow.output_tokens + added.excluded.output_tokens,
                },
            )
        )
    save_progress(session.connection(), tenant, ACCOUNT_WINDOWS.name, offsets, now)
    return counted


def tell(session: Session, tenant: str, now: datetime, config_version: str) -> int:
    """Raise what is to be told of every licence, each notice once; give how many were new."""
    told = 0
    for row in _licences(session, tenant).values():
        volume = volume_of(session, row, now)
        if now >= row.valid_until + timedelta(milliseconds=row.grace_ms):
            continue
        for notice in notices(volume, to_unix_ms(now)):
            new = session.execute(
                insert(EntitlementNoticeRow)
                .values(tenant=tenant, entitlement_id=row.entitlement_id, name=notice.name, told_at=now)
                .on_conflict_do_nothing(index_elements=["tenant", "entitlement_id", "name"])
                .returning(EntitlementNoticeRow.name)
            )
            if new.first() is None:
                continue
            told += 1
            alert = alert_of(volume, notice, to_unix_ms(now), config_version)
            outbox.append(
                session.connection(),
                tenant=tenant,
                topic=ALERTS.name,
                key=alert.alert_id,
                value=encode_alert(alert),
                headers=text_headers(alert, SOURCE, to_unix_ms(now)),
                at=now,
            )
    return told


def volume_of(session: Session, row: EntitlementRow, now: datetime) -> Volume:
    """Give an entitlement's limits beside its use."""
    day = f"{now.astimezone(UTC):%Y-%m-%d}"
    sums = session.execute(
        select(
            func.coalesce(func.sum(EntitlementUsageRow.requests), 0),
            func.coalesce(func.sum(EntitlementUsageRow.output_tokens), 0),
        ).where(EntitlementUsageRow.tenant == row.tenant, EntitlementUsageRow.entitlement_id == row.entitlement_id)
    ).one()
    today = session.get(EntitlementUsageRow, (row.tenant, row.entitlement_id, day))
    return Volume(
        entitlement_id=row.entitlement_id,
        subject_kind="account" if row.subject_kind == "account" else "campaign",
        subject=row.subject,
        reference=row.reference,
        day=day,
        requests_today=today.requests if today is not None else 0,
        tokens_today=today.output_tokens if today is not None else 0,
        requests_total=int(sums[0]),
        tokens_total=int(sums[1]),
        daily_requests=row.daily_requests,
        daily_tokens=row.daily_tokens,
        total_requests=row.total_requests,
        total_tokens=row.total_tokens,
        ends_ms=to_unix_ms(row.valid_until),
        grace_ms=row.grace_ms,
    )


class Totals(NamedTuple):
    """What one entitlement was used for: requests and output tokens, today (UTC) and ever."""

    requests_today: int
    tokens_today: int
    requests: int
    tokens: int


def totals(session: Session, tenant: str, now: datetime) -> dict[str, Totals]:
    """Give the use of every entitlement that was used, by its id."""
    row = EntitlementUsageRow
    today = row.day == f"{now.astimezone(UTC):%Y-%m-%d}"
    sums = [func.sum(column) for column in (row.requests, row.output_tokens)]
    of_today = [func.coalesce(each.filter(today), 0) for each in sums]
    found = session.execute(
        select(row.entitlement_id, *of_today, *sums).where(row.tenant == tenant).group_by(row.entitlement_id)
    )
    return {name: Totals(*map(int, numbers)) for name, *numbers in found}


def usage_of(session: Session, tenant: str, entitlement_id: str, days: int = 31) -> Sequence[Used]:
    """Give the newest days of one entitlement on which it was used."""
    rows = session.scalars(
        select(EntitlementUsageRow)
        .where(EntitlementUsageRow.tenant == tenant, EntitlementUsageRow.entitlement_id == entitlement_id)
        .order_by(EntitlementUsageRow.day.desc())
        .limit(days)
    )
    return [Used(row.day, row.requests, row.output_tokens) for row in rows]


def _licences(session: Session, tenant: str) -> dict[str, EntitlementRow]:
    """Give the newest licence of each subject that was not revoked."""
    rows = session.scalars(
        select(EntitlementRow)
        .where(EntitlementRow.tenant == tenant, EntitlementRow.kind == "licence", EntitlementRow.revoked_at.is_(None))
        .order_by(EntitlementRow.valid_from)
    )
    return {row.subject: row for row in rows}
