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
