"""One alert or campaign: why, who, since when, what it is like, and what would clear it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse

from detection.features.wording import because
from services.adapters.postgres import alerts, insight
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.models import AlertDetail, RecordId, describe_alert
from services.api.reading import etag
from services.console import evidence, panel, relations
from services.console.rendering import render
from services.console.state import state_of
from services.console.viewer import viewer_of

if TYPE_CHECKING:
    from services.adapters.postgres.tables import AlertRevisionRow

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
SIMILAR: Final = 5
OVERLAPPING: Final = 8
GRAPH_MEMBERS: Final = 80
FINDINGS_SHOWN: Final = 40


class RevisionSummary(msgspec.Struct, frozen=True):
    """What the timeline needs of a revision's record."""

    revision: int
    score: float
    severity: str
    config_version: str
    requests: int
    updated_time: str


@router.get("/alerts/{alert_id}", response_model=None)
def show_alert(request: Request, context: Context, alert_id: RecordId) -> HTMLResponse:
    """Show one alert."""
    state = state_of(request)
    try:
        with context.transaction() as session:
            found = alerts.read_alert(session, viewer_of(request).tenant, alert_id)
            similar = insight.alike(session, viewer_of(request).tenant, found.alert, limit=SIMILAR)
            overlapping = insight.shared_members(session, viewer_of(request).tenant, alert_id, limit=OVERLAPPING)
            history = insight.revisions(session, viewer_of(request).tenant, found.alert)
            around = panel.read(session, viewer_of(request), found)
    except alerts.UnknownAlertError:
        return render(request, "missing.html", status=HTTPStatus.NOT_FOUND, what="alert")
    alert: AlertDetail = describe_alert(found)
    threshold = evidence.threshold_of(state.detection, alert)
    heaviest = sorted(alert.contributions, key=lambda row: -row.weight)
    return render(
        request,
        "alert.html",
        headers={"ETag": etag(alert.version)},
        alert=alert,
        sentence=because([row.feature for row in heaviest if row.weight > 0][:3]),
        bars=evidence.bars(alert.contributions),
        threshold=threshold,
        counterfactual=evidence.what_would_clear(alert.contributions, alert.score, threshold),
        timeline=evidence.timeline(
            alert, [summary(row) for row in history], state.detection.clocking.hop_ms, threshold
        ),
        findings=alert.findings[-FINDINGS_SHOWN:],
        families=evidence.families(alert.findings),
        mix=evidence.request_mix(alert.members),
        similar=similar,
        overlapping=overlapping,
        revisions=[summary(row) for row in history],
        then_next=request.query_params.get("flow") == "next",
        **around,
    )


@router.get("/alerts/{alert_id}/graph.json", response_class=JSONResponse, response_model=None)
def graph(request: Request, context: Context, alert_id: RecordId) -> dict[str, Any]:
    """Give the graph of an alert's pools, accounts and organisations, for the chart."""
    with context.transaction() as session:
        found = alerts.read_alert(session, viewer_of(request).tenant, alert_id, members=GRAPH_MEMBERS)
        overlapping = insight.shared_members(session, viewer_of(request).tenant, alert_id, limit=OVERLAPPING)
    return relations.graph(describe_alert(found), overlapping)


def summary(row: AlertRevisionRow) -> RevisionSummary:
    """Read what a revision's record says."""
    return msgspec.json.decode(row.record, type=RevisionSummary)
