"""Second verdicts: a sample of the first ones is judged again by somebody else, who sees neither verdict nor score.

Which verdicts are drawn follows from the label's id, so nobody can tell or choose. Where two disagree, a third person,
a lead, settles it by a verdict of their own.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from services.adapters.postgres import audit
from services.adapters.postgres.lifecycle_tables import ReviewRow
from services.adapters.postgres.tables import AlertRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from schemas.label import Verdict
    from services.adapters.postgres.tables import LabelRow

SHARE: Final = 0.1


class UnknownReviewError(StillwatchError):
    """There is no such review."""


class NotForYouError(StillwatchError):
    """Who gave a verdict does not review it."""

    hint = "Leave it to somebody else."


class ReviewedAlreadyError(StillwatchError):
    """The review has its verdict."""


def drawn(label_id: str, share: float = SHARE) -> bool:
    """Tell whether a label is in the sample."""
    return int.from_bytes(hashlib.sha256(f"review/{label_id}".encode()).digest()[:8], "big") < share * 2**64


def maybe_ask(session: Session, label: LabelRow, now: datetime) -> None:
    """Ask for a second verdict where the label is in the sample."""
    if drawn(label.label_id):
        ask(session, label, now)


def ask(session: Session, label: LabelRow, now: datetime) -> ReviewRow:
    """Ask for a second verdict."""
    row = ReviewRow(
        tenant=label.tenant,
        review_id=uuid.uuid4().hex,
        alert_id=label.alert_id,
        label_id=label.label_id,
        first_actor=label.actor,
        first_verdict=label.verdict,
        created_at=now,
    )
    session.add(row)
    return row


def list_open(session: Session, tenant: str, actor: str, *, limit: int = 50) -> Sequence[ReviewRow]:
    """Give the reviews that this person may give, oldest first; verdicts that were taken back need none."""
    return session.scalars(
        select(ReviewRow)
        .join(AlertRow, (AlertRow.tenant == ReviewRow.tenant) & (AlertRow.label_id == ReviewRow.label_id))
        .where(ReviewRow.tenant == tenant, ReviewRow.reviewer.is_(None), ReviewRow.first_actor != actor)
        .order_by(ReviewRow.created_at, ReviewRow.review_id)
        .limit(limit)
    ).all()


def find(session: Session, tenant: str, review_id: str) -> ReviewRow:
    """Give one review, locked until the commit; raises UnknownReviewError."""
    row = session.get(ReviewRow, (tenant, review_id), with_for_update=True)
    if row is None:
        raise UnknownReviewError(f"there is no review {review_id}")
    return row


def give(
    session: Session, tenant: str, review_id: str, *, verdict: Verdict, reason: str, actor: str, now: datetime
) -> ReviewRow:
    """Give a second verdict; the first one stands until a disagreement is settled.

    Raises UnknownReviewError, NotForYouError or ReviewedAlreadyError.
    """
    row = find(session, tenant, review_id)
    if row.first_actor == actor:
        raise NotForYouError("this is your own verdict")
    if row.reviewer is not None:
        raise ReviewedAlreadyError("somebody was faster")
    row.reviewer, row.verdict, row.reason, row.reviewed_at = actor, verdict, reason, now
    session.flush()
    audit.append(
        session.connection(),
        tenant=tenant,
        at=now,
        actor=actor,
        action="review.given",
        subject=f"alert/{row.alert_id}",
        after={"review_id": review_id, "verdict": verdict, "reason": reason, "agrees": verdict == row.first_verdict},
    )
    return row


def list_disagreements(session: Session, tenant: str, *, limit: int = 50) -> Sequence[ReviewRow]:
    """Give the reviews that differ from the first verdict and are not settled, oldest first."""
    return session.scalars(
        select(ReviewRow)
        .where(
            ReviewRow.tenant == tenant,
            ReviewRow.verdict.is_not(None),
            ReviewRow.verdict != ReviewRow.first_verdict,
            ReviewRow.settled_label_id.is_(None),
        )
        .order_by(ReviewRow.reviewed_at, ReviewRow.review_id)
        .limit(limit)
    ).all()


def require_third(row: ReviewRow, actor: str) -> None:
    """Raise NotForYouError where this person is one of the two who disagree."""
    if actor in {row.first_actor, row.reviewer}:
        raise NotForYouError("you are one of the two who disagree")
