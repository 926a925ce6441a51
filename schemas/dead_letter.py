"""DeadLetter v1: a record that could not be counted, and why. It never holds the record's bytes: they may hold text.

The record itself stays in its source topic for that topic's retention; ``topic``, ``partition`` and ``offset`` find it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Reason = Literal[
    "not_json",
    "schema",
    "unknown_version",
    "null_key",
    "key_mismatch",
    "too_large",
    "time_in_future",
    "time_too_old",
    "bad_identifier",
    "bad_sketch",
    "empty",
]


class DeadLetter(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="dead_letter.v1"
):
    """``detail`` is our own words about the shape of the failure, never a value taken from the record."""

    topic: str
    partition: int
    offset: int
    reason: Reason
    detail: str
    schema: str  # The schema that was expected, for example "request.v1".
    size: int  # Bytes.
    time_unix_ms: int  # The broker's append time.
    job: str


def name_failure(error: Exception, value: bytes | None) -> tuple[Reason, str]:
    """Name a decoder's failure by its path and never by a value: msgspec quotes values of tags, which may hold text."""
    if not value:
        return "empty", "the record has no bytes"
    if not isinstance(error, msgspec.ValidationError):
        return "not_json", "the record is not JSON"
    message = str(error)
    field = message.rpartition(" - at `")[2].rstrip("`").split("[", 1)[0][:80] if " - at `" in message else "$"
    if "Invalid value" in message and field == "$.type":
        return "unknown_version", "the type is not the expected one"
    return "schema", f"not valid at {field}"
