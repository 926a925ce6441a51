"""Decisions as people and the policy make them: proposals, approvals, revocations and the kill switch.

Everything here is an act in the open transaction, with its audit row. Nothing here signs: what is approved is issued by
``issuing``, in one place, in one order. Who may do what is the caller's rule, except that nobody approves a proposal of
their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from detection.ids import digest_hex
from detection.policy.decisions import TENANT
from services.adapters.postgres import audit
from services.adapters.postgres.decision_rows import (
    describe,
    digest_of,
    find_decision,
    keep,
    lock,
    person_row,
    standing_for,
)
from services.adapters.postgres.moments import to_unix_ms
from services.adapters.postgres.tables import DecisionRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from detection.policy.decisions import Proposal, SubjectKind
    from detection.policy.ladder import Action

POLICY: Final = "policy"
KILL_SWITCH: Final = "kill_switch"
ENTITLEMENT: Final = "entitlement"


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
    lock(session, tenant, proposal.subject)
    standing = standing_for(session, tenant, proposal.subject_kind, proposal.subject)
    digest = digest_of(proposal.action, proposal.members)
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
    return keep(session, row, now)


def propose_by_person(session: Session, tenant: str, wish: Wish, now: datetime) -> DecisionRow:
    """Keep a person's proposal; another person approves it."""
    lock(session, tenant, wish.subject)
    members = [[wish.subject, ""]] if wish.subject_kind == "account" else []
    row = person_row(
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
    return keep(session, row, now)


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
    lock(session, tenant, row.subject)
    session.refresh(row)
    if row.state == "approved":
        # Not issued yet: it never will be.
        row.state = "superseded"
    elif row.state != "issued" or row.expires_at is None or row.expires_at <= now:
        raise NotInForceError(f"decision {decision_id} is {row.state}")
    until = row.expires_at
    left = to_unix_ms(until) - to_unix_ms(now) if until is not None else row.lifetime_ms
    taken = person_row(
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
    return keep(session, taken, now, action="decision.revoked")


def set_kill_switch(
    session: Session, tenant: str, *, engaged: bool, actor: str, reason: str, now: datetime
) -> DecisionRow:
    """Stop every gateway of the tenant from restricting anybody, or let them restrict again. Never a dry run."""
    lock(session, tenant, TENANT)
    row = person_row(
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
    return keep(session, row, now)


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
    row = person_row(
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
    keep(session, row, now)


def _proposal(session: Session, tenant: str, decision_id: str) -> DecisionRow:
    row = find_decision(session, tenant, decision_id)
    lock(session, tenant, row.subject)
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
