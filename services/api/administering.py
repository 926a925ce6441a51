"""``/v1``: users, keys for machines, and the audit."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from services.adapters.postgres import audit
from services.api.admin_models import (
    AuditAnswer,
    AuditQuery,
    ChainAnswer,
    DisabledRequest,
    IssuedKeyAnswer,
    KeyAnswer,
    KeyRequest,
    PasswordRequest,
    RolesRequest,
    UserAnswer,
    UserName,
    UserRequest,
)
from services.api.context import Context  # noqa: TC001 - FastAPI reads annotations at run time
from services.api.guard import Caller  # noqa: TC001 - as above
from services.api.models import PageOf, Paging, RecordId
from services.api.problems import responses
from services.identity import keys, people

router = APIRouter(prefix="/v1", tags=["administration"])
_MISSING = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@router.get("/users", responses=responses())
def list_users(context: Context, caller: Caller) -> PageOf[UserAnswer]:
    """List every user, by name."""
    with context.transaction() as session:
        return PageOf(items=[UserAnswer.model_validate(row) for row in people.list_users(session, caller.tenant)])


@router.post("/users", status_code=HTTPStatus.CREATED, responses=responses(HTTPStatus.CONFLICT))
def post_user(context: Context, caller: Caller, body: UserRequest) -> UserAnswer:
    """Add a person who signs in by password."""
    with context.transaction() as session:
        row = people.add_user(
            session,
            caller.tenant,
            body.name,
            roles=body.roles,
            password=body.password.get_secret_value(),
            by=caller.actor,
            now=context.now(),
        )
        return UserAnswer.model_validate(row)


@router.put("/users/{name}/roles", responses=_MISSING)
def put_roles(context: Context, caller: Caller, name: UserName, body: RolesRequest) -> UserAnswer:
    """Give a person these roles and no others."""
    with context.transaction() as session:
        row = people.set_roles(session, caller.tenant, name, body.roles, by=caller.actor, now=context.now())
        return UserAnswer.model_validate(row)


@router.put("/users/{name}/password", responses=_MISSING)
def put_password(context: Context, caller: Caller, name: UserName, body: PasswordRequest) -> UserAnswer:
    """Set a password; the person's sessions end."""
    with context.transaction() as session:
        password = body.password.get_secret_value()
        row = people.set_password(session, caller.tenant, name, password, by=caller.actor, now=context.now())
        return UserAnswer.model_validate(row)


@router.put("/users/{name}/disabled", responses=_MISSING)
def put_disabled(context: Context, caller: Caller, name: UserName, body: DisabledRequest) -> UserAnswer:
    """Let a person in no more, at once, or again."""
    with context.transaction() as session:
        row = people.set_disabled(
            session, caller.tenant, name, disabled=body.disabled, by=caller.actor, now=context.now()
        )
        return UserAnswer.model_validate(row)


@router.get("/keys", responses=responses())
def list_keys(context: Context, caller: Caller, query: Annotated[Paging, Query()]) -> PageOf[KeyAnswer]:
    """List keys for machines, newest first."""
    with context.transaction() as session:
        page = keys.list_keys(session, caller.tenant, limit=query.limit, cursor=query.cursor)
        return PageOf(items=[KeyAnswer.model_validate(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/keys", status_code=HTTPStatus.CREATED, responses=responses())
def post_key(context: Context, caller: Caller, body: KeyRequest) -> IssuedKeyAnswer:
    """Make a key. The answer holds it; nothing else ever will."""
    with context.transaction() as session:
        row, key = keys.issue_key(
            session,
            caller.tenant,
            body.name,
            scopes=body.scopes,
            # An admin answers for keys that do what admins themselves do not, so that no person's roles are lent out.
            allowed=keys.FOR_MACHINES,
            expires_at=body.expires_at,
            by=caller.actor,
            now=context.now(),
        )
        return IssuedKeyAnswer(**KeyAnswer.model_validate(row).model_dump(), key=key)


@router.post("/keys/{key_id}/revoke", responses=responses(HTTPStatus.NOT_FOUND))
def revoke_key(context: Context, caller: Caller, key_id: RecordId) -> KeyAnswer:
    """End a key from now on; again changes nothing."""
    with context.transaction() as session:
        row = keys.revoke_key(session, caller.tenant, key_id, by=caller.actor, now=context.now())
        return KeyAnswer.model_validate(row)


@router.get("/audit", responses=responses())
def list_audit(context: Context, caller: Caller, query: Annotated[AuditQuery, Query()]) -> PageOf[AuditAnswer]:
    """List acts, newest first."""
    with context.transaction() as session:
        page = audit.list_acts(
            session,
            caller.tenant,
            subject=query.subject,
            actor=query.actor,
            limit=query.limit,
            cursor=query.cursor,
        )
        return PageOf(items=[AuditAnswer.from_row(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/audit/verification", responses=responses())
def verify_audit(context: Context, caller: Caller) -> ChainAnswer:
    """Walk the whole chain of the audit."""
    with context.transaction() as session:
        found = audit.verify(session, caller.tenant)
    return ChainAnswer(
        whole=found.whole, rows=found.rows, head=found.head, broken_at=found.broken_at, reason=found.reason
    )
