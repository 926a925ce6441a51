"""Enforcement as people see it: what gateways are told about a subject, what is proposed, and the second person."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import HTMLResponse, Response

from services.adapters.postgres import decision_rows, decisions
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.models import Identifier, RecordId, Words
from services.console.flash import local, told
from services.console.pages.acting import go
from services.console.rendering import render
from services.console.viewer import viewer_of
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from services.api.context import ApiContext

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
ROWS: Final = 100


class Wanted(BaseModel):
    """What the form asks for."""

    model_config = ConfigDict(extra="ignore")

    subject_kind: Literal["account", "organization"]
    subject: Identifier
    action: Literal["allow", "observe", "throttle", "trim", "challenge", "block"]
    reason: Words
    days: int = Field(ge=1, le=30)
    alert: RecordId | None = None
    dry_run: bool = False


@router.get("/enforcement", response_model=None)
def show_enforcement(request: Request, context: Context) -> HTMLResponse:
    """Show what waits for a second person, and the newest decisions."""
    tenant = viewer_of(request).tenant
    with context.transaction() as session:
        waiting = decision_rows.list_decisions(session, tenant, state="proposed", limit=ROWS).rows
        newest = decision_rows.list_decisions(session, tenant, limit=ROWS).rows
    return render(request, "enforcement_page.html", waiting=waiting, newest=newest)


@router.post("/enforcement", response_model=None)
async def propose(request: Request, context: Context) -> Response:
    """Propose what gateways should do with a subject; it holds nothing until another person approves it."""
    form = await request.form()
    viewer = viewer_of(request)
    back = local(str(form.get("back", "")), "/enforcement")
    try:
        asked = Wanted.model_validate({name: value for name, value in form.items() if value != ""})
    except ValidationError:
        return go(told(back, refused="form"))
    wish = decisions.Wish(
        subject_kind=asked.subject_kind,
        subject=asked.subject,
        action=asked.action,
        reason=asked.reason,
        actor=viewer.name,
        lifetime_ms=int(timedelta(days=asked.days).total_seconds() * 1000),
        evidence_id=asked.alert or "",
        dry_run=asked.dry_run,
    )
    now = context.now()
    return _try(
        context, back, "proposed", lambda session: decisions.propose_by_person(session, viewer.tenant, wish, now)
    )


@router.post("/enforcement/{decision_id}/approve", response_model=None)
def approve(request: Request, context: Context, decision_id: RecordId) -> Response:
    """Approve what somebody else, or the policy, proposed."""
    viewer, now = viewer_of(request), context.now()
    return _try(
        context,
        "/enforcement",
        "approved",
        lambda session: decisions.approve(session, viewer.tenant, decision_id, actor=viewer.name, now=now),
    )


@router.post("/enforcement/{decision_id}/reject", response_model=None)
async def reject(request: Request, context: Context, decision_id: RecordId) -> Response:
    """Turn a proposal down, with a reason."""
    return await _with_reason(request, context, decision_id, "rejected", decisions.reject)


@router.post("/enforcement/{decision_id}/revoke", response_model=None)
async def revoke(request: Request, context: Context, decision_id: RecordId) -> Response:
    """Take a decision back: its subject is only watched from now on."""
    return await _with_reason(request, context, decision_id, "revoked", decisions.revoke)


async def _with_reason(
    request: Request, context: ApiContext, decision_id: str, done: str, act: Callable[..., Any]
) -> Response:
    form = await request.form()
    reason = str(form.get("reason", "")).strip()
    if not reason or "\0" in reason:
        return go(told("/enforcement", refused="form"))
    viewer, now = viewer_of(request), context.now()
    return _try(
        context,
        "/enforcement",
        done,
        lambda session: act(session, viewer.tenant, decision_id, actor=viewer.name, reason=reason, now=now),
    )


def _try(context: ApiContext, back: str, done: str, act: Callable[[Session], Any]) -> Response:
    try:
        with context.transaction() as session:
            act(session)
    except StillwatchError as error:
        return go(told(back, refused=type(error).__name__))
    return go(told(back, done=done))
