"""Decisions as people and the policy make them: proposals, approvals, revocations and the kill switch.

Everything here is an act in the open transaction, with its audit row. Nothing here signs: what is approved is issued by
``issuing``, in one place, in one order. Who may do what is the caller's rule, except that nobody approves a proposal of
their own.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from sqlalchemy import select, text, update

from detection.ids import digest_hex
from detection.policy.decisions import TENANT, InForce
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

    from detection.policy.decisions import Proposal, SubjectKind
    from detection.policy.ladder import Action
    from services.adapters.postgres.cursors import Page

State = Literal["proposed", "approved", "issued", "rejected", "superseded"]
POLICY: Final = "policy"
KILL_SWITCH: Final = "kill_switch"
ENTITLEMENT: Final = "entitlement"
_TURN: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('decision/' || :tenant || '/' || :subject, 0))")


class UnknownDecisionError(StillwatchError):
    """There is no such decision."""

    hint = "`stillwatch decisions list` shows those that there are."


class NotProposedError(StillwatchError):
    """The decision does not wait for an approval."""

    hint = "Look at its state; only a proposal can be approved or rejected."


class OwnProposalError(StillwatchError):
    """Nobody approves a proposal of their own."""

    hint = "Have another lead look at it."


class NotInForceError(StillwatchError):
    """The decision is not in force, so there is nothing to revoke."""

    hint = "Look at its state; a proposal is rejected, not revoked."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A decision as a person asks for it; ``subject`` is 16 hexadecimal digits."""

    subject_kind: Literal["account", "organization"]
    subject: str
    action: Action
    reason: str
    actor: str
    lifetime_ms: int
    evidence_id: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a proposal of the policy answers to: the alert's revision, and the label where a person has judged it."""

    revision: int
    label_id: str = ""
    judge: str = ""


def propose_by_policy(
    session: Session, tenant: str, proposal: Proposal, source: Source, now: datetime
) -> DecisionRow | None:
    """Keep a proposal of the policy, approved where it is automatic; None where it says nothing new.

    Its id is a function of what it answers to, so a redelivered alert or label adds nothing.
    """
    decision_id = digest_hex("decision", tenant, proposal.evidence_id, source.revision, source.label_id)
    _lock(session, tenant, proposal.subject)
    standing = _standing(session, tenant, proposal.subject_kind, proposal.subject)
    digest = _digest(proposal.action, proposal.members)
    if session.get(DecisionRow, (tenant, decision_id)) is not None:
        return None
    if any(row.digest == digest and (row.expires_at is None or row.expires_at > now) for row in standing):
        return None
    row = DecisionRow(
        tenant=tenant,
        decision_id=decision_id,
        subject_kind=proposal.subject_kind,
        subject=proposal.subject,
        members=[list(pair) for pair in proposal.members],
        action=proposal.action,
        reason_codes=list(proposal.reason_codes),
        evidence_id=proposal.evidence_id,
        digest=digest,
        state="approved" if proposal.automatic else "proposed",
        dry_run=False,
        lifetime_ms=proposal.lifetime_ms,
        proposed_at=now,
        proposed_by=source.judge or POLICY,
        reason="",
        decided_at=now if proposal.automatic else None,
        decided_by=POLICY if proposal.automatic else None,
        by_person=bool(source.judge),
    )
    return _keep(session, row, now)


def propose_by_person(session: Session, tenant: str, wish: Wish, now: datetime) -> DecisionRow:
    """Keep a person's proposal; another person approves it."""
    _lock(session, tenant, wish.subject)
    members = [[wish.subject, ""]] if wish.subject_kind == "account" else []
    row = _person_row(
        tenant,
        kind=wish.subject_kind,
        subject=wish.subject,
        members=members,
        action=wish.action,
        codes=["person.proposed"],
        evidence=wish.evidence_id,
        lifetime_ms=wish.lifetime_ms,
        reason=wish.reason,
        actor=wish.actor,
        now=now,
        state="proposed",
    )
    row.dry_run = wish.dry_run
    return _keep(session, row, now)


def approve(session: Session, tenant: str, decision_id: str, *, actor: str, now: datetime) -> DecisionRow:
    """Approve a proposal; raises UnknownDecisionError, NotProposedError or OwnProposalError."""
    row = _proposal(session, tenant, decision_id)
    if row.proposed_by == actor:
        raise OwnProposalError(f"{actor} has proposed {decision_id}")
    row.state, row.by_person = "approved", True
    return _decided(session, row, "decision.approved", actor, "", now)


