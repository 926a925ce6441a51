"""Entitlements: licences to distil and allowlist entries. They always win over a detector.

The topic is compacted by subject, so a subject has one entitlement in force at a time. Taking one back publishes it
with its end at that moment: what it covered before stays covered, in a replay too.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from sqlalchemy import select, text

from schemas.entitlement import Entitlement
from schemas.headers import text_headers
from schemas.topics import ENTITLEMENTS
from services.adapters.postgres import audit, decisions, entitled, outbox
from services.adapters.postgres.cursors import Order, read_page
from services.adapters.postgres.moments import format_moment, to_unix_ms
from services.adapters.postgres.tables import EntitlementRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.adapters.postgres.cursors import Page
    from services.adapters.postgres.tables import Base

GRACE_MS: Final = 14 * 86_400_000  # A renewal that comes two weeks late ends nothing.
TERMS: Final = (
    "subject_kind",
    "subject",
    "kind",
    "valid_from",
    "valid_until",
    "reference",
    "owner",
    "models",
    "daily_requests",
    "daily_tokens",
    "total_requests",
    "total_tokens",
    "grace_ms",
)
_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('entitlement/' || :tenant || '/' || :subject, 0))")


class UnknownEntitlementError(StillwatchError):
    """There is no such entitlement."""

    hint = "`stillwatch entitlements list` shows those that there are."


class EntitledAlreadyError(StillwatchError):
    """The subject has an entitlement that has not ended."""

    hint = "Revoke that one first."


class PeriodError(StillwatchError):
    """The period ends before it begins, or has ended already."""

    hint = "Give an end in the future, after the beginning."


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An entitlement as it is asked for. ``subject`` is an organisation's or account's identifier, 16 hex digits."""

    subject_kind: Literal["account", "organization"]
    subject: str
    kind: Literal["licence", "allowlist"]
    valid_from: datetime
    valid_until: datetime
    reference: str
    actor: str
    owner: str = ""
    models: tuple[str, ...] | None = None
    daily_requests: int | None = None
    daily_tokens: int | None = None
    total_requests: int | None = None
    total_tokens: int | None = None
    grace_ms: int = GRACE_MS


def check_period(grant: Grant, now: datetime) -> None:
    """Raise PeriodError where the period is empty or has ended."""
    if not grant.valid_from < grant.valid_until or grant.valid_until <= now:
        raise PeriodError("the period is empty or has ended")


def columns_of(grant: Grant) -> dict[str, Any]:
    """Give a grant's terms as the columns of a row, of an entitlement or of a proposal."""
    terms = {name: getattr(grant, name) for name in TERMS}
    return terms | {"models": None if grant.models is None else list(grant.models)}


def add_entitlement(session: Session, tenant: str, grant: Grant, now: datetime) -> EntitlementRow:
    """Grant in the open transaction; raises EntitledAlreadyError or PeriodError."""
    check_period(grant, now)
    session.execute(_TURN, {"tenant": tenant, "subject": grant.subject})
    standing = session.scalars(
        select(EntitlementRow).where(
            EntitlementRow.tenant == tenant,
            EntitlementRow.subject == grant.subject,
            EntitlementRow.revoked_at.is_(None),
            EntitlementRow.valid_until > now,
        )
    ).first()
    if standing is not None:
        raise EntitledAlreadyError(f"{grant.subject} is entitled by {standing.entitlement_id} already")
    row = EntitlementRow(
        tenant=tenant,
        entitlement_id=uuid.uuid4().hex,
        **columns_of(grant)
        | {"valid_from": grant.valid_from.astimezone(UTC), "valid_until": grant.valid_until.astimezone(UTC)},
        created_at=now,
        created_by=grant.actor,
    )
    session.add(row)
    session.flush()
    _tell(session, row, action="entitlement.added", actor=grant.actor, now=now, before=None, until=row.valid_until)
    return row


