"""Sign-ins that a provider has not answered yet: remembered once, taken once, forgotten after ten minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete

from services.adapters.postgres.identity_tables import PendingSignInRow
from services.identity import tokens

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from services.identity.oidc import Begun

LIFETIME: Final = timedelta(minutes=10)


def remember(session: Session, tenant: str, begun: Begun, target: str, now: datetime) -> None:
    """Keep what the provider's answer will be held against, and forget what is too old."""
    session.execute(delete(PendingSignInRow).where(PendingSignInRow.created_at <= now - LIFETIME))
    session.add(
        PendingSignInRow(
            tenant=tenant,
            state=tokens.digest(begun.state),
            nonce=begun.nonce,
            verifier=begun.verifier,
            target=target,
            created_at=now,
        )
    )


def take(session: Session, tenant: str, state: str, now: datetime) -> tuple[str, str, str] | None:
    """Give nonce, verifier and target of a sign-in, once; None where there is none, or it is too old."""
    row = session.execute(
        delete(PendingSignInRow)
        .where(
            PendingSignInRow.tenant == tenant,
            PendingSignInRow.state == tokens.digest(state),
            PendingSignInRow.created_at > now - LIFETIME,
        )
        .returning(PendingSignInRow.nonce, PendingSignInRow.verifier, PendingSignInRow.target)
    ).one_or_none()
    return (row.nonce, row.verifier, row.target) if row is not None else None
