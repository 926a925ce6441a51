"""Users: made, changed, disabled. Each change ends the person's sessions where it takes a right away."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select

from services.adapters.postgres import audit
from services.adapters.postgres.identity_tables import SessionRow, UserRow
from services.errors import StillwatchError
from services.identity.passwords import hash_password
from services.identity.roles import ROLES
from services.identity.tokens import new_password

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

FIRST_ADMIN: Final = "admin"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


class UnknownUserError(StillwatchError):
    """There is no such user."""

    hint = "`stillwatch users list` shows those that there are."


class NameTakenError(StillwatchError):
    """Another user has this name."""

    hint = "Take another name; names of disabled users stay theirs, for the audit speaks of them."


class BadUserError(StillwatchError):
    """The name or a role cannot be used."""

    hint = f"Names: letters, digits and ._@+-, at most 100. Roles: {', '.join(ROLES)}."


class LastAdminError(StillwatchError):
    """Nobody could manage users any more."""

    hint = "Make somebody else an admin first."


def add_user(
    session: Session,
    tenant: str,
    name: str,
    *,
    roles: Iterable[str],
    password: str | None,
    by: str,
    now: datetime,
    issuer: str | None = None,
    provider_subject: str | None = None,
) -> UserRow:
    """Add a person in the open transaction; raises NameTakenError, BadUserError or WeakPasswordError."""
    wanted = _check_roles(roles)
    if not _NAME.fullmatch(name):
        raise BadUserError("the name cannot be used")
    if session.scalars(select(UserRow).where(UserRow.tenant == tenant, UserRow.name == name)).one_or_none():
        raise NameTakenError(f"there is a user {name} already")
    row = UserRow(
        tenant=tenant,
        user_id=uuid.uuid4().hex,
        name=name,
        password=hash_password(password) if password is not None else None,
        roles=wanted,
        issuer=issuer,
        provider_subject=provider_subject,
        created_at=now,
        created_by=by,
    )
    session.add(row)
    session.flush()
    _tell(session, row, "user.added", by, now, None)
    return row


def ensure_first_admin(session: Session, tenant: str, now: datetime) -> str | None:
    """Add a user ``admin`` with every role where the tenant has no user; give the password, which is kept nowhere."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"first-admin/{tenant}", 0))))
    if session.scalars(select(UserRow.user_id).where(UserRow.tenant == tenant).limit(1)).one_or_none() is not None:
        return None
    password = new_password()
    add_user(session, tenant, FIRST_ADMIN, roles=ROLES, password=password, by="first run", now=now)
    return password


def find_user(session: Session, tenant: str, name: str) -> UserRow:
    """Give a user by name; raises UnknownUserError."""
    row = session.scalars(select(UserRow).where(UserRow.tenant == tenant, UserRow.name == name)).one_or_none()
    if row is None:
        raise UnknownUserError(f"there is no user {name}")
    return row


def list_users(session: Session, tenant: str) -> Sequence[UserRow]:
    """Give every user of a tenant, by name, disabled ones too."""
    return session.scalars(select(UserRow).where(UserRow.tenant == tenant).order_by(UserRow.name)).all()


def set_roles(session: Session, tenant: str, name: str, roles: Iterable[str], *, by: str, now: datetime) -> UserRow:
    """Give a person these roles and no others; raises UnknownUserError, BadUserError or LastAdminError."""
    row = _lock(session, tenant, name)
    wanted = _check_roles(roles)
    before = describe(row)
    row.roles = wanted
    _require_an_admin(session, tenant)
    _tell(session, row, "user.roles_set", by, now, before)
    return row


def set_password(session: Session, tenant: str, name: str, password: str, *, by: str, now: datetime) -> UserRow:
    """Set a password and end the person's sessions; raises UnknownUserError or WeakPasswordError."""
    row = _lock(session, tenant, name)
    row.password = hash_password(password)
    end_sessions_of(session, row)
    _tell(session, row, "user.password_set", by, now, None)
    return row


def set_disabled(session: Session, tenant: str, name: str, *, disabled: bool, by: str, now: datetime) -> UserRow:
    """Let a person in no more, at once, or again; raises UnknownUserError or LastAdminError."""
    row = _lock(session, tenant, name)
    before = describe(row)
    row.disabled_at = (row.disabled_at or now) if disabled else None
    if disabled:
        _require_an_admin(session, tenant)
        end_sessions_of(session, row)
    _tell(session, row, "user.disabled" if disabled else "user.enabled", by, now, before)
    return row


def end_sessions_of(session: Session, row: UserRow) -> None:
    """End every session of a person."""
    session.execute(delete(SessionRow).where(SessionRow.tenant == row.tenant, SessionRow.user_id == row.user_id))


def describe(row: UserRow) -> dict[str, object]:
    """Give the row as the audit keeps it."""
    return {"name": row.name, "roles": list(row.roles), "disabled": row.disabled_at is not None}


def _lock(session: Session, tenant: str, name: str) -> UserRow:
    found = select(UserRow).where(UserRow.tenant == tenant, UserRow.name == name).with_for_update()
    row = session.scalars(found).one_or_none()
    if row is None:
        raise UnknownUserError(f"there is no user {name}")
    return row


def _check_roles(roles: Iterable[str]) -> list[str]:
    wanted = set(roles)
    if not wanted <= set(ROLES):
        raise BadUserError("a role cannot be used")
    return [role for role in ROLES if role in wanted]


def _require_an_admin(session: Session, tenant: str) -> None:
    """Raise where the change would leave nobody; admins of a tenant change one at a time."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"admins/{tenant}", 0))))
    session.flush()
    left = select(UserRow.user_id).where(
        UserRow.tenant == tenant, UserRow.disabled_at.is_(None), UserRow.roles.contains(["admin"])
    )
    if session.scalars(left.limit(1)).one_or_none() is None:
        raise LastAdminError("this is the last admin")


def _tell(
    session: Session, row: UserRow, action: str, by: str, now: datetime, before: dict[str, object] | None
) -> None:
    session.flush()
    audit.append(
        session.connection(),
        tenant=row.tenant,
        at=now,
        actor=by,
        action=action,
        subject=f"user/{row.name}",
        before=before,
        after=describe(row),
    )
