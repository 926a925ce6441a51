"""Entitlements that one person asks for and another grants: nobody entitles a customer alone."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Index, select, text
from sqlalchemy.orm import Mapped, mapped_column

from services.adapters.postgres import audit, entitlements
from services.adapters.postgres.cursors import Order, read_page
from services.adapters.postgres.tables import Base
from services.errors import StillwatchError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.adapters.postgres.cursors import Page
    from services.adapters.postgres.tables import EntitlementRow


class ProposalRow(Base):
    """An entitlement as it was asked for. ``entitlement_id`` is what became of it, where a second person granted it."""

    __tablename__ = "entitlement_proposals"
    __table_args__ = (
        CheckConstraint("subject_kind IN ('account', 'organization')", name="subject_kind"),
        CheckConstraint("kind IN ('licence', 'allowlist')", name="kind"),
        CheckConstraint("valid_until > valid_from", name="period"),
        CheckConstraint("decision IS NULL OR decision IN ('approved', 'rejected')", name="decision"),
        CheckConstraint("decided_by IS NULL OR decided_by <> proposed_by OR decision = 'rejected'", name="two_people"),
        Index(None, "tenant", "proposed_at", "proposal_id"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    proposal_id: Mapped[str] = mapped_column(primary_key=True)
    subject_kind: Mapped[str]
    subject: Mapped[str]
    kind: Mapped[str]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime]
    reference: Mapped[str]
    owner: Mapped[str] = mapped_column(server_default=text("''"))
    models: Mapped[list[Any] | None]  # None: every model.
    daily_requests: Mapped[int | None]
    daily_tokens: Mapped[int | None]
    total_requests: Mapped[int | None]
    total_tokens: Mapped[int | None]
    grace_ms: Mapped[int] = mapped_column(server_default=text(str(entitlements.GRACE_MS)))
    alert_id: Mapped[str | None]  # Where it was asked for.
    proposed_by: Mapped[str]
    proposed_at: Mapped[datetime]
    decision: Mapped[str | None]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    entitlement_id: Mapped[str | None]


class UnknownProposalError(StillwatchError):
    """There is no such proposal, or it was decided already."""

    hint = "Look at the list again."


class SamePersonError(StillwatchError):
    """Who proposes an entitlement never grants it."""

    hint = "Ask another lead."


def propose(
    session: Session, tenant: str, grant: entitlements.Grant, alert_id: str | None, now: datetime
) -> ProposalRow:
    """Ask for an entitlement in the open transaction. Raises PeriodError."""
    entitlements.check_period(grant, now)
    row = ProposalRow(
        tenant=tenant,
        proposal_id=uuid.uuid4().hex,
        **entitlements.columns_of(grant),
        alert_id=alert_id,
        proposed_by=grant.actor,
        proposed_at=now,
    )
    session.add(row)
    session.flush()
    audit.append(
        session.connection(),
        tenant=tenant,
        at=now,
        actor=grant.actor,
        action="entitlement.proposed",
        subject=f"proposal/{row.proposal_id}",
        after=entitlements.describe_terms(row),
    )
    return row


def pending(session: Session, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[ProposalRow]:
    """Give a page of what waits for a second person, oldest first; raises CursorError."""
    rows = select(ProposalRow).where(ProposalRow.tenant == tenant, ProposalRow.decision.is_(None))
    order = Order(ProposalRow, "proposed_at", "proposal_id", ascending=True)
    return read_page(session, rows, order, limit=limit, cursor=cursor)


def approve(session: Session, tenant: str, proposal_id: str, *, actor: str, now: datetime) -> EntitlementRow:
    """Grant what another person proposed.

    Raises UnknownProposalError, SamePersonError, EntitledAlreadyError or PeriodError.
    """
    row = _open(session, tenant, proposal_id)
    if row.proposed_by == actor:
        raise SamePersonError("this is your own proposal")
    granted = entitlements.add_entitlement(session, tenant, _grant_of(row, actor), now)
    row.decision, row.decided_by, row.decided_at, row.entitlement_id = "approved", actor, now, granted.entitlement_id
    session.flush()
    _tell(session, row, "entitlement.approved", actor, now)
    return granted


def reject(session: Session, tenant: str, proposal_id: str, *, actor: str, now: datetime) -> ProposalRow:
    """Turn a proposal down, or take one's own back; raises UnknownProposalError."""
    row = _open(session, tenant, proposal_id)
    row.decision, row.decided_by, row.decided_at = "rejected", actor, now
    session.flush()
    _tell(session, row, "entitlement.rejected", actor, now)
    return row


def _grant_of(row: ProposalRow, actor: str) -> entitlements.Grant:
    terms = {name: getattr(row, name) for name in entitlements.TERMS}
    models = None if row.models is None else tuple(row.models)
    return entitlements.Grant(**terms | {"models": models}, actor=actor)


def _open(session: Session, tenant: str, proposal_id: str) -> ProposalRow:
    row = session.get(ProposalRow, (tenant, proposal_id), with_for_update=True)
    if row is None or row.decision is not None:
        raise UnknownProposalError(f"there is no open proposal {proposal_id}")
    return row


def _tell(session: Session, row: ProposalRow, action: str, actor: str, now: datetime) -> None:
    audit.append(
        session.connection(),
        tenant=row.tenant,
        at=now,
        actor=actor,
        action=action,
        subject=f"proposal/{row.proposal_id}",
        before={"proposed_by": row.proposed_by},
        after={"decision": row.decision, "entitlement_id": row.entitlement_id},
    )
