"""CloudEvents 1.0 on Kafka: headers of the binary mode, and reading of the structured mode, which inputs may use.

In binary mode the record's value is the event's data and the attributes are headers. ``ce_id`` is the idempotency key:
the same fact sent twice has the same id. The record's key is the partition key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec

from detection.ids import rfc3339
from detection.outcomes import Alert, Finding, SourceClosed
from schemas.account_attributes import AccountAttributes
from schemas.account_window import AccountWindow
from schemas.dead_letter import DeadLetter
from schemas.decision import Decision
from schemas.entitlement import Entitlement
from schemas.label import Label
from schemas.model_version import ModelVersion
from schemas.request_event import Heartbeat, RequestEvent

if TYPE_CHECKING:
    from schemas.records import WireRecord

Headers: TypeAlias = list[tuple[str, str | bytes | None]]  # As confluent-kafka takes them.
ReadHeaders: TypeAlias = Iterable[tuple[str, bytes | str | None]] | None

TYPE_PREFIX: Final = "ai.stillwatch."
CONTENT_TYPE: Final = "application/json"
STRUCTURED: Final = "application/cloudevents+json"
_SPEC: Final = ("ce_specversion", b"1.0")
_CONTENT: Final = ("content-type", CONTENT_TYPE.encode())


class CloudEvent(NamedTuple):
    """The attributes of one event. ``type`` is ours without its prefix (``request.v1``), or the sender's as it came."""

    id: str
    source: str
    type: str
    time: str  # RFC 3339; "" where the sender left it out.


def _digest(record: WireRecord) -> str:
    """Tell versions of a fact apart that has no revision of its own."""
    return hashlib.blake2b(msgspec.json.encode(record), digest_size=8).hexdigest()


# For each type: what makes the fact unique, and when it happened (RFC 3339 or ms; None: the time of sending).
_IDENTITY: Final[dict[type, Callable[[Any], tuple[str, str | int | None]]]] = {
    RequestEvent: lambda r: (r.event_id, r.time_unix_ms),
    Heartbeat: lambda r: (f"heartbeat.{r.time_unix_ms}", r.time_unix_ms),
    AccountAttributes: lambda r: (f"{r.account}.{_digest(r)}", None),
    AccountWindow: lambda r: (f"{r.account}.{r.hop}", r.hop_end_unix_ms),
    Finding: lambda r: (r.finding_id, r.event_time),
    SourceClosed: lambda r: (f"{r.job}.{r.partition}.{r.hop}", None),
    Alert: lambda r: (f"{r.alert_id}.{r.revision}", r.updated_time),
    Label: lambda r: (r.label_id, r.labelled_at),
    Decision: lambda r: (r.decision_id, r.issued_at),
    Entitlement: lambda r: (f"{r.entitlement_id}.{_digest(r)}", None),
    ModelVersion: lambda r: (f"{r.model}.{r.stage}.{r.version}", r.created_at),
    DeadLetter: lambda r: (f"{r.topic}.{r.partition}.{r.offset}", r.time_unix_ms),
}


def identity(record: WireRecord) -> str:
    """Give the record's ``ce_id``: equal for equal facts, whoever sends them and however often."""
    return _IDENTITY[type(record)](record)[0]


def binary_headers(record: WireRecord, source: str, sent_ms: int) -> Headers:
    """Build the headers of the binary mode.

    ``source`` names the sender, for example ``stillwatch/gateway``. ``sent_ms`` stands in as the time of records that
    say no time of their own.
    """
    key, moment = _IDENTITY[type(record)](record)
    time = moment if isinstance(moment, str) else rfc3339(sent_ms if moment is None else moment)
    return _headers(key, source, str(record.__struct_config__.tag), time)


def text_headers(record: WireRecord, source: str, sent_ms: int) -> dict[str, str]:
    """Build the headers of ``binary_headers`` as text, for a row that keeps them until they are sent."""
    return {
        name: value.decode() if isinstance(value, bytes) else str(value)
        for name, value in binary_headers(record, source, sent_ms)
    }


def cloud_event_headers(event_id: str, source: str, event_type: str, time_ms: int) -> Headers:
    """Build the headers from what the caller knows already; ``event_type`` is the record's tag, ``request.v1``."""
    return _headers(event_id, source, event_type, rfc3339(time_ms))


def _headers(event_id: str, source: str, event_type: str, time: str) -> Headers:
    return [
        _SPEC,
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", f"{TYPE_PREFIX}{event_type}".encode()),
        ("ce_time", time.encode()),
        _CONTENT,
    ]


def parse_headers(headers: ReadHeaders) -> CloudEvent | None:
    """Read the headers of the binary mode; None where they are no CloudEvent of version 1 (plain records are fine)."""
    found = _lower(headers)
    if found.get("ce_specversion") != "1.0" or not all(found.get(name) for name in ("ce_id", "ce_source", "ce_type")):
        return None
    return CloudEvent(
        found["ce_id"], found["ce_source"], found["ce_type"].removeprefix(TYPE_PREFIX), found.get("ce_time", "")
    )


def is_structured(headers: ReadHeaders) -> bool:
    """Say whether the value is a whole CloudEvent in JSON."""
    return _lower(headers).get("content-type", "").partition(";")[0].strip().lower() == STRUCTURED


class _Envelope(msgspec.Struct, kw_only=True):
    """A structured event; extension attributes are allowed by CloudEvents and ignored here."""

    specversion: str
    id: str
    source: str
    type: str
    time: str = ""
    data: msgspec.Raw = msgspec.Raw()


_envelope = msgspec.json.Decoder(_Envelope)


def unwrap(value: bytes) -> tuple[CloudEvent, bytes]:
    """Open a structured event: its attributes, and its data as the bytes of a record.

    Raises msgspec.DecodeError where it is not JSON, and msgspec.ValidationError where it is no CloudEvent 1.0 or its
    data is not JSON in place (``data_base64`` is not taken).
    """
    envelope = _envelope.decode(value)
    if envelope.specversion != "1.0":
        raise msgspec.ValidationError("not a CloudEvent of version 1.0")
    data = bytes(envelope.data)
    if not data:
        raise msgspec.ValidationError("the CloudEvent has no data in JSON")
    attributes = CloudEvent(envelope.id, envelope.source, envelope.type.removeprefix(TYPE_PREFIX), envelope.time)
    return attributes, data


def _lower(headers: ReadHeaders) -> dict[str, str]:
    """Headers by lower-case name, as text; what is not UTF-8 cannot be an attribute and is left out."""
    found: dict[str, str] = {}
    for name, value in headers or ():
        if isinstance(value, bytes):
            try:
                found[name.lower()] = value.decode()
            except UnicodeDecodeError:
                continue
        elif value is not None:
            found[name.lower()] = value
    return found
