"""Moments between the wire and the database: RFC 3339 in UTC, milliseconds, and datetimes with a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_moment(value: str) -> datetime:
    """Read RFC 3339 into UTC; raises ValueError where it is none or has no zone."""
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone")
    return moment.astimezone(UTC)


def format_moment(moment: datetime) -> str:
    """Write RFC 3339 in UTC with milliseconds, as in 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_unix_ms(moment: datetime) -> int:
    """Count milliseconds since the epoch, rounded down."""
    return (moment - EPOCH) // timedelta(milliseconds=1)
