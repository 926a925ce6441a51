"""Sessions of browsers: opened by a password or by a provider, ended by idleness, by age, by hand or by an admin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import delete, select

from services.adapters.postgres import audit
from services.adapters.postgres.identity_tables import SessionRow, UserRow
from services.errors import StillwatchError
from services.identity import limits, tokens
from services.identity.passwords import hash_password, needs_rehash, verify_password
from services.identity.principal import Principal
from services.identity.roles import permissions_of

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session as Database

# A row is touched once a minute, not with every request.
_TOUCH: Final = timedelta(minutes=1)


class SignInError(StillwatchError):
    """The name or the password is wrong, or the user is disabled: which of them is not told."""

    hint = "Try again, or ask an admin."


@dataclass(frozen=True, slots=True)
class Limits:
    """A session ends after ``idle`` without a request, and ``absolute`` after it began."""

    idle: timedelta
    absolute: timedelta


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The cookie's token, which nobody else has, and who it stands for."""

    token: str
    principal: Principal


def sign_in(
    engine: Engine, tenant: str, name: str, password: str, *, address: str, secret: bytes, now: datetime
) -> SignedIn:
    """Open a session by password; raises SignInError or TooManyFailuresError.

    Transactions of its own: a failure is counted although the sign-in comes to nothing, and no connection is held
    while the password is hashed.
    """
    from sqlalchemy.orm import Session  # noqa: PLC0415 - at run time here only

    counted = limits.subjects(secret, name, address)
    with Session(engine) as database, database.begin():
        limits.require_below(database, tenant, counted, now)
        found = database.scalars(select(UserRow).where(UserRow.tenant == tenant, UserRow.name == name)).one_or_none()
        user_id, kept = (found.user_id, found.password) if found is not None else (None, None)
    good = verify_password(password, kept)
    with Session(engine, expire_on_commit=False) as database, database.begin():
        user = database.get(UserRow, (tenant, user_id), with_for_update=True) if good and user_id else None
        if user is not None and user.disabled_at is None:
            if user.password is not None and needs_rehash(user.password):
                user.password = hash_password(password)
            limits.forget(database, tenant, counted, now)
            return open_session(database, user, "password", now)
        limits.count_failure(database, tenant, counted, now)
        subject = f"user/{name}" if found is not None else "user/unknown"
        audit.append(
            database.connection(), tenant=tenant, at=now, actor="anonymous", action="session.refused", subject=subject
        )
    raise SignInError("the name or the password is wrong")


def open_session(database: Database, user: UserRow, method: Literal["password", "oidc"], now: datetime) -> SignedIn:
    """Open a session in the open transaction. A new token each time: one that was planted before is worth nothing."""
    token = tokens.new_token()
    row = SessionRow(
        tenant=user.tenant,
        digest=tokens.digest(token),
        user_id=user.user_id,
        method=method,
        created_at=now,
        seen_at=now,
    )
    database.add(row)
    database.flush()
    audit.append(
        database.connection(),
        tenant=user.tenant,
        at=now,
        actor=user.name,
        action="session.opened",
        subject=f"user/{user.name}",
        after={"method": method},
    )
    return SignedIn(token, _principal(user, token))


def find_session(database: Database, token: str, bounds: Limits, now: datetime) -> Principal | None:
    """Give who a cookie stands for; None where there is no such session, or it has ended, or the user is disabled."""
    row = database.execute(
        select(SessionRow, UserRow)
        .join(UserRow, (UserRow.tenant == SessionRow.tenant) & (UserRow.user_id == SessionRow.user_id))
        .where(
            SessionRow.digest == tokens.digest(token),
            SessionRow.seen_at > now - bounds.idle,
            SessionRow.created_at > now - bounds.absolute,
            UserRow.disabled_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    session, user = row
    if session.seen_at <= now - _TOUCH:
        session.seen_at = now
    return _principal(user, token)


def end_session(database: Database, token: str, now: datetime) -> None:
    """Sign out; again changes nothing."""
    ended = database.execute(
        delete(SessionRow)
        .where(SessionRow.digest == tokens.digest(token))
        .returning(SessionRow.tenant, SessionRow.user_id)
    ).one_or_none()
    if ended is None:
        return
    user = database.get(UserRow, (ended.tenant, ended.user_id))
    name = user.name if user is not None else ended.user_id
    audit.append(
        database.connection(),
        tenant=ended.tenant,
        at=now,
        actor=name,
        action="session.ended",
        subject=f"user/{name}",
    )


def purge_sessions(database: Database, bounds: Limits, now: datetime) -> int:
    """Delete the rows of sessions that have ended by age; give their number."""
    over = (SessionRow.seen_at <= now - bounds.idle) | (SessionRow.created_at <= now - bounds.absolute)
    return len(database.execute(delete(SessionRow).where(over).returning(SessionRow.digest)).all())


def _principal(user: UserRow, token: str) -> Principal:
    return Principal(
        tenant=user.tenant,
        actor=user.name,
        kind="user",
        roles=frozenset(user.roles),
        permissions=permissions_of(user.roles),
        csrf=tokens.csrf_of(token),
    )
