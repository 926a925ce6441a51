"""``/v1``: entitlements, which one person asks for and another grants; both in the audit, the grant on Kafka."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from services.adapters.postgres import entitlements, proposals
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.models import (
    EntitlementAnswer,
    EntitlementProposalAnswer,
    EntitlementQuery,
    EntitlementRequest,
    PageOf,
    Paging,
    RecordId,
)
from services.api.problems import responses

router = APIRouter(prefix="/v1", tags=["entitlements"])


@router.post("/entitlement-proposals", status_code=HTTPStatus.CREATED, responses=responses())
def propose_entitlement(context: Context, caller: Caller, body: EntitlementRequest) -> EntitlementProposalAnswer:
    """Ask for an entitlement. It holds nothing until another person approves it."""
    now = context.now()
    grant = entitlements.Grant(
        subject_kind=body.subject_kind,
        subject=body.subject,
        kind=body.kind,
        valid_from=body.valid_from or now,
        valid_until=body.valid_until,
        reference=body.reference,
        actor=caller.actor,
        owner=body.owner,
        models=None if body.models is None else tuple(body.models),
        daily_requests=body.daily_requests,
        daily_tokens=body.daily_tokens,
        total_requests=body.total_requests,
        total_tokens=body.total_tokens,
        grace_ms=body.grace_seconds * 1000,
    )
    with context.transaction() as session:
        return EntitlementProposalAnswer.model_validate(proposals.propose(session, caller.tenant, grant, None, now))


@router.get("/entitlement-proposals", responses=responses())
def list_entitlement_proposals(
    context: Context, caller: Caller, query: Annotated[Paging, Query()]
) -> PageOf[EntitlementProposalAnswer]:
    """List what waits for a second person, oldest first."""
    with context.transaction() as session:
        page = proposals.pending(session, caller.tenant, limit=query.limit, cursor=query.cursor)
        items = [EntitlementProposalAnswer.model_validate(row) for row in page.rows]
        return PageOf(items=items, next_cursor=page.next_cursor)


@router.post(
    "/entitlement-proposals/{proposal_id}/approve",
    status_code=HTTPStatus.CREATED,
    responses=responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def approve_entitlement(context: Context, caller: Caller, proposal_id: RecordId) -> EntitlementAnswer:
    """Grant what somebody else asked for; one's own is refused. It goes to the topic ``entitlements``."""
    with context.transaction() as session:
        row = proposals.approve(session, caller.tenant, proposal_id, actor=caller.actor, now=context.now())
        return EntitlementAnswer.model_validate(row)


@router.post("/entitlement-proposals/{proposal_id}/reject", responses=responses(HTTPStatus.NOT_FOUND))
def reject_entitlement(context: Context, caller: Caller, proposal_id: RecordId) -> EntitlementProposalAnswer:
    """Turn a proposal down, or take one's own back."""
    with context.transaction() as session:
        row = proposals.reject(session, caller.tenant, proposal_id, actor=caller.actor, now=context.now())
        return EntitlementProposalAnswer.model_validate(row)


@router.get("/entitlements", responses=responses())
def list_entitlements(
    context: Context, caller: Caller, query: Annotated[EntitlementQuery, Query()]
) -> PageOf[EntitlementAnswer]:
    """List entitlements, newest first."""
    with context.transaction() as session:
        page = entitlements.list_entitlements(
            session,
            caller.tenant,
            subject=query.subject,
            in_force_at=context.now() if query.in_force else None,
            limit=query.limit,
            cursor=query.cursor,
        )
        return PageOf(items=[EntitlementAnswer.model_validate(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/entitlements/{entitlement_id}/revoke", responses=responses(HTTPStatus.NOT_FOUND))
def revoke_entitlement(context: Context, caller: Caller, entitlement_id: RecordId) -> EntitlementAnswer:
    """Take an entitlement back from now on; again changes nothing."""
    with context.transaction() as session:
        row = entitlements.revoke_entitlement(
            session, caller.tenant, entitlement_id, actor=caller.actor, now=context.now()
        )
        return EntitlementAnswer.model_validate(row)
