"""CloudEvents 1.0 headers of a Kafka record in binary mode: what it is, whose it is, when it happened.

The record's key is the event's ``partitionkey``; ``ce_id`` is the idempotency key.
"""

from __future__ import annotations

from detection.ids import rfc3339

Headers = list[tuple[str, str | bytes | None]]
CONTENT_TYPE = "application/json"


def cloud_event_headers(event_id: str, source: str, event_type: str, time_ms: int) -> Headers:
    """Give the headers. ``source`` is a URI reference (``/gateway/litellm``); ``event_type`` the schema's tag."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", f"stillwatch.{event_type}".encode()),
        ("ce_time", rfc3339(time_ms).encode()),
        ("content-type", CONTENT_TYPE.encode()),
    ]
