"""The guard in front of every route: who asks, and whether the route's rule admits them. Without a rule nobody passes.

It stands before any body is read for a handler. A browser's unsafe request must bring the session's own token back, in
``X-CSRF-Token`` or the form field ``csrf_token``; a key in ``Authorization`` needs none.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qs, quote

from fastapi import Depends, HTTPException, Request
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.routing import compile_path

from services.api.problems import database_problem, problem
from services.identity import keys, sessions, tokens
from services.identity.principal import Principal

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from services.api.context import ApiContext
    from services.identity.rules import Rule

COOKIE: Final = "stillwatch_session"
SECURE_COOKIE: Final = "__Host-stillwatch_session"
SIGN_IN: Final = "/signin"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM: Final = "application/x-www-form-urlencoded"
_LONGEST_FORM: Final = 1 << 20


class RuleTable:
    """Rules by method and path; the path with the fewest parameters wins, as in the router's order of declaration."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rows: list[tuple[str, str, re.Pattern[str], Rule]] = []
        for key in sorted(rules, key=lambda key: (key.count("{"), key)):
            method, path = key.split(" ", 1)
            self._rows.append((method, path, compile_path(path)[0], rules[key]))

    def find(self, method: str, path: str) -> tuple[str, Rule] | None:
        """Give the key and the rule of a request."""
        for wanted, template, pattern, rule in self._rows:
            if wanted == method and pattern.match(path):
                return f"{wanted} {template}", rule
        return None

    def methods(self, path: str) -> list[str]:
        """Name the methods that a path takes."""
        return sorted({method for method, _, pattern, _ in self._rows if pattern.match(path)})


def routes_of(app: FastAPI) -> Iterator[str]:
    """Give "METHOD /path" of every route, of included routers too; mounts as "GET /path/{path:path}"."""
    pending: list[Any] = list(app.routes)
    while pending:
        route = pending.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            pending += inner.routes
        elif getattr(route, "methods", None):
            yield from (f"{method} {route.path}" for method in route.methods)
        else:
            yield f"GET {route.path}/{{path:path}}"


class GuardMiddleware:
    """Answers 401, 403, 404 or 405 itself; what it lets through has its caller in ``scope["state"]["caller"]``."""

    def __init__(self, app: ASGIApp, context: ApiContext, rules: Mapping[str, Rule]) -> None:
        self._app = app
        self._context = context
        self._rules = RuleTable(rules)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard one request; other kinds of scope pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = self._rules.find(scope["method"], scope["path"])
        if found is None:
            await self._no_rule(scope["path"])(scope, receive, send)
            return
        key, rule = found
        state = scope.setdefault("state", {})
        state["rule"], state["caller"] = key, None
        if rule.public:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            caller = await run_in_threadpool(self._identify, headers)
        except DBAPIError as error:
            await database_problem(error)(scope, receive, send)
            return
        refusal = self._refuse(scope, headers, rule, caller)
        if refusal is None and caller is not None and caller.csrf is not None and scope["method"] not in _SAFE:
            trusted, receive = await _brings_csrf(headers, receive, caller.csrf)
            if not trusted:
                refusal = problem(HTTPStatus.FORBIDDEN, "The request does not come from a page of ours; reload it.")
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        state["caller"] = caller
        await self._app(scope, receive, send)

    def _no_rule(self, path: str) -> Response:
        methods = self._rules.methods(path)
        if methods:
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(methods)})
        return problem(HTTPStatus.NOT_FOUND)

    def _identify(self, headers: Headers) -> Principal | None:
        now = self._context.now()
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            with self._context.transaction() as session:
                return keys.find_key(session, key.strip(), now)
        token = session_token(headers)
        if token is None:
            return None
        with self._context.transaction() as session:
            return sessions.find_session(session, token, self._context.bounds, now)

    @staticmethod
    def _refuse(scope: Scope, headers: Headers, rule: Rule, caller: Principal | None) -> Response | None:
        if caller is None:
            return _to_sign_in(scope, headers)
        if not rule.admits(caller):
            return problem(HTTPStatus.FORBIDDEN, "Your roles do not allow this.")
        origin = headers.get("origin")
        if scope["method"] not in _SAFE and caller.csrf is not None and origin not in {None, "null"}:
            host = headers.get("host", "")
            if str(origin).partition("://")[2] != host:
                return problem(HTTPStatus.FORBIDDEN, "The request comes from another site.")
        return None


def session_token(headers: Headers) -> str | None:
    """Find the session's token among the cookies."""
    jar = cookie_parser(headers.get("cookie", ""))
    return jar.get(SECURE_COOKIE) or jar.get(COOKIE) or None


def _to_sign_in(scope: Scope, headers: Headers) -> Response:
    """Send a browser's navigation to the sign-in page, and tell everybody else."""
    if headers.get("hx-request") == "true":
        return problem(HTTPStatus.UNAUTHORIZED, "Sign in again.", headers={"HX-Redirect": SIGN_IN})
    if scope["method"] == "GET" and "text/html" in headers.get("accept", "") and not scope["path"].startswith("/v1/"):
        query = scope.get("query_string", b"").decode("latin-1")
        target = scope["path"] + (f"?{query}" if query else "")
        return Response(
            status_code=HTTPStatus.SEE_OTHER, headers={"Location": f"{SIGN_IN}?next={quote(target, safe='')}"}
        )
    return problem(
        HTTPStatus.UNAUTHORIZED, "Sign in, or send a key.", headers={"WWW-Authenticate": 'Bearer realm="stillwatch"'}
    )


async def _brings_csrf(headers: Headers, receive: Receive, wanted: str) -> tuple[bool, Receive]:
    """Look for the page's token in the header, else in a form's body, which is then handed on as it came."""
    told = headers.get("x-csrf-token")
    if told is not None or not headers.get("content-type", "").startswith(_FORM):
        return told is not None and tokens.same(told, wanted), receive
    body = b""
    more = True
    while more and len(body) <= _LONGEST_FORM:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    fields = parse_qs(body.decode("latin-1"), keep_blank_values=True)
    handed = False

    async def again() -> Message:
        nonlocal handed
        if handed:
            return await receive()
        handed = True
        return {"type": "http.request", "body": body, "more_body": more}

    return tokens.same(fields.get("csrf_token", [""])[0], wanted), again


def require_same_rule(request: Request) -> None:
    """Refuse where the router took another route than the one whose rule admitted the caller. A bug, told as 403."""
    route = getattr(request.scope.get("route"), "path", "")
    if request.scope["state"].get("rule") != f"{request.method} {route}":
        raise HTTPException(HTTPStatus.FORBIDDEN)


def get_caller(request: Request) -> Principal:
    """Find who asks; a route whose rule is public has nobody, and must not ask."""
    caller = request.scope["state"]["caller"]
    if not isinstance(caller, Principal):
        raise HTTPException(HTTPStatus.UNAUTHORIZED)
    return caller


Caller = Annotated[Principal, Depends(get_caller)]
