"""The pages: alerts, and one alert with why it was raised. They work without JavaScript; there is none."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final, get_args

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse

from services.adapters.postgres import alerts
from services.adapters.postgres.cursors import CursorError
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.models import AlertDetail, AlertQuery, AlertSummary, Contribution, RecordId, describe_alert
from services.api.reading import to_filter
from services.api.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
REFRESH_SECONDS: Final = 15
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Bar:
    """One contribution as two bars on one scale, 0..100."""

    feature: str
    actual: str
    expected: str
    weight: str
    actual_width: float
    expected_width: float


def age(now: datetime, moment: datetime) -> str:
    """Say how long ago a moment was, in its largest unit."""
    seconds = int((now - moment).total_seconds())
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return "now"


def number(value: float) -> str:
    """Write a number with as many digits as a reader compares: four."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def bars(contributions: Sequence[Contribution]) -> list[Bar]:
    """Draw contributions, heaviest first; each pair of bars has a scale of its own."""
    drawn: list[Bar] = []
    for row in sorted(contributions, key=lambda row: -abs(row.weight)):
        scale = max(abs(row.actual), abs(row.expected)) or 1.0
        drawn.append(
            Bar(
                feature=row.feature.replace("_", " "),
                actual=number(row.actual),
                expected=number(row.expected),
                weight=f"{row.weight:+.3f}",
                actual_width=round(100 * abs(row.actual) / scale, 1),
                expected_width=round(100 * abs(row.expected) / scale, 1),
            )
        )
    return drawn


@router.get("/")
def show_alerts(context: Context, caller: Caller, query: Annotated[AlertQuery, Query()]) -> str:
    """Show a page of alerts, newest first, with their number by state."""
    with context.transaction() as session:
        counts = alerts.count_alerts(session, caller.tenant)
        try:
            page = alerts.list_alerts(session, caller.tenant, to_filter(query), limit=query.limit, cursor=query.cursor)
        except CursorError:
            page = alerts.list_alerts(session, caller.tenant, to_filter(query), limit=query.limit)
        rows = [AlertSummary.model_validate(row) for row in page.rows]
    return render(
        "alerts.html",
        rows=rows,
        now=context.now(),
        age=age,
        number=number,
        query=query,
        counts=counts,
        total=sum(counts.values()),
        states=get_args(alerts.State),
        next_cursor=page.next_cursor,
        # Only the newest page changes by itself; a reader of older ones is left alone.
        refresh=REFRESH_SECONDS if query.cursor is None else None,
        tenant=caller.tenant,
        caller=caller,
    )


@router.get("/alerts/{alert_id}", response_model=None)
def show_alert(context: Context, caller: Caller, alert_id: RecordId) -> HTMLResponse:
    """Show one alert: why, who, which findings, which labels."""
    try:
        with context.transaction() as session:
            alert: AlertDetail = describe_alert(alerts.read_alert(session, caller.tenant, alert_id))
    except alerts.UnknownAlertError:
        page = render("missing.html", tenant=caller.tenant, caller=caller, refresh=None)
        return HTMLResponse(page, HTTPStatus.NOT_FOUND)
    page = render(
        "alert.html",
        alert=alert,
        bars=bars(alert.contributions),
        now=context.now(),
        age=age,
        number=number,
        refresh=None,
        tenant=caller.tenant,
        caller=caller,
    )
    return HTMLResponse(page)
