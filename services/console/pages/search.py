"""Find an account: by its keyed id, or by the raw key, which is sent once, keyed here and kept nowhere."""

from __future__ import annotations

import re
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.adapters.postgres import insight
from services.adapters.postgres.alerts import UnknownAlertError, find_alert
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.console.rendering import render
from services.console.state import state_of
from services.console.viewer import viewer_of

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
PERIODS: Final = {"1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
TOP: Final = 15
_KEYED: Final = re.compile(r"[0-9a-f]{16}")
Period = Literal["1d", "7d", "30d"]


@router.get("/search", response_model=None)
def show_search(
    request: Request, context: Context, q: Annotated[str, Query(max_length=200)] = "", period: Period = "1d"
) -> Response:
    """Show the search, or go straight to what a keyed id names; and this period's organisations beside the last."""
    tenant = viewer_of(request).tenant
    wanted = q.strip().lower()
    told = ""
    with context.transaction() as session:
        if _KEYED.fullmatch(wanted):
            try:
                find_alert(session, tenant, wanted)
            except UnknownAlertError:
                return RedirectResponse(f"/accounts/{wanted}", HTTPStatus.SEE_OTHER)
            return RedirectResponse(f"/alerts/{wanted}", HTTPStatus.SEE_OTHER)
        if wanted:
            told = "A keyed id has 16 hexadecimal digits. Is it a raw key? Then use the other field."
        tops = insight.period_over_period(session, tenant, now=context.now(), period=PERIODS[period], limit=TOP)
    return render(
        request,
        "search.html",
        # What was typed may have been a raw key: it is not shown again.
        told=told,
        keyed_here=state_of(request).make_identity is not None,
        tops=tops,
        period=period,
        periods=list(PERIODS),
    )


@router.post("/search", response_model=None)
def search_raw(
    request: Request,
    raw: Annotated[str, Form(min_length=1, max_length=2000)],
    field: Annotated[Literal["account", "organization"], Form()] = "account",
) -> Response:
    """Key a raw value and go to what it names. The value stands in no address, log or table."""
    make_identity = state_of(request).make_identity
    if make_identity is None:
        return render(request, "missing.html", status=HTTPStatus.NOT_FOUND, what="key in this process")
    # An identity of its own for one question: its cache of raw values ends with it.
    keyed = make_identity().identifier(field, raw.strip())
    target = f"/accounts/{keyed}" if field == "account" else f"/queue?state=all&organisation={keyed}"
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)
