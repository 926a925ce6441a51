"""The sign-in limiter: failures are counted by name and by address, in the database, so that restarts forget nothing.

A name is locked for the rest of its window after ``NAME_FAILURES``; an address, behind which a whole office may sit,
after ``ADDRESS_FAILURES``. A name that does not exist is counted like one that does.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import case, delete, select
from sqlalchemy.dialects.postgresql import insert

from services.adapters.postgres.identity_tables import SignInFailureRow
from services.errors import StillwatchError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

WINDOW: Final = timedelta(minutes=15)
NAME_FAILURES: Final = 8
ADDRESS_FAILURES: Final = 40


class TooManyFailuresError(StillwatchError):
    """Too many failed sign-ins."""

    hint = "Wait a quarter of an hour."


def subjects(secret: bytes, name: str, address: str) -> dict[bytes, int]:
    """Give what is counted for a sign-in, each with its limit; neither name nor address can be read back."""

    def keyed(kind: str, value: str) -> bytes:
        return hmac.new(secret, f"sign-in/{kind}/{value}".encode(), hashlib.sha256).digest()

    return {keyed("name", name): NAME_FAILURES, keyed("address", address): ADDRESS_FAILURES}


def require_below(session: Session, tenant: str, counted: dict[bytes, int], now: datetime) -> None:
    """Raise TooManyFailuresError where one of these has failed too often of late."""
    rows = session.scalars(
        select(SignInFailureRow).where(
            SignInFailureRow.tenant == tenant,
            SignInFailureRow.subject.in_(counted),
            SignInFailureRow.window_start > now - WINDOW,
        )
    )
    if any(row.failures >= counted[bytes(row.subject)] for row in rows):
        raise TooManyFailuresError("too many sign-ins have failed")


def count_failure(session: Session, tenant: str, counted: dict[bytes, int], now: datetime) -> None:
    """Count one failure for each of these."""
    for subject in sorted(counted):
        row = insert(SignInFailureRow).values(tenant=tenant, subject=subject, window_start=now, failures=1)
        stale = SignInFailureRow.window_start <= now - WINDOW
        session.execute(
            row.on_conflict_do_update(
                index_elements=["tenant", "subject"],
                set_={
                    "failures": case((stale, 1), else_=SignInFailureRow.failures + 1),
                    "window_start": case((stale, now), else_=SignInFailureRow.window_start),
                },
            )
        )


def forget(session: Session, tenant: str, counted: dict[bytes, int], now: datetime) -> None:
    """Forget a name's failures after a good sign-in, and whatever is older than the window."""
    names = [subject for subject, limit in counted.items() if limit == NAME_FAILURES]
    session.execute(
        delete(SignInFailureRow).where(
            SignInFailureRow.tenant == tenant,
            SignInFailureRow.subject.in_(names) | (SignInFailureRow.window_start <= now - WINDOW),
        )
    )
