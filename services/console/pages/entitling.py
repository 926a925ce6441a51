"""Entitlements: who holds one, what is proposed, and the two people that each takes."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.responses import HTMLResponse, Response

from services.adapters.postgres import entitlements, metering, proposals
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.models import Identifier, RecordId, Volume, Words
from services.console.flash import told
from services.console.pages.acting import go
from services.console.rendering import render
from services.console.viewer import viewer_of
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from services.api.context import ApiContext

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
ROWS = 100


class Proposal(BaseModel):
    """What the form asks for; days are whole days in UTC, the last one included."""

    model_config = ConfigDict(extra="ignore")

    subject_kind: Literal["account", "organization"]
    subject: Identifier
    kind: Literal["licence", "allowlist"]
    first: datetime | None = None
    last: datetime
    reference: Words
    owner: Annotated[str, Field(max_length=256)] = ""
    models: tuple[Annotated[str, Field(max_length=128)], ...] | None = None
    daily_requests: Volume | None = None
    daily_tokens: Volume | None = None
    total_requests: Volume | None = None
    total_tokens: Volume | None = None
    alert: RecordId | None = None

    @field_validator("models", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Read names with commas or blanks between; none of them is every model."""
        return tuple(value.replace(",", " ").split()) or None if isinstance(value, str) else value


@router.get("/entitlements", response_model=None)
def show_entitlements(
    request: Request,
    context: Context,
    subject: Annotated[str, Query(max_length=16)] = "",
    subject_kind: Literal["account", "organization"] = "organization",
    alert: Annotated[str, Query(max_length=128)] = "",
) -> HTMLResponse:
    """Show what is in force, what is proposed, and the form, filled in where a page sent one here."""
    tenant = viewer_of(request).tenant
    with context.transaction() as session:
        waiting = proposals.pending(session, tenant, limit=ROWS).rows
        granted = entitlements.list_entitlements(session, tenant, limit=ROWS).rows
        used = metering.totals(session, tenant, context.now())
    return render(
        request,
        "entitlements.html",
        waiting=waiting,
        granted=granted,
        used=used,
        subject=subject,
        subject_kind=subject_kind,
        alert=alert,
    )


@router.post("/entitlements", response_model=None)
async def propose(request: Request, context: Context) -> Response:
    """Propose an entitlement; it holds nothing until another person approves it."""
    form = await request.form()
    viewer = viewer_of(request)
    now = context.now()
    try:
        asked = Proposal.model_validate({name: value for name, value in form.items() if value != ""})
    except ValidationError:
        return go(told("/entitlements", refused="form"))
    grant = entitlements.Grant(
        subject_kind=asked.subject_kind,
        subject=asked.subject,
        kind=asked.kind,
        valid_from=_day(asked.first, time.min) if asked.first is not None else now,
        valid_until=_day(asked.last, time.max),
        reference=asked.reference,
        actor=viewer.name,
        owner=asked.owner,
        models=asked.models,
        daily_requests=asked.daily_requests,
        daily_tokens=asked.daily_tokens,
        total_requests=asked.total_requests,
        total_tokens=asked.total_tokens,
    )
    return _try(context, "proposed", lambda session: proposals.propose(session, viewer.tenant, grant, asked.alert, now))


@router.post("/entitlements/proposals/{proposal_id}/approve", response_model=None)
def approve(request: Request, context: Context, proposal_id: RecordId) -> Response:
    """Grant what somebody else proposed."""
    viewer, now = viewer_of(request), context.now()
    return _try(
        context,
        "approved",
        lambda session: proposals.approve(session, viewer.tenant, proposal_id, actor=viewer.name, now=now),
    )


@router.post("/entitlements/proposals/{proposal_id}/reject", response_model=None)
def reject(request: Request, context: Context, proposal_id: RecordId) -> Response:
    """Turn a proposal down."""
    viewer, now = viewer_of(request), context.now()
    return _try(
        context,
        "rejected",
        lambda session: proposals.reject(session, viewer.tenant, proposal_id, actor=viewer.name, now=now),
    )


@router.post("/entitlements/{entitlement_id}/revoke", response_model=None)
def revoke(request: Request, context: Context, entitlement_id: RecordId) -> Response:
    """Take an entitlement back from now on."""
    viewer, now = viewer_of(request), context.now()
    return _try(
        context,
        "revoked",
        lambda session: entitlements.revoke_entitlement(
            session, viewer.tenant, entitlement_id, actor=viewer.name, now=now
        ),
    )


def _try(context: ApiContext, done: str, act: Callable[[Session], Any]) -> Response:
    try:
        with context.transaction() as session:
            act(session)
    except StillwatchError as error:
        return go(told("/entitlements", refused=type(error).__name__))
    return go(told("/entitlements", done=done))


def _day(moment: datetime, at: time) -> datetime:
    return datetime.combine(moment.date(), at, UTC)