def reject(session: Session, tenant: str, decision_id: str, *, actor: str, reason: str, now: datetime) -> DecisionRow:
    """Turn a proposal down; raises UnknownDecisionError or NotProposedError."""
    row = _proposal(session, tenant, decision_id)
    row.state = "rejected"
    return _decided(session, row, "decision.rejected", actor, reason, now)


def revoke(session: Session, tenant: str, decision_id: str, *, actor: str, reason: str, now: datetime) -> DecisionRow:
    """Take a decision back: its subject is only watched from now on, until the decision would have ended.

    Gives the decision that says so. Raises UnknownDecisionError or NotInForceError.
    """
    row = find_decision(session, tenant, decision_id)
    _lock(session, tenant, row.subject)
    session.refresh(row)
    if row.state == "approved":
        # Not issued yet: it never will be.
        row.state = "superseded"
    elif row.state != "issued" or row.expires_at is None or row.expires_at <= now:
        raise NotInForceError(f"decision {decision_id} is {row.state}")
    until = row.expires_at
    left = to_unix_ms(until) - to_unix_ms(now) if until is not None else row.lifetime_ms
    taken = _person_row(
        tenant,
        kind=row.subject_kind,
        subject=row.subject,
        members=row.members,
        action="observe",
        codes=["revoked"],
        evidence=row.evidence_id,
        lifetime_ms=left,
        reason=reason,
        actor=actor,
        now=now,
        state="approved",
    )
    return _keep(session, taken, now, action="decision.revoked")


def set_kill_switch(
    session: Session, tenant: str, *, engaged: bool, actor: str, reason: str, now: datetime
) -> DecisionRow:
    """Stop every gateway of the tenant from restricting anybody, or let them restrict again. Never a dry run."""
    _lock(session, tenant, TENANT)
    row = _person_row(
        tenant,
        kind=TENANT,
        subject=TENANT,
        members=[],
        action="allow" if engaged else "observe",
        codes=[KILL_SWITCH if engaged else f"{KILL_SWITCH}.released"],
        evidence="",
        lifetime_ms=3_650 * 86_400_000,  # A kill switch that lets go by itself would be a trap.
        reason=reason,
        actor=actor,
        now=now,
        state="approved",
    )
    return _keep(session, row, now)


def allow_entitled(
    session: Session,
    tenant: str,
    *,
    kind: SubjectKind,
    subject: str,
    entitlement_id: str,
    begin: datetime,
    end: datetime,
    granted: bool,
    actor: str,
    now: datetime,
) -> None:
    """Tell gateways that an entitlement holds until ``end``, or that it has been taken back."""
    row = _person_row(
        tenant,
        kind=kind,
        subject=subject,
        members=[],
        action="allow" if granted else "observe",
        codes=[ENTITLEMENT if granted else f"{ENTITLEMENT}.revoked"],
        evidence=entitlement_id,
        lifetime_ms=to_unix_ms(end) - to_unix_ms(max(begin, now)),
        reason="",
        actor=actor,
        now=now,
        state="approved",
    )
    row.effective_at = begin if granted else None
    row.by_person = granted  # Once it is taken back, the policy decides as if it had never been.
    _keep(session, row, now)


def in_force(session: Session, tenant: str, kind: str, subject: str, now: datetime) -> InForce | None:
    """Give what holds for a subject, issued or about to be."""
    for row in _standing(session, tenant, kind, subject):
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


def _proposal(session: Session, tenant: str, decision_id: str) -> DecisionRow:
    row = find_decision(session, tenant, decision_id)
    _lock(session, tenant, row.subject)
    session.refresh(row)
    if row.state != "proposed":
        raise NotProposedError(f"decision {decision_id} is {row.state}")
    return row


def _decided(session: Session, row: DecisionRow, act: str, actor: str, reason: str, now: datetime) -> DecisionRow:
    row.decided_at, row.decided_by = now, actor
    session.flush()
    after = describe(row) | ({"why": reason} if reason else {})
    audit.append(
        session.connection(),
        tenant=row.tenant,
        at=now,
        actor=actor,
        action=act,
        subject=f"decision/{row.decision_id}",
        before={"state": "proposed"},
        after=after,
    )
    return row


def _keep(session: Session, row: DecisionRow, now: datetime, action: str = "") -> DecisionRow:
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


def _person_row(
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
        digest=_digest(action, members),
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


def _standing(session: Session, tenant: str, kind: str, subject: str) -> Sequence[DecisionRow]:
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


def _digest(action: str, members: Sequence[Sequence[str]]) -> str:
    return hashlib.blake2b(msgspec.json.encode([action, [list(pair) for pair in members]]), digest_size=16).hexdigest()


def _lock(session: Session, tenant: str, subject: str) -> None:
    session.execute(_TURN, {"tenant": tenant, "subject": subject})