def revoke_entitlement(
    session: Session, tenant: str, entitlement_id: str, *, actor: str, now: datetime
) -> EntitlementRow:
    """Take an entitlement back from now on; once is enough, again changes nothing. Raises UnknownEntitlementError."""
    found = session.get(EntitlementRow, (tenant, entitlement_id))
    if found is None:
        raise UnknownEntitlementError(f"there is no entitlement {entitlement_id}")
    session.execute(_TURN, {"tenant": tenant, "subject": found.subject})
    session.refresh(found)
    if found.revoked_at is not None or found.valid_until <= now:
        return found
    before = describe(found)
    found.revoked_at, found.revoked_by = now, actor
    session.flush()
    # An entitlement taken back before it began never held: its period becomes empty.
    until = max(now, found.valid_from)
    _tell(session, found, action="entitlement.revoked", actor=actor, now=now, before=before, until=until)
    return found


def find_entitlement(session: Session, tenant: str, entitlement_id: str) -> EntitlementRow:
    """Give one entitlement; raises UnknownEntitlementError."""
    row = session.get(EntitlementRow, (tenant, entitlement_id))
    if row is None:
        raise UnknownEntitlementError(f"there is no entitlement {entitlement_id}")
    return row


def list_entitlements(
    session: Session,
    tenant: str,
    *,
    subject: str | None = None,
    in_force_at: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[EntitlementRow]:
    """Give a page of entitlements, newest first; raises CursorError."""
    rows = select(EntitlementRow).where(EntitlementRow.tenant == tenant)
    if subject is not None:
        rows = rows.where(EntitlementRow.subject == subject)
    if in_force_at is not None:
        rows = rows.where(
            EntitlementRow.revoked_at.is_(None),
            EntitlementRow.valid_from <= in_force_at,
            EntitlementRow.valid_until > in_force_at,
        )
    order = Order(EntitlementRow, "created_at", "entitlement_id")
    return read_page(session, rows, order, limit=limit, cursor=cursor)


def describe_terms(row: Base) -> dict[str, Any]:
    """Give the terms of an entitlement or of a proposal as the audit keeps them."""
    period = {name: format_moment(getattr(row, name)) for name in ("valid_from", "valid_until")}
    return {name: getattr(row, name) for name in TERMS} | period


def describe(row: EntitlementRow) -> dict[str, Any]:
    """Give the row as the audit keeps it."""
    revoked_at = format_moment(row.revoked_at) if row.revoked_at is not None else None
    return describe_terms(row) | {"revoked_at": revoked_at}


def _tell(
    session: Session,
    row: EntitlementRow,
    *,
    action: str,
    actor: str,
    now: datetime,
    before: dict[str, Any] | None,
    until: datetime,
) -> None:
    """Write the act into the audit, and the entitlement as it stands into the outbox."""
    connection = session.connection()
    # Before the audit, whose lock is every writer's.
    entitled.refresh_subject(connection, row.tenant, row.subject, now)
    kind: Literal["account", "organization"] = "account" if row.subject_kind == "account" else "organization"
    decisions.allow_entitled(
        session,
        row.tenant,
        kind=kind,
        subject=row.subject,
        entitlement_id=row.entitlement_id,
        begin=row.valid_from,
        end=row.valid_until + timedelta(milliseconds=row.grace_ms),
        granted=row.revoked_at is None,
        actor=actor,
        now=now,
    )
    audit.append(
        connection,
        tenant=row.tenant,
        at=now,
        actor=actor,
        action=action,
        subject=f"entitlement/{row.entitlement_id}",
        before=before,
        after=describe(row),
    )
    record = Entitlement(
        entitlement_id=row.entitlement_id,
        subject_kind=kind,
        subject=row.subject,
        kind="licence" if row.kind == "licence" else "allowlist",
        valid_from_unix_ms=to_unix_ms(row.valid_from),
        valid_until_unix_ms=to_unix_ms(until),
        grace_ms=row.grace_ms if row.revoked_at is None else 0,
    )
    outbox.append(
        connection,
        tenant=row.tenant,
        topic=ENTITLEMENTS.name,
        key=row.subject,
        value=msgspec.json.encode(record),
        # The same entitlement is told twice in its life; its id as an event tells the two apart.
        headers=text_headers(record, "stillwatch/database", to_unix_ms(now)),
        at=now,
    )
