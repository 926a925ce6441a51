"""Webhooks in the database: who is told, and the outbox of deliveries, each tried until it arrives or is given up."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from services.adapters.postgres import audit
from services.adapters.postgres.webhook_tables import DeliveryRow, WebhookRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

MAXIMUM_ATTEMPTS: Final = 12  # With the waits below, about ten hours.
OVERLAP: Final = timedelta(days=1)
_LEASE: Final = timedelta(seconds=60)  # A worker that dies with a delivery in hand gives it back after this.
_FIRST_WAIT: Final = 5.0
_LONGEST_WAIT: Final = 3600.0
_KEPT: Final = timedelta(days=7)


class UnknownWebhookError(StillwatchError):
    """There is no such webhook."""

    hint = "`stillwatch subscribe list` shows those that there are."


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to try now."""

    delivery_id: str
    webhook: WebhookRow
    body: bytes
    attempt: int


def add_webhook(
    session: Session,
    tenant: str,
    *,
    url: str,
    template: str,
    minimum_severity: str,
    routing_key: str,
    actor: str,
    now: datetime,
) -> WebhookRow:
    """Subscribe an address in the open transaction; the caller has checked it."""
    row = WebhookRow(
        tenant=tenant,
        webhook_id=uuid.uuid4().hex,
        url=url,
        template=template,
        minimum_severity=minimum_severity,
        routing_key=routing_key,
        generation=1,
        previous_until=None,
        active=True,
        created_at=now,
        created_by=actor,
    )
    session.add(row)
    session.flush()
    _note(session, row, "webhook.added", actor, now)
    return row


def find_webhook(session: Session, tenant: str, webhook_id: str) -> WebhookRow:
    """Give one webhook; raises UnknownWebhookError."""
    row = session.get(WebhookRow, (tenant, webhook_id))
    if row is None:
        raise UnknownWebhookError(f"there is no webhook {webhook_id}")
    return row


def list_webhooks(session: Session, tenant: str) -> Sequence[WebhookRow]:
    """Give all webhooks, the oldest first."""
    rows = select(WebhookRow).where(WebhookRow.tenant == tenant)
    return session.scalars(rows.order_by(WebhookRow.created_at, WebhookRow.webhook_id)).all()


def rotate(session: Session, tenant: str, webhook_id: str, *, actor: str, now: datetime) -> WebhookRow:
    """Begin a new secret; the one before signs too for a day. Raises UnknownWebhookError."""
    row = find_webhook(session, tenant, webhook_id)
    row.generation += 1
    row.previous_until = now + OVERLAP
    session.flush()
    _note(session, row, "webhook.rotated", actor, now)
    return row


def remove(session: Session, tenant: str, webhook_id: str, *, actor: str, now: datetime) -> None:
    """Unsubscribe; deliveries under way are dropped. Raises UnknownWebhookError."""
    row = find_webhook(session, tenant, webhook_id)
    _note(session, row, "webhook.removed", actor, now)
    session.delete(row)


def generations(row: WebhookRow, now: datetime) -> list[int]:
    """Give the secrets that sign now, the newest first."""
    both = row.previous_until is not None and now < row.previous_until
    return [row.generation, row.generation - 1] if both else [row.generation]


def enqueue(session: Session, row: WebhookRow, event_id: str, body: bytes, now: datetime) -> bool:
    """Put a body into the outbox; False where this event stands there for this webhook already."""
    added = session.execute(
        insert(DeliveryRow)
        .values(
            tenant=row.tenant,
            delivery_id=uuid.uuid4().hex,
            webhook_id=row.webhook_id,
            event_id=event_id,
            body=body,
            state="pending",
            attempts=0,
            due_at=now,
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=["tenant", "webhook_id", "event_id"])
        .returning(DeliveryRow.delivery_id)
    )
    return added.first() is not None


def take_due(session: Session, tenant: str, now: datetime) -> Due | None:
    """Lease the delivery that has waited longest; nobody else gets it for a minute."""
    row = session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.tenant == tenant, DeliveryRow.state == "pending", DeliveryRow.due_at <= now)
        .order_by(DeliveryRow.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    row.attempts += 1
    row.due_at = now + _LEASE
    session.flush()
    return Due(row.delivery_id, find_webhook(session, tenant, row.webhook_id), row.body, row.attempts)


def settle(
    session: Session,
    tenant: str,
    due: Due,
    *,
    outcome: str,
    delivered: bool,
    give_up: bool,
    jitter: float,
    now: datetime,
) -> str:
    """Note how a try ended; gives the delivery's state. ``outcome`` is a status or an error's class."""
    row = session.get(DeliveryRow, (tenant, due.delivery_id))
    if row is None:
        return "gone"
    row.last_outcome = outcome
    if delivered:
        row.state = "delivered"
    elif give_up or row.attempts >= MAXIMUM_ATTEMPTS:
        row.state = "failed"
    else:
        row.due_at = now + timedelta(seconds=wait_seconds(row.attempts, jitter))
    session.flush()
    return row.state


def wait_seconds(attempts: int, jitter: float) -> float:
    """Give the wait after so many tries: doubling from 5 s to an hour, half to one and a half times that."""
    return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (attempts - 1)) * (0.5 + jitter))


def count_pending(session: Session, tenant: str) -> int:
    """Count deliveries that have not arrived and are not given up."""
    rows = select(func.count()).where(DeliveryRow.tenant == tenant, DeliveryRow.state == "pending")
    return session.execute(rows).scalar_one()


def purge(session: Session, tenant: str, now: datetime) -> None:
    """Forget what was settled a week ago."""
    settled = (DeliveryRow.tenant == tenant, DeliveryRow.state != "pending", DeliveryRow.created_at < now - _KEPT)
    session.execute(delete(DeliveryRow).where(*settled))


def _note(session: Session, row: WebhookRow, action: str, actor: str, now: datetime) -> None:
    after: dict[str, Any] = {"template": row.template, "severity": row.minimum_severity, "generation": row.generation}
    audit.append(
        session.connection(),
        tenant=row.tenant,
        at=now,
        actor=actor,
        action=action,
        subject=f"webhook/{row.webhook_id}",
        after=after,
    )
