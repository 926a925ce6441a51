"""``/v1/decisions``: proposals, approvals, revocations, the kill switch, and the stream for gateways without Kafka."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from services.adapters.postgres import decision_rows, decisions, issuing
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.decision_models import (
    DecisionAnswer,
    DecisionQuery,
    DecisionRequest,
    KillSwitchRequest,
    ReasonedAct,
)
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.models import PageOf, RecordId
from services.api.problems import responses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from services.api.context import ApiContext

router = APIRouter(prefix="/v1", tags=["decisions"])
POLL_SECONDS: Final = 0.1
BEAT_SECONDS: Final = 10.0
# A stream ends by itself and the client comes back with its last id, so that no connection outlives a deployment.
STREAM_SECONDS: Final = 900.0
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID", pattern=r"^\d{1,18}$", description="The last id seen; nothing before it comes again."
    ),
]


@router.get("/decisions", responses=responses())
def list_decisions(
    context: Context, caller: Caller, query: Annotated[DecisionQuery, Query()]
) -> PageOf[DecisionAnswer]:
    """List decisions and proposals, newest first."""
    with context.transaction() as session:
        page = decision_rows.list_decisions(
            session,
            caller.tenant,
            state=query.state,
            subject=query.subject,
            limit=query.limit,
            cursor=query.cursor,
        )
        return PageOf(items=[DecisionAnswer.of(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/decisions/stream", response_class=StreamingResponse, responses=responses())
def stream_decisions(context: Context, caller: Caller, last_event_id: LastEventId = None) -> StreamingResponse:
    """Stream signed decisions as server-sent events: first those in force, then each as it is issued.

    ``id`` is the decision's sequence number, ``data`` its record as the topic has it. Without ``Last-Event-ID`` all
    that holds comes first; with it, what was issued since.
    """
    events = decision_events(context, caller.tenant, int(last_event_id or 0))
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/decisions/{decision_id}", responses=responses(HTTPStatus.NOT_FOUND))
def get_decision(context: Context, caller: Caller, decision_id: RecordId) -> DecisionAnswer:
    """Give one decision."""
    with context.transaction() as session:
        return DecisionAnswer.of(decision_rows.find_decision(session, caller.tenant, decision_id))


@router.post("/decisions", status_code=HTTPStatus.CREATED, responses=responses())
def post_decision(context: Context, caller: Caller, body: DecisionRequest) -> DecisionAnswer:
    """Propose a decision about an account or an organisation; a lead who is not its proposer approves it."""
    wish = decisions.Wish(
        subject_kind=body.subject_kind,
        subject=body.subject,
        action=body.action,
        reason=body.reason,
        actor=caller.actor,
        lifetime_ms=body.lifetime_seconds * 1000,
        dry_run=body.dry_run,
    )
    with context.transaction() as session:
        return DecisionAnswer.of(decisions.propose_by_person(session, caller.tenant, wish, context.now()))


@router.post("/decisions/kill-switch", status_code=HTTPStatus.CREATED, responses=responses())
def post_kill_switch(context: Context, caller: Caller, body: KillSwitchRequest) -> DecisionAnswer:
    """Stop every gateway from restricting anybody, or let them restrict again."""
    with context.transaction() as session:
        row = decisions.set_kill_switch(
            session,
            caller.tenant,
            engaged=body.engaged,
            actor=caller.actor,
            reason=body.reason,
            now=context.now(),
        )
        return DecisionAnswer.of(row)


@router.post(
    "/decisions/{decision_id}/approve",
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN),
)
def approve_decision(context: Context, caller: Caller, decision_id: RecordId) -> DecisionAnswer:
    """Approve a proposal: it is signed and sent within a second."""
    with context.transaction() as session:
        row = decisions.approve(session, caller.tenant, decision_id, actor=caller.actor, now=context.now())
        return DecisionAnswer.of(row)


@router.post("/decisions/{decision_id}/reject", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def reject_decision(context: Context, caller: Caller, decision_id: RecordId, body: ReasonedAct) -> DecisionAnswer:
    """Turn a proposal down."""
    with context.transaction() as session:
        row = decisions.reject(
            session, caller.tenant, decision_id, actor=caller.actor, reason=body.reason, now=context.now()
        )
        return DecisionAnswer.of(row)


@router.post("/decisions/{decision_id}/revoke", responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
def revoke_decision(context: Context, caller: Caller, decision_id: RecordId, body: ReasonedAct) -> DecisionAnswer:
    """Take a decision back; gives the decision that says so."""
    with context.transaction() as session:
        row = decisions.revoke(
            session, caller.tenant, decision_id, actor=caller.actor, reason=body.reason, now=context.now()
        )
        return DecisionAnswer.of(row)


async def decision_events(
    context: ApiContext, tenant: str, after: int, *, seconds: float = STREAM_SECONDS, poll_seconds: float = POLL_SECONDS
) -> AsyncIterator[bytes]:
    """Give events after a sequence number, each as it is issued, and a comment while nothing happens."""
    yield b"retry: 1000\n\n"
    begun = beat = context.clock.monotonic()
    caught_up = False
    while context.clock.monotonic() - begun < seconds:
        rows = await run_in_threadpool(_records, context, tenant, after)
        for after, record in rows:  # noqa: PLR1704 - the last one seen is where the next look begins
            yield b"id: %d\nevent: decision\ndata: %b\n\n" % (after, record)
        if rows:
            beat = context.clock.monotonic()
            continue
        if not caught_up:
            caught_up = True
            yield b"event: caught_up\ndata: {}\n\n"
        if context.clock.monotonic() - beat >= BEAT_SECONDS:
            beat = context.clock.monotonic()
            yield b": nothing new\n\n"
        await asyncio.sleep(poll_seconds)


def _records(context: ApiContext, tenant: str, after: int) -> Sequence[tuple[int, bytes]]:
    with context.transaction() as session:
        return issuing.records_after(session, tenant, after, context.now())
