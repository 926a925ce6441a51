"""The application: routes, errors, headers and its OpenAPI 3.1 document, built by one function."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from starlette.responses import RedirectResponse

from services.api import (
    acting,
    administering,
    deciding,
    dossier,
    entitling,
    health,
    lifecycle,
    promoting,
    reading,
    reviewing,
    signing_in,
)
from services.api.guard import GuardMiddleware, require_same_rule, routes_of
from services.api.middleware import EdgeMiddleware
from services.api.problems import Problem, add_handlers
from services.api.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import APIRouter

    from services.api.context import ApiContext
    from services.identity.rules import Rule

DESCRIPTION = """\
Alerts of illicit distillation, and what analysts make of them. A browser signs in at `/signin` and sends its session's
token in `X-CSRF-Token` with every unsafe request; a machine sends `Authorization: Bearer` and its key. Every act is
its caller's own. Errors are problem details (RFC 9457); lists are paged by cursor; acts on an alert take its `ETag` in
`If-Match` and an `Idempotency-Key`.
"""


class UnruledRouteError(RuntimeError):
    """A route has no rule, or a rule has no route: a bug that must not wait for a request."""


def create_app(
    context: ApiContext,
    version: str,
    *,
    pages_routers: Sequence[APIRouter] = (),
    pages_rules: Mapping[str, Rule] = MappingProxyType({}),
) -> FastAPI:
    """Build the application around its context; nothing is opened here. Raises UnruledRouteError.

    ``pages_routers`` and ``pages_rules`` are the pages for people; they live in a room above this one.
    """
    app = FastAPI(
        title="Stillwatch",
        version=version,
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        # The shipped documentation pages load scripts from elsewhere, which the content policy refuses.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(require_same_rule)],
    )
    app.state.context = context
    for router in (
        reading.router,
        acting.router,
        entitling.router,
        lifecycle.router,
        reviewing.router,
        deciding.router,
        promoting.router,
        dossier.router,
        administering.router,
        signing_in.identity_router,
        signing_in.router,
        health.router,
        *pages_routers,
    ):
        app.include_router(router)
    app.add_api_route("/docs.json", lambda: RedirectResponse("/openapi.json"), include_in_schema=False)
    rules = {**RULES, **pages_rules}
    if differing := set(routes_of(app)) ^ set(rules):
        raise UnruledRouteError(f"rules and routes differ: {sorted(differing)}")
    app.add_middleware(GuardMiddleware, context=context, rules=rules)
    # The last one added stands outermost.
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
