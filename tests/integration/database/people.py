"""People of every role, signed in: clients whose cookie and page token are right, without the cost of a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from sqlalchemy.orm import Session

from services.adapters.postgres.identity_tables import UserRow
from services.api.guard import COOKIE
from services.identity.sessions import open_session
from services.identity.tokens import csrf_of
from tests.integration.database.samples import NOW

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine


def session_of(engine: Engine, tenant: str, name: str, *roles: str, now: datetime = NOW) -> str:
    """Make a person where there is none, and sign them in; gives the cookie's token."""
    with Session(engine) as database, database.begin():
        user = database.get(UserRow, (tenant, f"id-{name}"))
        if user is None:
            user = UserRow(
                tenant=tenant,
                user_id=f"id-{name}",
                name=name,
                roles=list(roles),
                issuer="https://nobody.example",
                provider_subject=name,
                created_at=now,
                created_by="test",
            )
            database.add(user)
            database.flush()
        return open_session(database, user, "oidc", now).token


def headers_of(token: str) -> dict[str, str]:
    """Give what a page of ours sends with every request."""
    return {"Cookie": f"{COOKIE}={token}", "X-CSRF-Token": csrf_of(token)}


def client_of(url: str, token: str) -> httpx.Client:
    """Open a client that is signed in."""
    return httpx.Client(base_url=url, headers=headers_of(token), timeout=60)
