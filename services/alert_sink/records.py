"""From a record of the alerts topic to what the database stores, or the reason why not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.alert import decode_alert
from services.adapters.postgres.alert_store import Incoming
from services.adapters.postgres.moments import read_moment

if TYPE_CHECKING:
    from schemas.alert import Alert
    from schemas.dead_letter import Reason

SCHEMA: Final = "alert.v1"
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that no retry can store. ``detail`` is our words for the shape of the failure, never a value."""

    reason: Reason
    detail: str


def read_record(key: bytes | None, value: bytes | None) -> Incoming | Rejected:
    """Read one record; it must be an Alert v1 that PostgreSQL can hold, under its own id as the key."""
    if not value:
        return Rejected("empty", "the record has no bytes")
    try:
        alert = decode_alert(value)
    except msgspec.ValidationError as error:
        return _name_invalid(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Rejected("not_json", "the record is not JSON")
    if key != alert.alert_id.encode():
        return Rejected("null_key" if key is None else "key_mismatch", "the key is not the alert_id")
    try:
        return _storable(alert, value)
    except (ValueError, OverflowError):
        return Rejected("schema", "a time is not RFC 3339 with a zone, or a number or a text is none that can be kept")


def _storable(alert: Alert, value: bytes) -> Incoming:
    """Read what the contract leaves to text; raises ValueError or OverflowError where PostgreSQL could not hold it."""
    if rb"\u0000" in value:
        raise ValueError("PostgreSQL's text cannot hold the character 0")
    numbers = [alert.revision, alert.requests, *(member.requests for member in alert.members)]
    numbers += [number for row in alert.findings for number in (row.hop, row.customers, row.requests)]
    if alert.revision < 0 or max(map(abs, numbers)) > _LARGEST:
        raise OverflowError("a count is out of range")
    for member in alert.members:
        read_moment(member.since)
    return Incoming(alert, value, read_moment(alert.event_time), read_moment(alert.updated_time))


def _name_invalid(message: str) -> Rejected:
    """Tell the failure by its path: the message quotes values of tags, and a record may hold anything."""
    path = message.rpartition(" - at `")[2].rstrip("`") if " - at `" in message else "$"
    if "Invalid value" in message and path == "$.type":
        return Rejected("unknown_version", f"the type is not {SCHEMA}")
    return Rejected("schema", f"not valid at {path.split('[', 1)[0][:80]}")
