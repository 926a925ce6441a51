"""Models: what labels have taught, how it would have ordered what people judged, and which head orders the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from schemas.model_version import SUPERVISED
from services.adapters.postgres import models, taught
from services.adapters.postgres.lifecycle.acts import LostRaceError
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.promotion_models import ModelAnswer
from services.console.flash import told
from services.console.pages.acting import go
from services.console.rendering import render
from services.console.viewer import viewer_of
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.api.context import ApiContext

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
PAGE = "/models"


@router.get(PAGE, response_model=None)
def show_models(request: Request, context: Context) -> HTMLResponse:
    """Show the live head beside the one in shadow, on the alerts that people have judged."""
    tenant = viewer_of(request).tenant
    with context.transaction() as session:
        heads = {row.stage: ModelAnswer.of(row) for row in models.list_models(session, tenant)}
        compared = taught.compare_heads(session, tenant, SUPERVISED)
    return render(request, "models.html", live=heads.get("live"), shadow=heads.get("shadow"), compared=compared)


@router.post("/models/promote", response_model=None)
async def promote(request: Request, context: Context) -> Response:
    """Promote the version that the page showed."""
    return await _act(request, context, "promoted", models.promote)


@router.post("/models/retire", response_model=None)
async def retire(request: Request, context: Context) -> Response:
    """Retire the version that the page showed."""
    return await _act(request, context, "retired", models.retire)


async def _act(request: Request, context: ApiContext, done: str, act: Callable[..., Any]) -> Response:
    form = await request.form()
    version = str(form.get("version", ""))
    # The box is ticked by hand: a page left open, or a slip, promotes nothing.
    if not version.isdecimal() or form.get("confirmed") != "yes":
        return go(told(PAGE, refused="form"))
    viewer = viewer_of(request)
    try:
        with context.transaction() as session:
            act(
                session,
                viewer.tenant,
                SUPERVISED,
                actor=viewer.name,
                now=context.now(),
                expected_versions=frozenset({int(version)}),
            )
    except LostRaceError:
        return go(told(PAGE, refused="moved"))
    except StillwatchError as error:
        return go(told(PAGE, refused=type(error).__name__))
    return go(told(PAGE, done=done))
