"""The audit: who did what to what, before and after. Rows are added in the act's own transaction and never change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from services.adapters.postgres.partitions import ensure_months
from services.adapters.postgres.tables import AuditRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection


def append(
    connection: Connection,
    *,
    tenant: str,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add one act to the open transaction. ``subject`` is a kind and an id, as in "alert/0123456789abcdef"."""
    ensure_months(connection, ("audit",), (at,))
    connection.execute(
        # Inline: asking for the id back would need a right to read the table.
        insert(AuditRow)
        .inline()
        .values(
            tenant=tenant,
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            before=dict(before) if before is not None else None,
            after=dict(after) if after is not None else None,
        )
    )
