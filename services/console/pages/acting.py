"""Acts from a page: each is a form's POST that ends in a redirect, so that all of it works without a script."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from pydantic import TypeAdapter
from starlette.responses import RedirectResponse, Response

from services.adapters.postgres.lifecycle import acts, claims, standing
from services.adapters.postgres.lifecycle import undo as undoing
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.known import KnownAlert  # noqa: TC001 - as above
from services.api.models import RecordId  # noqa: TC001 - as above
from services.console.flash import local, told
from services.console.viewer import viewer_of
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.adapters.postgres.lifecycle.acts import Done
    from services.api.context import ApiContext
    from services.console.viewer import Viewer

router = APIRouter(include_in_schema=False)
_ACT: Final[TypeAdapter[standing.Act]] = TypeAdapter(standing.Act)
LONGEST_HOURS: Final = 24 * 90


def go(path: str) -> RedirectResponse:
    """Send the browser on with a GET."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def act_of(form: Mapping[str, Any], now: datetime) -> standing.Act:
    """Read an act from a form; raises ValidationError."""
    kind = str(form.get("act", ""))
    fields: dict[str, Any] = {"act": kind}
    if kind == "judge":
        fields |= {"verdict": form.get("verdict"), "reason": form.get("reason")}
    elif kind == "snooze":
        hours = str(form.get("hours", ""))
        until = now + timedelta(hours=min(int(hours), LONGEST_HOURS)) if hours.isdecimal() else None
        fields |= {"until": until, "reason": form.get("reason")}
    elif kind in {"close", "escalate"}:
        fields |= {"reason": form.get("reason")}
    elif kind == "comment":
        fields |= {"text": form.get("text")}
    elif kind == "assign":
        fields |= {"assignee": form.get("assignee") or None}
    elif kind == "tag":
        fields |= {"tags": str(form.get("tags", "")).lower().replace(",", " ").split()}
    return _ACT.validate_python(fields)


@router.post("/alerts/{alert_id}/act")
async def act_on(request: Request, context: Context, alert_id: KnownAlert) -> Response:
    """Do one act on an alert as it was read; a lost race is told and writes nothing."""
    form = await request.form()
    viewer = viewer_of(request)
    page = f"/alerts/{alert_id}"
    now = context.now()
    version = str(form.get("version", ""))
    try:
        act = act_of(form, now)
        expected = frozenset({int(version)})
    except ValueError:
        return go(told(page, refused="form"))
    try:
        with context.transaction() as session:
            done = acts.perform(session, viewer.by(now), alert_id, act, expected_versions=expected)
    except StillwatchError as error:
        return go(told(page, refused=type(error).__name__))
    if form.get("then") == "next":
        following = claim(context, viewer)
        place = f"/alerts/{following.alert.alert_id}" if following is not None else "/queue"
        return go(told(place, done=act.act, act_id=done.act.act_id, flow="next"))
    return go(told(page, done=act.act, act_id=done.act.act_id))


@router.post("/queue/next")
async def next_alert(request: Request, context: Context) -> Response:
    """Claim the most pressing alert that waits, and open it."""
    done = claim(context, viewer_of(request))
    if done is None:
        return go(told("/queue", refused="none"))
    return go(told(f"/alerts/{done.alert.alert_id}", done="claim", act_id=done.act.act_id, flow="next"))


@router.post("/acts/{act_id}/undo")
async def undo(request: Request, context: Context, act_id: RecordId) -> Response:
    """Undo an act; the page of its alert tells what came of it."""
    form = await request.form()
    back = local(str(form.get("back", "")), "/queue")
    try:
        with context.transaction() as session:
            alert = undoing.undo(session, viewer_of(request).by(context.now()), act_id)
            alert_id = alert.alert_id
    except StillwatchError as error:
        return go(told(back, refused=type(error).__name__))
    return go(told(f"/alerts/{alert_id}", done="undone"))


def claim(context: ApiContext, viewer: Viewer) -> Done | None:
    """Claim the next alert for the viewer, in a transaction of its own."""
    with context.transaction() as session:
        return claims.claim_next(session, viewer.by(context.now()))
