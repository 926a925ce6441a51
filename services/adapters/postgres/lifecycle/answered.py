"""Idempotency keys: a request that comes again under its key gets the answer it had, and does nothing more.

The key's row is written first, in the act's own transaction: the same request in flight twice waits for itself.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from services.adapters.postgres.lifecycle_tables import AnsweredRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.adapters.postgres.lifecycle.acts import By

KEPT: Final = timedelta(days=2)


class KeyReusedError(StillwatchError):
    """The idempotency key belongs to another request; nothing was written."""

    hint = "Use a new key for a new request."


def begin(session: Session, by: By, key: str, digest: str) -> dict[str, Any] | None:
    """Take the key, or give the answer that it has had; raises KeyReusedError where it was for another request."""
    row = insert(AnsweredRow).values(
        tenant=by.tenant, actor=by.actor, idempotency_key=key, digest=digest, answer=None, at=by.now
    )
    if session.execute(row.on_conflict_do_nothing().returning(AnsweredRow.digest)).one_or_none() is not None:
        return None
    found = session.execute(
        select(AnsweredRow.digest, AnsweredRow.answer).where(
            AnsweredRow.tenant == by.tenant, AnsweredRow.actor == by.actor, AnsweredRow.idempotency_key == key
        )
    ).one()
    if found.digest != digest:
        raise KeyReusedError("this idempotency key was used for another request")
    answer: dict[str, Any] = found.answer
    return answer


def finish(session: Session, by: By, key: str, answer: dict[str, Any]) -> None:
    """Keep the answer for a request that comes again, and forget those that are too old."""
    session.execute(
        update(AnsweredRow)
        .where(AnsweredRow.tenant == by.tenant, AnsweredRow.actor == by.actor, AnsweredRow.idempotency_key == key)
        .values(answer=answer)
    )
    session.execute(delete(AnsweredRow).where(AnsweredRow.tenant == by.tenant, AnsweredRow.at < by.now - KEPT))
