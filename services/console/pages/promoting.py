"""Models: what labels have taught, which head orders the queue, and which bars hold some of it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from detection.ranking.bars import MOST_BAR, thresholds
from detection.ranking.proposing import LEAST_REFUSED, WANTED
from schemas.model_version import BARS, SUPERVISED
from services.adapters.postgres import models, taught
from services.adapters.postgres.lifecycle.acts import LostRaceError
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.promotion_models import ModelAnswer
from services.console.flash import told
from services.console.pages.acting import go
from services.console.rendering import render
from services.console.state import state_of
from services.console.viewer import viewer_of
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.api.context import ApiContext

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
PAGE: Final = "/models"
MODELS: Final = (SUPERVISED, BARS)


@router.get(PAGE, response_model=None)
def show_models(request: Request, context: Context) -> HTMLResponse:
    """Show what is live beside what is in shadow: heads on judged alerts, bars with their reasons."""
    tenant = viewer_of(request).tenant
    with context.transaction() as session:
        rows = {(row.model, row.stage): ModelAnswer.of(row) for row in models.list_models(session, tenant)}
        compared = taught.compare_heads(session, tenant, SUPERVISED)
    return render(
        request,
        "models.html",
        live=rows.get((SUPERVISED, "live")),
        shadow=rows.get((SUPERVISED, "shadow")),
        live_bars=rows.get((BARS, "live")),
        shadow_bars=rows.get((BARS, "shadow")),
        thresholds=thresholds(state_of(request).detection),
        bounds={"most": MOST_BAR, "refused": LEAST_REFUSED, "wanted": WANTED},
        compared=compared,
    )


@router.post("/models/promote", response_model=None)
async def promote(request: Request, context: Context) -> Response:
    """Promote the version that the page showed."""
    return await _act(request, context, "promoted", models.promote)


@router.post("/models/retire", response_model=None)
async def retire(request: Request, context: Context) -> Response:
    """Retire the version that the page showed."""
    return await _act(request, context, "retired", models.retire)


@router.post("/models/undo", response_model=None)
async def undo(request: Request, context: Context) -> Response:
    """Put back what was live before the version that the page showed."""
    return await _act(request, context, "restored", models.undo)


async def _act(request: Request, context: ApiContext, done: str, act: Callable[..., Any]) -> Response:
    form = await request.form()
    version, model = str(form.get("version", "")), str(form.get("model", ""))
    # The box is ticked by hand: a page left open, or a slip, promotes nothing.
    if not version.isdecimal() or model not in MODELS or form.get("confirmed") != "yes":
        return go(told(PAGE, refused="form"))
    viewer = viewer_of(request)
    try:
        with context.transaction() as session:
            act(
                session,
                viewer.tenant,
                model,
                actor=viewer.name,
                now=context.now(),
                expected_versions=frozenset({int(version)}),
            )
    except LostRaceError:
        return go(told(PAGE, refused="moved"))
    except StillwatchError as error:
        return go(told(PAGE, refused=type(error).__name__))
    return go(told(PAGE, done=done))
