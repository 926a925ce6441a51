"""Monthly partitions: made ahead and on demand, dropped whole when nothing in them is young.

The work is done by two functions in the database that run as the tables' owner and know these tables only, so that
the processes need no right to create or drop anything.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

PARTITIONED: Final = ("evidence", "alert_revisions", "audit")
EXPIRING: Final = ("evidence", "alert_revisions")  # The audit stays.
MONTHS_AHEAD: Final = 2

_ENSURE: Final = text("SELECT stillwatch_ensure_partition(:parent, CAST(:month AS date))")
_DROP: Final = text("SELECT stillwatch_drop_partitions(:parent, :before)")


def month_of(moment: datetime) -> datetime:
    """Give the first moment of the month, UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def ensure_months(connection: Connection, parents: Iterable[str], moments: Iterable[datetime]) -> None:
    """Make the partitions that rows of these moments need. Cheap where they exist; part of the open transaction."""
    months = sorted({month_of(moment) for moment in moments})
    for parent in parents:
        for month in months:
            connection.execute(_ENSURE, {"parent": parent, "month": month.date()})


def ensure_ahead(connection: Connection, now: datetime, months: int = MONTHS_AHEAD) -> None:
    """Make this month's partitions and those of the coming ones."""
    wanted = [month_of(now)]
    for _ in range(months):
        wanted.append(month_of(wanted[-1] + timedelta(days=32)))
    ensure_months(connection, PARTITIONED, wanted)


def drop_expired(connection: Connection, now: datetime, retention_days: int) -> list[str]:
    """Drop partitions that ended, and whose rows were all stored, more than ``retention_days`` ago; give their names.

    A row that was stored lately stays even where its event is old: an old trace replayed today can be read today.
    """
    before = now - timedelta(days=retention_days)
    dropped: list[str] = []
    for parent in EXPIRING:
        names = connection.execute(_DROP, {"parent": parent, "before": before}).scalars().all()
        dropped.extend(names)
    return dropped
