"""Keys for machines: shown once, kept as a digest, allowed a closed set of permissions, ended by date or by hand."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final, get_args

from sqlalchemy import select

from services.adapters.postgres import audit
from services.adapters.postgres.cursors import Order, read_page
from services.adapters.postgres.identity_tables import ApiKeyRow
from services.errors import StillwatchError
from services.identity import tokens
from services.identity.principal import Principal
from services.identity.roles import Permission

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from services.adapters.postgres.cursors import Page

LONGEST: Final = timedelta(days=400)
_TOUCH: Final = timedelta(minutes=1)
# Machines approve nothing and make nobody mighty: those acts need a person who answers for them.
FOR_MACHINES: Final[frozenset[Permission]] = frozenset(get_args(Permission)) - {
    "entitlements.approve",
    "decisions.approve",
    "detection.publish",
    "users.manage",
    "keys.manage",
}


class UnknownKeyError(StillwatchError):
    """There is no such key."""

    hint = "`stillwatch api-keys list` shows those that there are."


class BadKeyError(StillwatchError):
    """The key cannot be made as asked."""

    hint = f"Scopes: {', '.join(sorted(FOR_MACHINES))}; at most those of who makes it; at most 400 days."


def issue_key(
    session: Session,
    tenant: str,
    name: str,
    *,
    scopes: Iterable[str],
    allowed: Iterable[str],
    expires_at: datetime,
    by: str,
    now: datetime,
) -> tuple[ApiKeyRow, str]:
    """Make a key; give its row and the key itself, which cannot be had again. Raises BadKeyError."""
    wanted = set(scopes)
    if not wanted or not wanted <= FOR_MACHINES & set(allowed) or not now < expires_at <= now + LONGEST:
        raise BadKeyError("the key cannot be made")
    key = tokens.KEY_PREFIX + tokens.new_token()
    row = ApiKeyRow(
        tenant=tenant,
        key_id=uuid.uuid4().hex[:16],
        name=name,
        digest=tokens.digest(key),
        scopes=sorted(wanted),
        created_at=now,
        created_by=by,
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    _tell(session, row, "key.issued", by, now)
    return row, key


def find_key(session: Session, key: str, now: datetime) -> Principal | None:
    """Give who a key stands for; None where it is none, has expired or was revoked."""
    row = session.scalars(
        select(ApiKeyRow).where(
            ApiKeyRow.digest == tokens.digest(key), ApiKeyRow.revoked_at.is_(None), ApiKeyRow.expires_at > now
        )
    ).one_or_none()
    if row is None:
        return None
    if row.used_at is None or row.used_at <= now - _TOUCH:
        row.used_at = now
    return Principal(
        tenant=row.tenant,
        actor=f"key:{row.key_id}",
        kind="key",
        roles=frozenset(),
        permissions=FOR_MACHINES.intersection(row.scopes),
    )


def list_keys(session: Session, tenant: str, *, limit: int = 50, cursor: str | None = None) -> Page[ApiKeyRow]:
    """Give a page of keys, newest first, ended ones too; raises CursorError."""
    rows = select(ApiKeyRow).where(ApiKeyRow.tenant == tenant)
    return read_page(session, rows, Order(ApiKeyRow, "created_at", "key_id"), limit=limit, cursor=cursor)


def revoke_key(session: Session, tenant: str, key_id: str, *, by: str, now: datetime) -> ApiKeyRow:
    """End a key from now on; again changes nothing. Raises UnknownKeyError."""
    row = session.get(ApiKeyRow, (tenant, key_id), with_for_update=True)
    if row is None:
        raise UnknownKeyError(f"there is no key {key_id}")
    if row.revoked_at is None:
        row.revoked_at, row.revoked_by = now, by
        session.flush()
        _tell(session, row, "key.revoked", by, now)
    return row


def _tell(session: Session, row: ApiKeyRow, action: str, by: str, now: datetime) -> None:
    audit.append(
        session.connection(),
        tenant=row.tenant,
        at=now,
        actor=by,
        action=action,
        subject=f"key/{row.key_id}",
        after={"name": row.name, "scopes": list(row.scopes), "revoked": row.revoked_at is not None},
    )
