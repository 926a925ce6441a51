"""Signing in and out: by password, and at a provider where the settings name one. Forms, for they work everywhere."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import COOKIE, SECURE_COOKIE, Caller, session_token
from services.api.models import IdentityAnswer
from services.api.problems import responses
from services.api.rendering import render
from services.identity import oidc, pending, sessions, tokens
from services.identity.limits import TooManyFailuresError

if TYPE_CHECKING:
    from services.api.context import ApiContext
    from services.identity.sessions import SignedIn

router = APIRouter(include_in_schema=False)
identity_router = APIRouter(prefix="/v1", tags=["identity"])
STATE_COOKIE: Final = "stillwatch_sign_in"
CALLBACK: Final = "/signin/oidc/callback"
_HOME: Final = "/"


def safe_target(target: str) -> str:
    """Give a place within this site to go on to; anything else becomes the first page."""
    inside = target.startswith("/") and not target.startswith("//") and "\\" not in target
    return target if inside and target.isprintable() and len(target) < 2000 else _HOME  # noqa: PLR2004 - URLs end somewhere


@router.get("/signin")
def show_sign_in(context: Context, target: Annotated[str, Query(alias="next")] = _HOME) -> HTMLResponse:
    """Show the form."""
    return _form(context, target)


@router.post("/signin")
def sign_in(
    context: Context,
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    target: Annotated[str, Form(alias="next", max_length=2000)] = _HOME,
) -> Response:
    """Open a session, and go on to where the browser came from."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return _form(context, target, "Sign in on this page, not from another site.", HTTPStatus.FORBIDDEN)
    try:
        opened = sessions.sign_in(
            context.engine,
            context.tenant,
            name,
            password,
            address=request.client.host if request.client else "",
            secret=context.secret,
            now=context.now(),
        )
    except sessions.SignInError as error:
        return _form(context, target, str(error), HTTPStatus.UNAUTHORIZED, name)
    except TooManyFailuresError as error:
        return _form(context, target, str(error), HTTPStatus.TOO_MANY_REQUESTS, name)
    return _go_in(context, request, opened, target)


@router.post("/signout")
def sign_out(context: Context, request: Request, caller: Caller) -> Response:
    """End the session, here and for whoever else has its cookie."""
    token = session_token(request.headers)
    if token is not None and caller.kind == "user":
        with context.transaction() as session:
            sessions.end_session(session, token, context.now())
    answer = RedirectResponse("/signin", HTTPStatus.SEE_OTHER)
    for cookie in (COOKIE, SECURE_COOKIE):
        answer.delete_cookie(cookie, path="/")
    return answer


@router.get("/signin/oidc")
def begin_at_provider(
    context: Context, request: Request, target: Annotated[str, Query(alias="next")] = _HOME
) -> Response:
    """Send the browser to the provider."""
    if context.provider is None:
        return _form(context, target, "No provider is set up here.", HTTPStatus.NOT_FOUND)
    try:
        begun = context.provider.begin(_callback(context, request))
    except oidc.ProviderError as error:
        return _form(context, target, str(error), HTTPStatus.BAD_GATEWAY)
    with context.transaction() as session:
        pending.remember(session, context.tenant, begun, safe_target(target), context.now())
    answer = RedirectResponse(begun.url, HTTPStatus.SEE_OTHER)
    secure = is_https(context, request)
    answer.set_cookie(
        STATE_COOKIE,
        begun.state,
        max_age=int(pending.LIFETIME.total_seconds()),
        path="/signin",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
    return answer


@router.get(CALLBACK)
def end_at_provider(context: Context, request: Request, code: str = "", state: str = "", error: str = "") -> Response:
    """Take the provider's answer, if it is one to a question that this browser asked."""
    mine = request.cookies.get(STATE_COOKIE, "")
    if context.provider is None or not state or not tokens.same(mine, state):
        return _form(context, _HOME, "This sign-in was not begun here; begin again.", HTTPStatus.BAD_REQUEST)
    now = context.now()
    with context.transaction() as session:
        begun = pending.take(session, context.tenant, state, now)
    if begun is None or error or not code:
        return _form(context, _HOME, "The provider did not sign you in; begin again.", HTTPStatus.BAD_REQUEST)
    nonce, verifier, target = begun
    try:
        stranger = context.provider.finish(
            _callback(context, request), code=code, verifier=verifier, nonce=nonce, now=int(now.timestamp())
        )
    except oidc.ProviderError as refused:
        return _form(context, target, str(refused), HTTPStatus.BAD_GATEWAY)
    with context.transaction() as session:
        user = oidc.welcome(session, context.tenant, stranger, now)
        opened = sessions.open_session(session, user, "oidc", now) if user.disabled_at is None else None
    if opened is None:
        return _form(context, target, "An admin has closed this account.", HTTPStatus.FORBIDDEN)
    answer = _go_in(context, request, opened, target)
    answer.delete_cookie(STATE_COOKIE, path="/signin")
    return answer


@identity_router.get("/me", responses=responses(HTTPStatus.UNAUTHORIZED))
def who_am_i(caller: Caller) -> IdentityAnswer:
    """Tell who you are and what you may do."""
    return IdentityAnswer(
        tenant=caller.tenant,
        actor=caller.actor,
        kind=caller.kind,
        roles=sorted(caller.roles),
        permissions=sorted(caller.permissions),
    )


def is_https(context: ApiContext, request: Request) -> bool:
    """Tell whether the browser speaks TLS, to us or to a proxy before us."""
    return (context.public_url or str(request.base_url)).startswith("https://")


def _callback(context: ApiContext, request: Request) -> str:
    return (context.public_url or str(request.base_url)).rstrip("/") + CALLBACK


def _go_in(context: ApiContext, request: Request, opened: SignedIn, target: str) -> Response:
    answer = RedirectResponse(safe_target(target), HTTPStatus.SEE_OTHER)
    secure = is_https(context, request)
    answer.set_cookie(
        SECURE_COOKIE if secure else COOKIE, opened.token, path="/", secure=secure, httponly=True, samesite="lax"
    )
    return answer


def _form(
    context: ApiContext, target: str, told: str = "", status: HTTPStatus = HTTPStatus.OK, name: str = ""
) -> HTMLResponse:
    page = render(
        "signin.html",
        tenant=context.tenant,
        target=safe_target(target),
        told=told,
        name=name,
        provider=context.provider is not None,
        caller=None,
        refresh=None,
    )
    return HTMLResponse(page, status)
