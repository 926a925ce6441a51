"""Quality: how good detectors and labels are; second verdicts given blind; disagreements for a third person."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from detection.features.wording import because
from services.adapters.postgres import alerts
from services.adapters.postgres.lifecycle import quality, reviews
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.models import RecordId, describe_alert
from services.console import evidence
from services.console.flash import told
from services.console.pages.acting import go
from services.console.rendering import render
from services.console.viewer import viewer_of
from services.console.wording import VERDICTS
from services.errors import StillwatchError

if TYPE_CHECKING:
    from services.adapters.postgres.alerts import AlertDetail as Found

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
PERIOD: Final = timedelta(days=30)
LONGEST_REASON: Final = 2000


@router.get("/quality", response_model=None)
def show_quality(request: Request, context: Context) -> HTMLResponse:
    """Show the figures, and how many reviews wait for this person."""
    viewer = viewer_of(request)
    since = context.now() - PERIOD
    with context.transaction() as session:
        measured = quality.measure(session, viewer.tenant, since)
        waiting = reviews.list_open(session, viewer.tenant, viewer.name)
        differing = reviews.list_disagreements(session, viewer.tenant)
    return render(
        request,
        "quality.html",
        measured=measured,
        waiting=len(waiting),
        differing=differing,
    )


@router.get("/quality/review", response_model=None)
def next_review(request: Request, context: Context) -> Response:
    """Open the oldest review that this person may give, without its verdict and its score."""
    viewer = viewer_of(request)
    with context.transaction() as session:
        waiting = reviews.list_open(session, viewer.tenant, viewer.name, limit=1)
        if not waiting:
            return go("/quality")
        found = alerts.read_alert(session, viewer.tenant, waiting[0].alert_id)
    return render(request, "review.html", review_id=waiting[0].review_id, **blind(found))


@router.post("/quality/review/{review_id}", response_model=None)
async def give_review(request: Request, context: Context, review_id: RecordId) -> Response:
    """Take a second verdict."""
    form = await request.form()
    viewer = viewer_of(request)
    verdict, reason = str(form.get("verdict", "")), str(form.get("reason", "")).strip()
    if verdict not in VERDICTS or not 0 < len(reason) <= LONGEST_REASON or "\0" in reason:
        return go(told("/quality", refused="form"))
    try:
        with context.transaction() as session:
            reviews.give(
                session,
                viewer.tenant,
                review_id,
                verdict=verdict,  # type: ignore[arg-type]  # a key of the closed table of verdicts
                reason=reason,
                actor=viewer.name,
                now=context.now(),
            )
    except StillwatchError as error:
        return go(told("/quality", refused=type(error).__name__))
    return go(told("/quality", done="reviewed"))


def blind(found: Found) -> dict[str, Any]:
    """Give what a second judge may see: evidence and accounts, and neither score, severity, verdict nor note."""
    alert = describe_alert(found)
    heaviest = sorted(alert.contributions, key=lambda row: -row.weight)
    return {
        "lane": alert.lane,
        "subject_kind": alert.subject_kind,
        "members": alert.member_count,
        "requests": alert.requests,
        "first": alert.event_time,
        "sentence": because([row.feature for row in heaviest if row.weight > 0][:3]),
        "bars": evidence.bars(alert.contributions),
        "families": evidence.families(alert.findings),
    }
