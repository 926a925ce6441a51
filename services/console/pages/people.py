"""People and keys, for admins. A password or a key is shown on the page that answers its making, and never again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from services.api.admin_models import UserName  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.context import Context  # noqa: TC001 - as above
from services.api.models import RecordId  # noqa: TC001 - as above
from services.console.flash import told
from services.console.pages.acting import go
from services.console.rendering import render
from services.console.viewer import viewer_of
from services.errors import StillwatchError
from services.identity import keys, people
from services.identity.roles import ROLES
from services.identity.tokens import new_password

if TYPE_CHECKING:
    from services.api.context import ApiContext

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
HERE: Final = "/people"
LONGEST_DAYS: Final = 365


@router.get("/people", response_model=None)
def show_people(request: Request, context: Context) -> HTMLResponse:
    """Show people and keys."""
    return page(request, context)


@router.post("/people", response_model=None)
async def add_person(request: Request, context: Context) -> Response:
    """Add a person with a password made here."""
    form = await request.form()
    viewer = viewer_of(request)
    password = new_password()
    try:
        with context.transaction() as session:
            row = people.add_user(
                session,
                viewer.tenant,
                str(form.get("name", "")).strip(),
                roles=[str(role) for role in form.getlist("role")],
                password=password,
                by=viewer.name,
                now=context.now(),
            )
            name = row.name
    except StillwatchError as error:
        return go(told(HERE, refused=type(error).__name__))
    return page(request, context, {"what": f"The password of {name} is", "secret": password})


@router.post("/people/{name}/roles", response_model=None)
async def set_roles(request: Request, context: Context, name: UserName) -> Response:
    """Give a person these roles and no others."""
    form = await request.form()
    viewer = viewer_of(request)
    roles = [str(role) for role in form.getlist("role")]
    try:
        with context.transaction() as session:
            people.set_roles(session, viewer.tenant, name, roles, by=viewer.name, now=context.now())
    except StillwatchError as error:
        return go(told(HERE, refused=type(error).__name__))
    return go(told(HERE, done="roles"))


@router.post("/people/{name}/disable", response_model=None)
def disable(request: Request, context: Context, name: UserName) -> Response:
    """Let a person in no more."""
    viewer = viewer_of(request)
    try:
        with context.transaction() as session:
            people.set_disabled(session, viewer.tenant, name, disabled=True, by=viewer.name, now=context.now())
    except StillwatchError as error:
        return go(told(HERE, refused=type(error).__name__))
    return go(told(HERE, done="disabled"))


@router.post("/people-keys", response_model=None)
async def make_key(request: Request, context: Context) -> Response:
    """Make a key for a machine."""
    form = await request.form()
    viewer = viewer_of(request)
    days = str(form.get("days", ""))
    now = context.now()
    try:
        with context.transaction() as session:
            _, key = keys.issue_key(
                session,
                viewer.tenant,
                str(form.get("name", "")).strip(),
                scopes=[str(scope) for scope in form.getlist("scope")],
                allowed=keys.FOR_MACHINES,
                expires_at=now + timedelta(days=min(int(days), LONGEST_DAYS) if days.isdecimal() else 1),
                by=viewer.name,
                now=now,
            )
    except StillwatchError as error:
        return go(told(HERE, refused=type(error).__name__))
    return page(request, context, {"what": "The key is", "secret": key})


@router.post("/people-keys/{key_id}/revoke", response_model=None)
def revoke_key(request: Request, context: Context, key_id: RecordId) -> Response:
    """End a key from now on."""
    viewer = viewer_of(request)
    try:
        with context.transaction() as session:
            keys.revoke_key(session, viewer.tenant, key_id, by=viewer.name, now=context.now())
    except StillwatchError as error:
        return go(told(HERE, refused=type(error).__name__))
    return go(told(HERE, done="key_revoked"))


def page(request: Request, context: ApiContext, shown_once: dict[str, Any] | None = None) -> HTMLResponse:
    """Render the page, with a secret that was just made, or none."""
    viewer = viewer_of(request)
    with context.transaction() as session:
        users = people.list_users(session, viewer.tenant)
        machines = keys.list_keys(session, viewer.tenant, limit=100).rows if viewer.may("keys.manage") else []
    return render(
        request,
        "people.html",
        users=users,
        keys=machines,
        roles=ROLES,
        scopes=sorted(keys.FOR_MACHINES),
        shown_once=shown_once,
    )
