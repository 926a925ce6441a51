"""The outbox: records for topics, written in the transaction of what they tell.

Order is kept for each (topic, key): only the oldest pending row of a key may be taken, and writers of one key hold a
lock until they commit (the alert's row, or an entitlement subject's advisory lock), so that ids rise in commit order.
An insert wakes listeners of ``CHANNEL`` by a trigger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, insert, select, text, update

from services.adapters.postgres.tables import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

CHANNEL: Final = "stillwatch_outbox"


@dataclass(frozen=True, slots=True)
class Pending:
    """One row to relay, as the topic will have it."""

    id: int
    topic: str
    key: str
    value: bytes
    headers: Mapping[str, Any]


_TAKE: Final = text("""
    SELECT id, topic, key, value, headers
      FROM outbox AS candidate
     WHERE relayed_at IS NULL
       AND tenant = :tenant
       AND NOT EXISTS (
           SELECT 1 FROM outbox AS earlier
            WHERE earlier.relayed_at IS NULL
              AND earlier.tenant = candidate.tenant
              AND earlier.topic = candidate.topic
              AND earlier.key = candidate.key
              AND earlier.id < candidate.id)
     ORDER BY id
     LIMIT :limit
       FOR UPDATE SKIP LOCKED
""")


def append(
    connection: Connection, *, tenant: str, topic: str, key: str, value: bytes, headers: Mapping[str, Any], at: datetime
) -> None:
    """Add one record to the open transaction."""
    connection.execute(
        # Inline: asking for the id back would need a right to read the table.
        insert(OutboxRow)
        .inline()
        .values(tenant=tenant, topic=topic, key=key, value=value, headers=dict(headers), created_at=at)
    )


def take(connection: Connection, tenant: str, limit: int) -> list[Pending]:
    """Lock and give the oldest pending row of each key, oldest first; rows that another relay holds are passed over."""
    rows = connection.execute(_TAKE, {"tenant": tenant, "limit": limit})
    return [Pending(row.id, row.topic, row.key, bytes(row.value), row.headers) for row in rows]


def mark_relayed(connection: Connection, ids: Sequence[int], at: datetime) -> None:
    """Note that the broker has acknowledged these rows."""
    connection.execute(update(OutboxRow).where(OutboxRow.id.in_(ids)).values(relayed_at=at))


def count_pending(connection: Connection, tenant: str) -> int:
    """Count the rows that no topic has yet."""
    pending = OutboxRow.relayed_at.is_(None)
    counted = select(func.count()).select_from(OutboxRow).where(pending, OutboxRow.tenant == tenant)
    return connection.execute(counted).scalar_one()


def oldest_pending(connection: Connection, tenant: str) -> datetime | None:
    """Give when the oldest row that no topic has yet was written; None where there is none."""
    oldest = select(func.min(OutboxRow.created_at)).where(OutboxRow.relayed_at.is_(None), OutboxRow.tenant == tenant)
    return connection.execute(oldest).scalar_one()


def purge(connection: Connection, tenant: str, before: datetime) -> int:
    """Delete rows that were relayed before this moment; give their number."""
    return connection.execute(
        delete(OutboxRow).where(OutboxRow.tenant == tenant, OutboxRow.relayed_at < before)
    ).rowcount
