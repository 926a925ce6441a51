"""``/v1``: the dossier of an alert, in one request."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.models import RecordId  # noqa: TC001 - as above
from services.api.problems import responses
from services.dossiers import making

router = APIRouter(prefix="/v1", tags=["dossiers"])
_FILE = {"content": {kind: {} for kind in sorted(set(making.MEDIA_TYPES.values()))}, "description": "The file."}


@router.post(
    "/alerts/{alert_id}/dossier",
    response_class=Response,
    responses={200: _FILE, **responses(HTTPStatus.NOT_FOUND)},
)
def make_dossier(
    context: Context, caller: Caller, request: Request, alert_id: RecordId, form: making.Form = "json"
) -> Response:
    """Make the dossier of an alert: sealed JSON, or what readers and other systems take. The audit has its digest."""
    version: str = request.app.version
    with context.transaction() as session:
        made = making.make(
            session,
            caller.tenant,
            alert_id,
            actor=caller.actor,
            now=context.now(),
            version=version,
            seed=making.seed_of(context.secret),
        )
    ending = {"stix": "stix.json", "ocsf": "ocsf.json"}.get(form, form)
    name = f'attachment; filename="dossier-{made.sha256[:12]}.{ending}"'
    return Response(
        made.write(form, version), media_type=making.MEDIA_TYPES[form], headers={"Content-Disposition": name}
    )
