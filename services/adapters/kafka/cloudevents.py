"""CloudEvents in Kafka's binary mode: the attributes are headers, the value is the data."""

from __future__ import annotations


def event_headers(kind: str, *, event_id: str, source: str, time: str) -> dict[str, str]:
    """Give the headers of one record. ``event_id`` is its idempotency key, ``time`` RFC 3339."""
    return {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": source,
        "ce_type": kind,
        "ce_time": time,
        "content-type": "application/json",
    }
