"""Rows of decisions: made, kept, found and listed; what stands for a subject. The acts on them are in ``decisions``."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from sqlalchemy import select, text, update

from detection.policy.decisions import InForce
from detection.policy.ladder import RUNGS
from services.adapters.postgres import audit
from services.adapters.postgres.cursors import Order, read_page
from services.adapters.postgres.moments import to_unix_ms
from services.adapters.postgres.tables import DecisionRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from detection.policy.ladder import Action
    from services.adapters.postgres.cursors import Page

State = Literal["proposed", "approved", "issued", "rejected", "superseded"]
_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('decision/' || :tenant || '/' || :subject, 0))")


class UnknownDecisionError(StillwatchError):
    """There is no such decision."""

    hint = "`stillwatch decisions list` shows those that there are."


def in_force(session: Session, tenant: str, kind: str, subject: str, now: datetime) -> InForce | None:
    """Give what holds for a subject, issued or about to be."""
    for row in standing_for(session, tenant, kind, subject):
        if row.state != "proposed" and (row.expires_at is None or row.expires_at > now):
            since = row.standing_since or row.decided_at or row.proposed_at
            return InForce(action=as_action(row.action), since_ms=to_unix_ms(since), by_person=row.by_person)
    return None


def find_decision(session: Session, tenant: str, decision_id: str) -> DecisionRow:
    """Give one decision; raises UnknownDecisionError."""
    row = session.get(DecisionRow, (tenant, decision_id))
    if row is None:
        raise UnknownDecisionError(f"there is no decision {decision_id}")
    return row


def list_decisions(
    session: Session,
    tenant: str,
    *,
    state: State | None = None,
    subject: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[DecisionRow]:
    """Give a page of decisions, newest first; raises CursorError."""
    rows = select(DecisionRow).where(DecisionRow.tenant == tenant)
    if state is not None:
        rows = rows.where(DecisionRow.state == state)
    if subject is not None:
        rows = rows.where(DecisionRow.subject == subject)
    return read_page(session, rows, Order(DecisionRow, "proposed_at", "decision_id"), limit=limit, cursor=cursor)


def describe(row: DecisionRow) -> dict[str, Any]:
    """Give the row as the audit keeps it."""
    return {
        "subject_kind": row.subject_kind,
        "subject": row.subject,
        "members": len(row.members),
        "action": row.action,
        "state": row.state,
        "evidence_id": row.evidence_id,
        "reason": row.reason,
    }


def as_action(text_of_it: str) -> Action:
    """Give a rung by its name; raises KeyError where the ladder has none."""
    return {rung: rung for rung in RUNGS}[text_of_it]  # type: ignore[index]  # looked up, so it is one or an error


def keep(session: Session, row: DecisionRow, now: datetime, action: str = "") -> DecisionRow:
    """Add a row; what waited about the same subject is superseded by it."""
    waiting = ("proposed", "approved") if row.state == "approved" else ("proposed",)
    session.execute(
        update(DecisionRow)
        .where(
            DecisionRow.tenant == row.tenant,
            DecisionRow.subject_kind == row.subject_kind,
            DecisionRow.subject == row.subject,
            DecisionRow.state.in_(waiting),
        )
        .values(state="superseded")
    )
    session.add(row)
    session.flush()
    audit.append(
        session.connection(),
        tenant=row.tenant,
        at=now,
        actor=row.proposed_by,
        action=action or f"decision.{row.state}",
        subject=f"decision/{row.decision_id}",
        after=describe(row),
    )
    return row


def person_row(
    tenant: str,
    *,
    kind: str,
    subject: str,
    members: Sequence[Any],
    action: Action,
    codes: list[str],
    evidence: str,
    lifetime_ms: int,
    reason: str,
    actor: str,
    now: datetime,
    state: State,
) -> DecisionRow:
    """Make a row that a person answers for; approved ones are decided at once, by the same person."""
    approved = state == "approved"
    return DecisionRow(
        tenant=tenant,
        decision_id=uuid.uuid4().hex,
        subject_kind=kind,
        subject=subject,
        members=list(members),
        action=action,
        reason_codes=codes,
        evidence_id=evidence,
        digest=digest_of(action, members),
        state=state,
        dry_run=False,
        lifetime_ms=lifetime_ms,
        proposed_at=now,
        proposed_by=actor,
        reason=reason,
        decided_at=now if approved else None,
        decided_by=actor if approved else None,
        by_person=True,
    )


def standing_for(session: Session, tenant: str, kind: str, subject: str) -> Sequence[DecisionRow]:
    """Give what waits or holds for a subject, the newest first."""
    return session.scalars(
        select(DecisionRow)
        .where(
            DecisionRow.tenant == tenant,
            DecisionRow.subject_kind == kind,
            DecisionRow.subject == subject,
            DecisionRow.state.in_(("proposed", "approved", "issued")),
        )
        .order_by(DecisionRow.proposed_at.desc(), DecisionRow.decision_id)
    ).all()


def digest_of(action: str, members: Sequence[Sequence[str]]) -> str:
    """Give a fingerprint of what a decision says: the action and whom it names."""
    return hashlib.blake2b(msgspec.json.encode([action, [list(pair) for pair in members]]), digest_size=16).hexdigest()


def lock(session: Session, tenant: str, subject: str) -> None:
    """Take turns about a subject until the transaction's end."""
    session.execute(_TURN, {"tenant": tenant, "subject": subject})
