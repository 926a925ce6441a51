"""``/v1``: blind second verdicts, disagreements, and how good verdicts and detectors are."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter

from services.adapters.postgres import alerts
from services.adapters.postgres.lifecycle import acts, quality, reviews
from services.adapters.postgres.lifecycle.standing import Judge
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.lifecycle import by
from services.api.lifecycle_models import BlindReview, QualityAnswer, ReviewAnswer, ReviewRequest
from services.api.models import Finding, Member, PageOf, RecordId
from services.api.problems import responses

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.adapters.postgres.lifecycle_tables import ReviewRow

router = APIRouter(prefix="/v1", tags=["quality"])
_GIVE = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@router.get("/reviews", responses=responses())
def list_reviews(context: Context, caller: Caller) -> PageOf[BlindReview]:
    """List alerts that wait for your second verdict, without score, severity or the first verdict."""
    with context.transaction() as session:
        rows = reviews.list_open(session, caller.tenant, caller.actor)
        return PageOf(items=[_blind(session, row) for row in rows])


@router.post("/reviews/{review_id}", responses=_GIVE)
def give_review(context: Context, caller: Caller, review_id: RecordId, body: ReviewRequest) -> ReviewAnswer:
    """Give a second verdict; the answer shows the first."""
    with context.transaction() as session:
        row = reviews.give(
            session,
            caller.tenant,
            review_id,
            verdict=body.verdict,
            reason=body.reason,
            actor=caller.actor,
            now=context.now(),
        )
        return ReviewAnswer.model_validate(row)


@router.get("/disagreements", responses=responses())
def list_disagreements(context: Context, caller: Caller) -> PageOf[ReviewAnswer]:
    """List reviews that differ from the first verdict and wait for a third person."""
    with context.transaction() as session:
        rows = reviews.list_disagreements(session, caller.tenant)
        return PageOf(items=[ReviewAnswer.model_validate(row) for row in rows])


@router.post("/disagreements/{review_id}", responses=_GIVE)
def settle(context: Context, caller: Caller, review_id: RecordId, body: ReviewRequest) -> ReviewAnswer:
    """Settle a disagreement by a verdict of your own, which stands."""
    with context.transaction() as session:
        row = reviews.find(session, caller.tenant, review_id)
        reviews.require_third(row, caller.actor)
        act = Judge(verdict=body.verdict, reason=body.reason)
        done = acts.perform(session, by(context, caller), row.alert_id, act)
        row.settled_label_id = done.label.label_id if done.label is not None else None
        return ReviewAnswer.model_validate(row)


@router.get("/quality", responses=responses())
def get_quality(context: Context, caller: Caller) -> QualityAnswer:
    """Measure standing verdicts: precision by detector, agreement of second verdicts, label latency."""
    with context.transaction() as session:
        return QualityAnswer.model_validate(quality.measure(session, caller.tenant))


def _blind(session: Session, row: ReviewRow) -> BlindReview:
    found = alerts.read_alert(session, row.tenant, row.alert_id)
    alert = found.alert
    told = ("feature", "actual", "expected")
    hidden = {"score": 0.0}
    return BlindReview.model_validate(
        {
            "review_id": row.review_id,
            "alert_id": alert.alert_id,
            "kind": alert.kind,
            "subject_kind": alert.subject_kind,
            "subject": alert.subject,
            "event_time": alert.event_time,
            "requests": alert.requests,
            "member_count": alert.member_count,
            "contributions": [{name: part[name] for name in told} for part in alert.payload["contributions"]],
            "findings": [Finding.model_validate(each).model_copy(update=hidden) for each in found.evidence],
            "members": [Member.model_validate(each).model_copy(update={"strength": 0.0}) for each in found.members],
        }
    )
