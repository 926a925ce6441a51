"""Entitlements that one person asks for and another grants: nobody entitles a customer alone."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, Index, select
from sqlalchemy.orm import Mapped, mapped_column

from services.adapters.postgres import audit, entitlements
from services.adapters.postgres.tables import Base
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

SHOWN = 100


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


def propose(session: Session, tenant: str, grant: entitlements.Grant, alert_id: str | None, now: datetime) -> str:
    """Ask for an entitlement in the open transaction; gives the proposal's id. Raises PeriodError."""
    if not grant.valid_from < grant.valid_until or grant.valid_until <= now:
        raise entitlements.PeriodError("the period is empty or has ended")
    row = ProposalRow(
        tenant=tenant,
        proposal_id=uuid.uuid4().hex,
        subject_kind=grant.subject_kind,
        subject=grant.subject,
        kind=grant.kind,
        valid_from=grant.valid_from,
        valid_until=grant.valid_until,
        reference=grant.reference,
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
        after={"subject_kind": row.subject_kind, "subject": row.subject, "kind": row.kind, "reference": row.reference},
    )
    return row.proposal_id


def pending(session: Session, tenant: str) -> Sequence[ProposalRow]:
    """Give what waits for a second person, oldest first."""
    rows = select(ProposalRow).where(ProposalRow.tenant == tenant, ProposalRow.decision.is_(None))
    return session.scalars(rows.order_by(ProposalRow.proposed_at, ProposalRow.proposal_id).limit(SHOWN)).all()


def approve(session: Session, tenant: str, proposal_id: str, *, actor: str, now: datetime) -> str:
    """Grant what another person proposed; gives the entitlement's id.

    Raises UnknownProposalError, SamePersonError, EntitledAlreadyError or PeriodError.
    """
    row = _open(session, tenant, proposal_id)
    if row.proposed_by == actor:
        raise SamePersonError("this is your own proposal")
    grant = entitlements.Grant(
        subject_kind="account" if row.subject_kind == "account" else "organization",
        subject=row.subject,
        kind="licence" if row.kind == "licence" else "allowlist",
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        reference=row.reference,
        actor=actor,
    )
    granted = entitlements.add_entitlement(session, tenant, grant, now)
    row.decision, row.decided_by, row.decided_at, row.entitlement_id = "approved", actor, now, granted.entitlement_id
    session.flush()
    _tell(session, row, "entitlement.approved", actor, now)
    return granted.entitlement_id


def reject(session: Session, tenant: str, proposal_id: str, *, actor: str, now: datetime) -> None:
    """Turn a proposal down, or take one's own back; raises UnknownProposalError."""
    row = _open(session, tenant, proposal_id)
    row.decision, row.decided_by, row.decided_at = "rejected", actor, now
    session.flush()
    _tell(session, row, "entitlement.rejected", actor, now)


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
