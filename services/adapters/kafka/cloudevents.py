"""CloudEvents in Kafka's binary mode: the attributes are headers, the value is the data."""

from __future__ import annotations


def event_headers(kind: str, *, event_id: str, source: str, time: str | None = None) -> dict[str, str | bytes | None]:
    """Give the headers of one record. ``event_id`` is its idempotency key, ``time`` RFC 3339."""
    headers: dict[str, str | bytes | None] = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": source,
        "ce_type": kind,
        "content-type": "application/json",
    }
    return headers if time is None else headers | {"ce_time": time}
