"""Pages from templates: one environment, hashed addresses of static files, and what every page shows."""

from __future__ import annotations

import hashlib
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from services.console import wording
from services.console.flash import flash_of
from services.console.state import state_of
from services.console.viewer import viewer_of

if TYPE_CHECKING:
    from collections.abc import Mapping

router = APIRouter(include_in_schema=False)
HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
# A file's address holds its hash, so what lies there never changes.
FOREVER: Final = "public, max-age=31536000, immutable"
_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


_files = StaticFiles(directory=STATIC)


@router.get("/console/static/{name:path}")
async def static(request: Request, name: str) -> Response:
    """Give a static file; one that is asked for by its hash may be kept for ever."""
    try:
        response = await _files.get_response(name, request.scope)
    except HTTPException as error:
        return Response(status_code=error.status_code)
    if response.status_code == HTTPStatus.OK and request.query_params.get("v") == digest_of(name):
        response.headers["Cache-Control"] = FOREVER
    return response


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    """Give the icon where browsers look for one that the document does not name, such as an answer in JSON."""
    return await static(request, "icon.svg")


@cache
def digest_of(name: str) -> str:
    """Give the part of a static file's address that changes with it."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def asset(name: str) -> str:
    """Give the address of a static file, with its hash."""
    return f"/console/static/{name}?v={digest_of(name)}"


def render(
    request: Request,
    template: str,
    *,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """Render a page or a part of one."""
    state = state_of(request)
    viewer = viewer_of(request)
    page = _environment.get_template(template).render(
        viewer=viewer,
        tenant=viewer.tenant,
        now=state.context.now(),
        path=request.url.path,
        flash=flash_of(request),
        **values,
    )
    return HTMLResponse(page, status, headers)


def is_fragment(request: Request) -> bool:
    """Tell whether htmx asks for a part of the page, and not a browser that restores its history."""
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-History-Restore-Request") != "true"


_environment.globals |= {
    "asset": asset,
    "VERDICTS": wording.VERDICTS,
    "SEVERITIES": wording.SEVERITIES,
    "age": wording.age,
    "until": wording.until,
    "age_class": wording.age_class,
}
_environment.filters |= {
    "number": wording.number,
    "compact": wording.compact,
    "percent": wording.percent,
    "seconds": wording.seconds,
    "words": wording.words,
    "short": wording.short,
    "feature_words": wording.feature_words,
    "family_words": wording.family_words,
    "verdict_words": wording.verdict_words,
}
