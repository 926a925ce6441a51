"""Downloads of a view of the queue: the same filter as its address, so what is seen is what is saved."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import HTMLResponse, StreamingResponse

from services.adapters.postgres import queue
from services.adapters.postgres.insight import newest_verdicts
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.known import KnownAlert  # noqa: TC001 - as above
from services.console import exports
from services.console.pages.queue import VIEWS, QueueQuery
from services.console.rendering import render
from services.console.state import state_of
from services.console.viewer import viewer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from services.api.context import ApiContext
    from services.console.viewer import Viewer

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
MEDIA: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "ocsf": "application/x-ndjson"}
Format = Literal["csv", "jsonl", "ocsf"]


@router.get("/export", response_model=None)
def show_export(request: Request, context: Context, query: Annotated[QueueQuery, Query()]) -> HTMLResponse:
    """Show what would be saved, and in which forms."""
    with context.transaction() as session:
        total = queue.count_matching(session, viewer_of(request).tenant, query.wanted())
    view = query.address().partition("?")[2]
    return render(request, "export.html", total=total, view=view, here=query.address(), views=VIEWS)


@router.get("/export/alerts.{form}", response_model=None)
def save(request: Request, context: Context, form: Format, query: Annotated[QueueQuery, Query()]) -> StreamingResponse:
    """Save a view. ``X-Total-Rows`` tells a script how many rows will come."""
    viewer = viewer_of(request)
    with context.transaction() as session:
        total = queue.count_matching(session, viewer.tenant, query.wanted())
    rows = _alerts(context, viewer, query, form, state_of(request).version)
    return _download(rows, form, f"stillwatch-alerts.{'ocsf.jsonl' if form == 'ocsf' else form}", total)


@router.get("/export/members/{alert_id}", response_model=None)
def save_members(request: Request, context: Context, alert_id: KnownAlert) -> StreamingResponse:
    """Save every account that an alert names, as CSV."""
    return _download(_members(context, viewer_of(request), alert_id), "csv", f"stillwatch-{alert_id}-accounts.csv")


def _download(rows: Generator[bytes], form: Format, name: str, total: int | None = None) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if total is not None:
        headers["X-Total-Rows"] = str(total)
    return StreamingResponse(_ending(rows), media_type=MEDIA[form], headers=headers)


async def _ending(rows: Generator[bytes]) -> AsyncIterator[bytes]:
    """Give the rows, and end their transaction at once when the browser goes away in the middle."""
    try:
        async for part in iterate_in_threadpool(rows):
            yield part
    finally:
        await asyncio.shield(asyncio.to_thread(rows.close))


def _alerts(context: ApiContext, viewer: Viewer, query: QueueQuery, form: Format, version: str) -> Generator[bytes]:
    with context.transaction() as session, closing(exports.alert_rows(session, viewer.tenant, query.wanted())) as rows:
        if form == "csv":
            yield from exports.as_csv(rows, exports.COLUMNS)
        elif form == "jsonl":
            yield from exports.as_json_lines(rows)
        else:
            yield from exports.as_ocsf(rows, _verdicts(context, viewer), version)


def _members(context: ApiContext, viewer: Viewer, alert_id: str) -> Generator[bytes]:
    with context.transaction() as session, closing(exports.member_rows(session, viewer.tenant, alert_id)) as rows:
        yield from exports.as_csv(rows, exports.MEMBER_COLUMNS)


def _verdicts(context: ApiContext, viewer: Viewer) -> dict[str, str]:
    with context.transaction() as session:
        return {alert_id: row.verdict for alert_id, row in newest_verdicts(session, viewer.tenant, None).items()}
