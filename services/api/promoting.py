"""``/v1/models``: what was learned from labels: which head orders the queue, and which bars hold some of it back."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from services.adapters.postgres import models, taught
from services.api.acting import IfMatch, expected_versions
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.problems import responses
from services.api.promotion_models import (
    ComparisonAnswer,
    HeadName,
    ModelAnswer,
    ModelName,
    ModelsAnswer,
)
from services.api.reading import etag

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.api.context import ApiContext
    from services.identity.principal import Principal

router = APIRouter(prefix="/v1", tags=["models"])
_PROMOTE = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)


@router.get("/models", responses=responses())
def list_models(context: Context, caller: Caller) -> ModelsAnswer:
    """List head and bars: the version that is live, or was until it was retired, and the newest in shadow."""
    with context.transaction() as session:
        return ModelsAnswer(items=[ModelAnswer.of(row) for row in models.list_models(session, caller.tenant)])


@router.get("/models/{model}/comparison", responses=responses(HTTPStatus.NOT_FOUND))
def compare_models(context: Context, caller: Caller, model: HeadName) -> ComparisonAnswer:
    """Compare the live head, the one in shadow, and the scores alone on the alerts that people have judged."""
    with context.transaction() as session:
        return ComparisonAnswer.model_validate(taught.compare_heads(session, caller.tenant, model))


@router.post("/models/{model}/promote", responses=_PROMOTE)
def promote_model(
    context: Context, caller: Caller, model: ModelName, response: Response, if_match: IfMatch = None
) -> ModelAnswer:
    """Let the version in shadow have its say; ``If-Match`` names the version that was looked at.

    Whoever gave one of its verdicts is refused, and so is a head with too few confirmed alerts.
    """
    return _act(models.promote, context, caller, model, response, if_match)


@router.post("/models/{model}/retire", responses=_PROMOTE)
def retire_model(
    context: Context, caller: Caller, model: ModelName, response: Response, if_match: IfMatch = None
) -> ModelAnswer:
    """Take the live version's say away: scores and configured thresholds stand alone from the next hop on."""
    return _act(models.retire, context, caller, model, response, if_match)


@router.post("/models/{model}/undo", responses=_PROMOTE)
def undo_model(
    context: Context, caller: Caller, model: ModelName, response: Response, if_match: IfMatch = None
) -> ModelAnswer:
    """Put back what was live before the last promotion or retirement; ``If-Match`` names the version that is live."""
    return _act(models.undo, context, caller, model, response, if_match)


def _act(
    act: Callable[..., models.ModelRow],
    context: ApiContext,
    caller: Principal,
    model: str,
    response: Response,
    if_match: str | None,
) -> ModelAnswer:
    with context.transaction() as session:
        row = act(
            session,
            caller.tenant,
            model,
            actor=caller.actor,
            now=context.now(),
            expected_versions=expected_versions(if_match),
        )
        answer = ModelAnswer.of(row)
    response.headers["ETag"] = etag(answer.version)
    return answer
