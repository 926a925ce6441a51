"""``/v1``: labels. Every act is one transaction with its audit row and its record for Kafka."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import StringConstraints

from services.adapters.postgres import alerts, labelling
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.models import LabelAnswer, LabelRequest, PageOf, Paging, RecordId
from services.api.problems import responses
from services.api.reading import etag

router = APIRouter(prefix="/v1", tags=["acts"])
_ETAG = re.compile(r'"v(\d{1,18})"')
IfMatch = Annotated[
    str | None, Header(description="The alert's ETag as it was read: 412 where the alert has changed since.")
]
IdempotencyKey = Annotated[
    Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")] | None,
    Header(description="The same key and body again give the same label; another body under it is refused."),
]


def expected_versions(if_match: str | None) -> frozenset[int] | None:
    """Read an If-Match header; None takes any version. A tag that is not ours matches no version."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(int(number) for number in _ETAG.findall(if_match))


@router.post(
    "/labels",
    status_code=HTTPStatus.CREATED,
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED),
)
def post_label(
    context: Context,
    caller: Caller,
    body: LabelRequest,
    response: Response,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> LabelAnswer:
    """Record a verdict on an alert; it goes to the topic ``labels``."""
    wish = labelling.Wish(
        alert_id=body.alert_id,
        verdict=body.verdict,
        reason=body.reason,
        actor=caller.actor,
        expected_versions=expected_versions(if_match),
        idempotency_key=idempotency_key,
        oversees=caller.may("alerts.oversee"),
    )
    with context.transaction() as session:
        labelled = labelling.label_alert(session, caller.tenant, wish, context.now())
        answer = LabelAnswer.model_validate(labelled.label)
    response.headers["ETag"] = etag(labelled.version)
    response.headers["Location"] = f"/v1/labels/{answer.label_id}"
    if labelled.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return answer


@router.get("/labels", responses=responses())
def list_labels(context: Context, caller: Caller, query: Annotated[Paging, Query()]) -> PageOf[LabelAnswer]:
    """List labels, newest first."""
    with context.transaction() as session:
        page = alerts.list_labels(session, caller.tenant, limit=query.limit, cursor=query.cursor)
        return PageOf(items=[LabelAnswer.model_validate(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/labels/{label_id}", responses=responses(HTTPStatus.NOT_FOUND))
def get_label(context: Context, caller: Caller, label_id: RecordId) -> LabelAnswer:
    """Give one label."""
    with context.transaction() as session:
        return LabelAnswer.model_validate(labelling.find_label(session, caller.tenant, label_id))
