"""Shadow and backtest: what a candidate configuration would have raised on the traffic that is still kept."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from detection.config import DetectionConfig
from services.adapters.postgres import insight, trials
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.models import RecordId  # noqa: TC001 - as above
from services.console.flash import told
from services.console.rendering import render
from services.console.state import state_of
from services.console.viewer import viewer_of
from services.errors import StillwatchError

if TYPE_CHECKING:
    from services.adapters.postgres.trials import TrialRow

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
# Path in the configuration, label, unit. Others are reached by the file.
KNOBS: Final = (
    ("accounts.threshold", "Account lane threshold", "spreads above the median"),
    ("pools.threshold", "Pool lane threshold", "spreads above the median"),
    ("pools.minimum_customers", "Fewest customers of a pool", "customers"),
    ("pools.minimum_requests", "Fewest requests of a pool", "requests"),
    ("incidents.join_share", "Shared members to join an incident", "share"),
    ("incidents.alerts_per_hour", "Alert budget", "per hour"),
)
_running: Final = threading.Semaphore(1)


@router.get("/shadow", response_model=None)
def show_trials(request: Request, context: Context) -> HTMLResponse:
    """Show the running configuration's knobs and the trials."""
    with context.transaction() as session:
        rows = trials.newest(session, viewer_of(request).tenant)
    config = state_of(request).detection
    knobs = [(path, label, unit, value_at(msgspec.to_builtins(config), path)) for path, label, unit in KNOBS]
    return render(request, "shadow.html", trials=rows, knobs=knobs, config=config)


@router.post("/shadow", response_model=None)
async def begin_trial(request: Request, context: Context) -> Response:
    """Begin a trial of the configuration in the form."""
    viewer = viewer_of(request)
    state = state_of(request)
    form = await request.form()
    built = msgspec.to_builtins(state.detection)
    try:
        for path, _, _ in KNOBS:
            old = value_at(built, path)
            set_at(built, path, type(old)(str(form[path])))
        built["version"] = str(form.get("version", "")).strip()[:60] or f"{built['version']}-candidate"
        msgspec.convert(built, DetectionConfig)
        days = min(max(float(str(form.get("days", "1"))), 0.04), 7.0)
    except (KeyError, ValueError, msgspec.ValidationError):
        return RedirectResponse(told("/shadow", refused="form"), HTTPStatus.SEE_OTHER)
    now = context.now()
    with context.transaction() as session:
        trial_id = trials.begin(
            session, viewer.tenant, actor=viewer.name, config=built, since=now - timedelta(days=days), now=now
        )
    threading.Thread(target=_play, args=(trial_id, viewer.tenant), name=f"trial-{trial_id}", daemon=True).start()
    return RedirectResponse(f"/shadow/{trial_id}", HTTPStatus.SEE_OTHER)


@router.get("/shadow/{trial_id}", response_model=None)
def show_trial(request: Request, context: Context, trial_id: RecordId) -> HTMLResponse:
    """Show one trial: alerts gained and lost, with what analysts said of them."""
    tenant = viewer_of(request).tenant
    try:
        with context.transaction() as session:
            row = trials.find(session, tenant, trial_id)
            ids = [each["alert_id"] for part in ("gained", "lost", "kept") for each in (row.result or {}).get(part, [])]
            verdicts = insight.newest_verdicts(session, tenant, ids)
    except trials.UnknownTrialError:
        return render(request, "missing.html", status=HTTPStatus.NOT_FOUND, what="trial")
    return render(
        request,
        "trial_body.html" if request.headers.get("HX-Request") == "true" else "trial.html",
        trial=row,
        verdicts=verdicts,
        changes=changes(msgspec.to_builtins(state_of(request).detection), row.config),
    )


@router.get("/shadow/{trial_id}/config.json", response_model=None)
def save_config(request: Request, context: Context, trial_id: RecordId) -> Response:
    """Give the candidate as the file that STILLWATCH_DETECTION_CONFIG names."""
    with context.transaction() as session:
        row: TrialRow = trials.find(session, viewer_of(request).tenant, trial_id)
    return JSONResponse(row.config, headers={"Content-Disposition": f'attachment; filename="{trial_id}.json"'})


@router.post("/shadow/{trial_id}/approve", response_model=None)
def approve(
    request: Request, context: Context, trial_id: RecordId, csrf_token: Annotated[str, Form()] = ""
) -> Response:
    """Take the candidate, as somebody who did not write it."""
    del csrf_token
    viewer = viewer_of(request)
    try:
        with context.transaction() as session:
            trials.approve(session, viewer.tenant, trial_id, actor=viewer.name, now=context.now())
    except StillwatchError as error:
        return RedirectResponse(told(f"/shadow/{trial_id}", refused=type(error).__name__), HTTPStatus.SEE_OTHER)
    return RedirectResponse(f"/shadow/{trial_id}", HTTPStatus.SEE_OTHER)


def value_at(config: dict[str, Any], path: str) -> Any:
    """Read a value by its dotted path."""
    for name in path.split("."):
        config = config[name]
    return config


def set_at(config: dict[str, Any], path: str, value: Any) -> None:
    """Write a value by its dotted path."""
    *parents, last = path.split(".")
    for name in parents:
        config = config[name]
    config[last] = value


def changes(running: dict[str, Any], candidate: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Name what differs: path, running value, candidate's value."""
    found: list[tuple[str, Any, Any]] = []
    for name in sorted(running.keys() | candidate.keys()):
        mine, other = running.get(name), candidate.get(name)
        if isinstance(mine, dict) and isinstance(other, dict):
            found += changes(mine, other, f"{prefix}{name}.")
        elif mine != other and list_of(mine) != list_of(other):
            found.append((f"{prefix}{name}", mine, other))
    return found


def list_of(value: Any) -> Any:
    """Give a tuple as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _play(trial_id: str, tenant: str) -> None:
    # One at a time: each takes a core for minutes.
    with _running:
        subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "services.console.trial_run", trial_id, tenant], check=False
        )
