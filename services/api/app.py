"""The application: routes, errors, headers and its OpenAPI 3.1 document, built by one function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

from services.api import acting, deciding, health, pages, reading
from services.api.middleware import EdgeMiddleware
from services.api.problems import Problem, add_handlers

if TYPE_CHECKING:
    from services.api.context import ApiContext

DESCRIPTION = """\
Alerts of illicit distillation, and what analysts make of them. There is no login yet: the server listens on loopback,
and every act names its `actor`. Errors are problem details (RFC 9457); lists are paged by cursor; a label takes the
alert's `ETag` in `If-Match` and an `Idempotency-Key`.
"""


def create_app(context: ApiContext, version: str) -> FastAPI:
    """Build the application around its context; nothing is opened here."""
    app = FastAPI(
        title="Stillwatch",
        version=version,
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        # The shipped documentation pages load scripts from elsewhere, which the content policy refuses.
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = context
    for router in (reading.router, acting.router, deciding.router, health.router, pages.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_api_route("/docs.json", lambda: RedirectResponse("/openapi.json"), include_in_schema=False)
    app.add_middleware(EdgeMiddleware, context=context)
    add_handlers(app)
    _name_problem(app)
    return app


def _name_problem(app: FastAPI) -> None:
    """Put the schema of problem details into the document: the routes refer to it by name."""
    plain = app.openapi

    def with_problem() -> dict[str, Any]:
        document = plain()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= schema.pop("$defs", {}) | {"Problem": schema}
        return document

    app.openapi = with_problem  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
