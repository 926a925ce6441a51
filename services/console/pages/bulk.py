"""Acts on many alerts: a preview with the count, a cap, a report of what was left alone, and one undo for all of it."""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import defer
from starlette.responses import HTMLResponse, Response

from services.adapters.postgres import queue
from services.adapters.postgres.lifecycle import bulk
from services.adapters.postgres.tables import AlertRow
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.models import RecordId  # noqa: TC001 - as above
from services.console.flash import told
from services.console.pages.acting import act_of, go
from services.console.pages.queue import QueueQuery
from services.console.rendering import render
from services.console.viewer import viewer_of

if TYPE_CHECKING:
    from starlette.datastructures import FormData

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
SAMPLE: Final = 12


@router.post("/queue/bulk", response_model=None)
async def preview(request: Request, context: Context) -> Response:
    """Show what an act would touch: what was picked, or all that the view matches, up to the cap."""
    form = await request.form()
    viewer = viewer_of(request)
    view = view_of(form)
    wanted = query_of(view).wanted()
    with context.transaction() as session:
        matching = queue.count_matching(session, viewer.tenant, wanted)
        if form.get("scope") == "matching":
            ids = queue.matching_ids(session, viewer.tenant, wanted, limit=bulk.CAP)
        else:
            ids = picked_of(form)
            matching = len(ids)
        sample = session.scalars(
            select(AlertRow)
            .where(AlertRow.tenant == viewer.tenant, AlertRow.alert_id.in_(ids[:SAMPLE]))
            .options(defer(AlertRow.record, raiseload=True), defer(AlertRow.payload, raiseload=True))
            .order_by(AlertRow.priority.desc(), AlertRow.alert_id.desc())
        ).all()
    return render(
        request,
        "bulk.html",
        view=view,
        ids=ids,
        count=len(ids),
        matching=matching,
        cap=bulk.CAP,
        sample=sample,
    )


@router.post("/queue/bulk/run", response_model=None)
async def run(request: Request, context: Context) -> Response:
    """Begin; the report follows the progress."""
    form = await request.form()
    viewer = viewer_of(request)
    kind, _, value = str(form.get("act", "")).partition(":")
    now = context.now()
    by = viewer.by(now)
    fields = {"act": kind, "reason": form.get("reason"), "verdict": value, "hours": value}
    ids = picked_of(form)
    try:
        act = act_of(fields, now)
    except ValidationError:
        return go(told(view_of(form), refused="form"))
    if not ids:
        return go(told(view_of(form), refused="form"))
    with context.transaction() as session:
        bulk_id = bulk.begin(session, by, act, len(ids)).bulk_id
    arguments = (context.engine, by, bulk_id, ids, act)
    threading.Thread(target=bulk.run, args=arguments, name=f"bulk-{bulk_id}", daemon=True).start()
    return go(f"/bulk/{bulk_id}")


@router.get("/bulk/{bulk_id}", response_model=None)
def report(request: Request, context: Context, bulk_id: RecordId) -> HTMLResponse:
    """Tell how far it has come, and what was left alone."""
    try:
        with context.transaction() as session:
            row = bulk.find(session, viewer_of(request).tenant, bulk_id)
    except bulk.UnknownBulkError:
        return render(request, "missing.html", status=HTTPStatus.NOT_FOUND, what="report")
    return render(request, "bulk_report.html", bulk=row)


@router.post("/bulk/{bulk_id}/undo", response_model=None)
def undo(request: Request, context: Context, bulk_id: RecordId) -> Response:
    """Undo all of it; what has moved on since stays, and is told."""
    bulk.take_back(context.engine, viewer_of(request).by(context.now()), bulk_id)
    return go(f"/bulk/{bulk_id}")


def picked_of(form: FormData) -> list[str]:
    """Give the alerts that a form names, at most the cap."""
    return [str(value) for value in form.getlist("alert")][: bulk.CAP]


def view_of(form: FormData) -> str:
    """Give the queue's address that a form came from."""
    view = str(form.get("view", ""))
    return view if view == "/queue" or view.startswith("/queue?") else "/queue"


def query_of(view: str) -> QueueQuery:
    """Read a queue's address; one that cannot be read is the plain queue."""
    parts = parse_qs(view.partition("?")[2])
    single = {"organisation", "account", "sort", "cursor"}
    try:
        return QueueQuery.model_validate({name: part[0] if name in single else part for name, part in parts.items()})
    except ValidationError:
        return QueueQuery()
