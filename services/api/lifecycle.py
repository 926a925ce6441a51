"""``/v1``: acts on alerts, their undoing, the next alert of the queue, and bulk acts."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Response

from services.adapters.postgres.alerts import AlertFilter
from services.adapters.postgres.lifecycle import acts, answered, bulk, claims, undo
from services.adapters.postgres.lifecycle.standing import Act  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.acting import IdempotencyKey, IfMatch, expected_versions
from services.api.context import Context  # noqa: TC001 - as above
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.known import KnownAlert  # noqa: TC001 - as above
from services.api.lifecycle_models import (
    ActAnswer,
    BulkAnswer,
    BulkRequest,
    DoneAnswer,
    HistoryAnswer,
    MatchRequest,
    NextAnswer,
    NextRequest,
    NoteAnswer,
    PreviewAnswer,
    SnoozeAnswer,
)
from services.api.models import AlertSummary, RecordId
from services.api.problems import responses
from services.api.reading import etag

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from services.api.context import ApiContext
    from services.identity.principal import Principal

router = APIRouter(prefix="/v1", tags=["life cycle"])
_ACT = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)


def by(context: ApiContext, caller: Principal) -> acts.By:
    """Say who acts, and when."""
    oversees = caller.may("alerts.oversee")
    return acts.By(tenant=caller.tenant, actor=caller.actor, now=context.now(), oversees=oversees)


def _digest(*parts: str | BaseModel) -> str:
    told = "\0".join(part if isinstance(part, str) else part.model_dump_json() for part in parts)
    return hashlib.sha256(told.encode()).hexdigest()


def _earlier(session: Session, who: acts.By, key: str | None, digest: str, response: Response) -> dict[str, Any] | None:
    """Give the answer that this request has had under its key."""
    found = answered.begin(session, who, key, digest) if key is not None else None
    if found is not None:
        response.headers["Idempotency-Replayed"] = "true"
    return found


@router.post("/alerts/{alert_id}/acts", responses=_ACT)
def post_act(
    context: Context,
    caller: Caller,
    alert_id: RecordId,
    act: Annotated[Act, Body()],
    response: Response,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> DoneAnswer:
    """Act on an alert: claim, release, assign, judge, snooze, wake, close, comment, tag or escalate."""
    who = by(context, caller)
    with context.transaction() as session:
        earlier = _earlier(session, who, idempotency_key, _digest("act", alert_id, act), response)
        if earlier is not None:
            return DoneAnswer.model_validate(earlier)
        done = acts.perform(session, who, alert_id, act, expected_versions=expected_versions(if_match))
        answer = DoneAnswer(
            act_id=done.act.act_id,
            label_id=done.label.label_id if done.label is not None else None,
            alert=AlertSummary.model_validate(done.alert),
        )
        if idempotency_key is not None:
            answered.finish(session, who, idempotency_key, answer.model_dump(mode="json"))
    response.headers["ETag"] = etag(answer.alert.version)
    return answer


@router.get("/alerts/{alert_id}/history", responses=responses(HTTPStatus.NOT_FOUND))
def get_history(context: Context, caller: Caller, alert_id: KnownAlert) -> HistoryAnswer:
    """Tell what people did with an alert: acts, notes, snoozes."""
    with context.transaction() as session:
        return HistoryAnswer(
            acts=[ActAnswer.model_validate(row) for row in acts.list_acts(session, caller.tenant, alert_id)],
            notes=[NoteAnswer.model_validate(row) for row in acts.list_notes(session, caller.tenant, alert_id)],
            snoozes=[SnoozeAnswer.model_validate(row) for row in acts.list_snoozes(session, caller.tenant, alert_id)],
        )


@router.post("/queue/next", responses=responses(HTTPStatus.CONFLICT))
def claim_next(context: Context, caller: Caller, body: NextRequest) -> NextAnswer:
    """Claim the most pressing alert that waits; nobody else gets it while the lease lasts."""
    with context.transaction() as session:
        done = claims.claim_next(session, by(context, caller), AlertFilter(**body.model_dump()))
        if done is None:
            return NextAnswer(alert=None, act_id=None)
        return NextAnswer(alert=AlertSummary.model_validate(done.alert), act_id=done.act.act_id)


@router.post("/acts/{act_id}/undo", responses=_ACT)
def post_undo(context: Context, caller: Caller, act_id: RecordId, response: Response) -> AlertSummary:
    """Undo an alert's last act; a verdict goes to the topic as withdrawn, or as the one that stood before it."""
    with context.transaction() as session:
        answer = AlertSummary.model_validate(undo.undo(session, by(context, caller), act_id))
    response.headers["ETag"] = etag(answer.version)
    return answer


@router.post("/bulk/preview", responses=responses())
def preview_bulk(context: Context, caller: Caller, body: MatchRequest) -> PreviewAnswer:
    """Count what a bulk act would touch."""
    with context.transaction() as session:
        found = bulk.preview(session, caller.tenant, AlertFilter(**body.model_dump()))
    return PreviewAnswer(count=found.count, alert_ids=found.alert_ids)


@router.post("/bulk", responses=responses(HTTPStatus.CONFLICT))
def post_bulk(
    context: Context, caller: Caller, body: BulkRequest, response: Response, idempotency_key: IdempotencyKey = None
) -> BulkAnswer:
    """Act on every alert that matches, each for itself; the answer tells which were not done, and why."""
    who = by(context, caller)
    with context.transaction() as session:
        earlier = _earlier(session, who, idempotency_key, _digest("bulk", body), response)
        if earlier is not None:
            return BulkAnswer.model_validate(bulk.find(session, caller.tenant, earlier["bulk_id"]))
        row, alert_ids = bulk.start(session, who, AlertFilter(**body.match.model_dump()), body.act, body.expected)
        if idempotency_key is not None:
            answered.finish(session, who, idempotency_key, {"bulk_id": row.bulk_id})
    return BulkAnswer.model_validate(bulk.run(context.engine, who, row.bulk_id, alert_ids, body.act))


@router.get("/bulk/{bulk_id}", responses=responses(HTTPStatus.NOT_FOUND))
def get_bulk(context: Context, caller: Caller, bulk_id: RecordId) -> BulkAnswer:
    """Tell how far a bulk act has come."""
    with context.transaction() as session:
        return BulkAnswer.model_validate(bulk.find(session, caller.tenant, bulk_id))


@router.post("/bulk/{bulk_id}/undo", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def undo_bulk(context: Context, caller: Caller, bulk_id: RecordId) -> BulkAnswer:
    """Undo a bulk act, alert by alert; what has moved on since stays, and is told."""
    return BulkAnswer.model_validate(bulk.take_back(context.engine, by(context, caller), bulk_id))
