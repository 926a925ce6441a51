"""The overview: in ten seconds, whether the service is healthy and whether a wave is under way."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse

from schemas.model_version import BARS
from services.adapters.postgres import insight, models
from services.adapters.postgres.lifecycle import quality
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.promotion_models import BarAnswer
from services.console.rendering import render
from services.console.state import state_of
from services.console.viewer import viewer_of
from services.console.wording import SEVERITIES

if TYPE_CHECKING:
    from datetime import datetime

    from services.console.state import ConsoleState

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
DAY: Final = timedelta(days=1)
STEP: Final = timedelta(minutes=30)
AGES: Final = ("under 1 h", "1 to 4 h", "4 to 24 h", "1 to 3 d", "over 3 d")
TOP: Final = 6


@router.get("/", response_model=None)
def show_overview(request: Request, context: Context) -> HTMLResponse:
    """Show pictures before numbers."""
    state = state_of(request)
    now = context.now()
    with context.transaction() as session:
        ages = insight.queue_ages(session, viewer_of(request).tenant, now)
        latency = insight.event_to_alert(session, viewer_of(request).tenant, since=now - DAY)
        campaigns = insight.top_campaigns(session, viewer_of(request).tenant, limit=TOP)
        rate = insight.alert_rate(session, viewer_of(request).tenant, since=now - DAY, step=STEP)
        precision = quality.measure(session, viewer_of(request).tenant, now - 30 * DAY).precision
        proposed = models.find_model(session, viewer_of(request).tenant, BARS, "shadow")
        drifted = [] if proposed is None else [each for each in BarAnswer.of(proposed.published()) if each.drift]
    samples = state.flow.samples() if state.flow is not None else []
    rates = state.flow.rates() if state.flow is not None else []
    checks = {name: check() for name, check in context.checks.items()}
    most = max(ages.values(), default=0)
    return render(
        request,
        "overview.html",
        beat=state.pulse.read(),
        ages=ages,
        age_names=AGES,
        most=most,
        latency=latency,
        campaigns=campaigns,
        alerts_last_hour=sum(count for moment, _, count in rate if moment >= now - timedelta(hours=1)),
        alerts_last_day=sum(count for _, _, count in rate),
        budget=state.detection.incidents.alerts_per_hour,
        precision=precision,
        lag=samples[-1].lag if samples else {},
        rate_now=sum(value for _, value in rates[-6:]) / len(rates[-6:]) if rates else None,
        peak=max((value for _, value in rates), default=0.0),
        spark=sparkline([value for _, value in rates[-180:]]),
        checks=checks,
        ready=all(check.ready for check in checks.values()),
        bars=rate_bars(rate, now),
        drifted=drifted,
    )


@router.get("/console/series", response_class=JSONResponse)
def series(request: Request, context: Context) -> dict[str, Any]:
    """Give the overview's series for its charts: columns of seconds since the epoch and values."""
    state = state_of(request)
    now = context.now()
    with context.transaction() as session:
        rate = insight.alert_rate(session, viewer_of(request).tenant, since=now - DAY, step=STEP)
    return {
        "traffic": traffic_columns(state),
        "lag": lag_columns(state),
        "alerts": alert_columns(rate, now),
        "budget": state.detection.incidents.alerts_per_hour * STEP / timedelta(hours=1),
    }


def sparkline(values: list[float], width: float = 220.0, height: float = 44.0) -> str:
    """Give the points of a line over values, oldest first, as SVG wants them; empty under two values."""
    if len(values) < 2:  # noqa: PLR2004 - a line has two ends
        return ""
    top = max(values) or 1.0
    step = width / (len(values) - 1)
    return " ".join(
        f"{place * step:.1f},{height - 2 - value / top * (height - 4):.1f}" for place, value in enumerate(values)
    )


def rate_bars(rate: list[tuple[datetime, str, int]], now: datetime) -> list[tuple[float, float, float, str]]:
    """Stack a day of alerts by severity for a picture of 48 columns: (x, y, height, severity) on 480 x 80."""
    _, *columns = alert_columns(rate, now)
    tops = [sum(column[place] for column in columns) for place in range(len(columns[0]))]
    most = max(tops, default=0) or 1
    bars: list[tuple[float, float, float, str]] = []
    for place in range(len(tops)):
        base = 80.0
        for severity, column in zip(SEVERITIES, columns, strict=True):
            height = column[place] / most * 78
            if height:
                base -= height
                bars.append((place * 10.0, round(base, 1), round(height, 1), severity))
    return bars


def alert_columns(rate: list[tuple[datetime, str, int]], now: datetime) -> list[list[float]]:
    """Give a row for each step of the last day: seconds since the epoch, then the count of each severity."""
    counted: dict[float, dict[str, int]] = defaultdict(dict)
    for moment, severity, count in rate:
        counted[moment.timestamp()][severity] = count
    step = STEP.total_seconds()
    last = now.timestamp() // step * step
    moments = [last - step * back for back in range(47, -1, -1)]
    counts = [[float(counted[moment].get(severity, 0)) for moment in moments] for severity in SEVERITIES]
    return [moments, *counts]


def traffic_columns(state: ConsoleState) -> list[list[float]]:
    """Give requests a second as columns."""
    rates = state.flow.rates() if state.flow is not None else []
    return [[at / 1000 for at, _ in rates], [round(rate, 2) for _, rate in rates]]


def lag_columns(state: ConsoleState) -> dict[str, Any]:
    """Give lag by consumer group as columns, with the groups' names."""
    samples = state.flow.samples() if state.flow is not None else []
    names = sorted({name for sample in samples for name in sample.lag})
    columns = [[sample.at_ms / 1000 for sample in samples]]
    columns += [[float(sample.lag.get(name, 0)) for sample in samples] for name in names]
    return {"names": names, "columns": columns}
