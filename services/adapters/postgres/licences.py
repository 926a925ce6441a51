"""Who is entitled at a moment, as the database knows it: in grace too, and who was until lately."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from services.adapters.postgres.tables import EntitlementRow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from detection.policy.decisions import Licence


def licences_of(
    session: Session, tenant: str, subjects: Iterable[str], now: datetime, lapse_ms: int = 0
) -> dict[str, Licence]:
    """Give what is known of accounts and organisations; who is not in it has and had no entitlement.

    ``lapsed`` is who was entitled, grace included, until less than ``lapse_ms`` ago and was not revoked.
    """
    rows = session.scalars(
        select(EntitlementRow).where(
            EntitlementRow.tenant == tenant,
            EntitlementRow.subject.in_(sorted(set(subjects))),
            EntitlementRow.valid_from <= now,
            EntitlementRow.revoked_at.is_(None),
        )
    )
    found: dict[str, Licence] = {}
    for row in rows:
        end = row.valid_until + timedelta(milliseconds=row.grace_ms)
        if now < end:
            found[row.subject] = "entitled"
        elif now < end + timedelta(milliseconds=lapse_ms):
            found.setdefault(row.subject, "lapsed")
    return found


def strongest(known: dict[str, Licence], names: Iterable[str]) -> Licence:
    """Give the best that one of these names has: an account's own licence or its organisation's."""
    held = {known[name] for name in names if name in known}
    if "entitled" in held:
        return "entitled"
    return "lapsed" if "lapsed" in held else "none"
