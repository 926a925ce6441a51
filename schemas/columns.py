"""From bytes on the wire to columns: what is plain by a scanner, the rest by msgspec. Invalid records are named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from detection.columns import ATTRIBUTES, BOUNDARIES, EVENT, Flag
from detection.ids import from_hex
from detection.wire.fields import CONFIGURATION, SWITCHES
from detection.wire.scanner import READ, UNKNOWN, Scanner
from schemas.account_attributes import AccountAttributes
from schemas.request_event import Heartbeat, RequestEvent
from schemas.twins import EVENT_IDENTIFIERS, SKETCH_IDENTIFIERS, event_decoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detection.columns import Int64Array, StructuredArray, UInt64Array
    from schemas.dead_letter import Reason

_ABSENT: Final = "0" * 16
_NO_LADDER: Final = bytes(72)
_NO_PROJECTION: Final = bytes(32)
_REJECTED: Final = frozenset({"401", "403"})
MAXIMUM_EVENT_BYTES: Final = 64 << 10

_event = msgspec.json.Decoder(RequestEvent)
_twin = event_decoder()
_scanner = Scanner()
_heartbeat = msgspec.json.Decoder(Heartbeat)
_attributes = msgspec.json.Decoder(AccountAttributes)
_NUMBERS: Final = {
    "time": "time_unix_ms",
    "input_tokens": "gen_ai_usage_input_tokens",
    "output_tokens": "gen_ai_usage_output_tokens",
    "reasoning_tokens": "gen_ai_usage_reasoning_output_tokens",
    "duration": "duration_ms",
}
# Plain integers: an enum's own operators cost more than the decoding.
_ERROR: Final = int(Flag.ERROR)
_ERROR_REJECTED: Final = int(Flag.ERROR | Flag.REJECTED)
_TRUNCATED: Final = int(Flag.TRUNCATED)
_TEXT_UNAVAILABLE: Final = int(Flag.TEXT_UNAVAILABLE)
_read_numbers = attrgetter(*_NUMBERS.values(), *(name for _, name, _ in SWITCHES))
_NUMBERS_ROW: Final = np.dtype([(name, "<i8") for name in (*_NUMBERS, *(str(flag.name) for flag, _, _ in SWITCHES))])
_identifiers = attrgetter(*EVENT_IDENTIFIERS)
_sketch_identifiers = attrgetter(*SKETCH_IDENTIFIERS)
_configuration = attrgetter(*CONFIGURATION)


@dataclass(frozen=True, slots=True)
class Reject:
    """One record that no column holds: its place in the chunk, the reason, and our words for it."""

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class DecodedEvents:
    """``columns[i]`` came from ``values[kept[i]]``. Every value is either kept or in ``rejects``."""

    columns: StructuredArray
    kept: Int64Array
    rejects: list[Reject]


def decode_events(values: Sequence[bytes]) -> DecodedEvents:
    """Decode RequestEvent v1 records into ``EVENT`` columns, in order: what is plain by the scanner."""
    columns, verdicts = _scanner.read(values)
    left = np.flatnonzero(verdicts != READ)
    if not len(left):
        return DecodedEvents(columns, np.arange(len(values), dtype=np.int64), [])
    rest = _decode_strictly([values[place] for place in left.tolist()])
    columns[left[rest.kept]] = rest.columns
    fresh = left[rest.kept]
    _scanner.remember(values, columns, fresh[verdicts[fresh] == UNKNOWN])
    if not rest.rejects:
        return DecodedEvents(columns, np.arange(len(values), dtype=np.int64), [])
    rejects = [replace(reject, index=int(left[reject.index])) for reject in rest.rejects]
    kept = np.delete(np.arange(len(values), dtype=np.int64), [reject.index for reject in rejects])
    return DecodedEvents(columns[kept], kept, rejects)


def _decode_strictly(values: Sequence[bytes]) -> DecodedEvents:
    # Record by record: joining a chunk into one JSON array is faster still, but lets two crafted records swap places.
    if max(map(len, values), default=0) > MAXIMUM_EVENT_BYTES:
        return _decode_one_by_one(values)
    try:
        columns = event_columns(list(map(_twin.decode, values)))
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors, as is a wrong identifier.
        return _decode_one_by_one(values)
    return DecodedEvents(columns, np.arange(len(values), dtype=np.int64), [])


def _decode_one_by_one(values: Sequence[bytes]) -> DecodedEvents:
    events: list[RequestEvent] = []
    kept: list[int] = []
    rejects: list[Reject] = []
    for index, value in enumerate(values):
        verdict = _decode_one(value)
        if isinstance(verdict, RequestEvent):
            events.append(verdict)
            kept.append(index)
        else:
            rejects.append(Reject(index, *verdict))
    return DecodedEvents(event_columns(events), np.array(kept, np.int64), rejects)


def _decode_one(value: bytes) -> RequestEvent | tuple[Reason, str]:
    if not value:
        return "empty", "the record has no bytes"
    if len(value) > MAXIMUM_EVENT_BYTES:
        return "too_large", f"{len(value)} bytes, at most {MAXIMUM_EVENT_BYTES}"
    try:
        event = _event.decode(value)
    except msgspec.ValidationError as error:
        return _name_invalid(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "not_json", "the record is not JSON"
    identifiers = [*_identifiers(event), *(_sketch_identifiers(event.sketch) if event.sketch is not None else ())]
    if any(len(identifier) not in {0, 16} for identifier in identifiers):
        # A pattern's end matches before a line break too.
        return "bad_identifier", "an identifier is not 16 hexadecimal digits"
    return event


def _name_invalid(message: str) -> tuple[Reason, str]:
    """Tell the failure by its path and never by its value: msgspec quotes values of tags only, which may hold text."""
    path = message.rpartition(" - at `")[2].rstrip("`") if " - at `" in message else "$"
    field = path.split("[", 1)[0][:80]
    if "Invalid value" in message and field == "$.type":
        return "unknown_version", "the type is not request.v1"
    if "sketch" in field:
        return "bad_sketch", f"not valid at {field}"
    return "schema", f"not valid at {field}"


@lru_cache(maxsize=65536)
def name_hash(value: object) -> int:
    """Hash a low-cardinality name or tuple of settings (BLAKE2b, 64 bits, never 0); equal values have equal hashes."""
    # 0.0 and -0.0 are equal, so the cache answers for both what it computed for the one that came first.
    plain = (
        tuple(part or 0.0 if isinstance(part, float) else part for part in value) if isinstance(value, tuple) else value
    )
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def event_columns(events: Sequence[RequestEvent]) -> StructuredArray:
    """Turn decoded events into ``EVENT`` columns; shape ``(len(events),)``.

    Raises ValueError where an identifier is not 16 lower-case hexadecimal digits, as those of twins may be.
    """
    count = len(events)
    columns = np.zeros(count, EVENT)
    if not count:
        return columns
    numbers = np.fromiter(map(_read_numbers, events), _NUMBERS_ROW, count)
    for name in _NUMBERS:
        columns[name] = numbers[name]
    identifiers = _read_identifiers([value for event in events for value in _identifiers(event)]).reshape(count, -1)
    # The end user, last, is checked and not kept.
    for place, name in enumerate(("account", "organization", "network", "address", "bias")):
        columns[name] = identifiers[:, place]
    columns["configuration"] = [name_hash(_configuration(event)) for event in events]
    columns["client"] = [name_hash(event.client_family) if event.client_family else 0 for event in events]
    flags = np.array([_named_flags(event) for event in events], np.int64)
    for flag, _, least in SWITCHES:
        flags |= np.where(numbers[str(flag.name)] > least, int(flag), 0)
    columns["flags"] = flags
    _fill_sketches(columns, events)
    return columns


def _fill_sketches(columns: StructuredArray, events: Sequence[RequestEvent]) -> None:
    count = len(events)
    sketches = [event.sketch for event in events]
    ladders = np.frombuffer(b"".join([s.ladder if s else _NO_LADDER for s in sketches]), "<u8").reshape(count, 9)
    columns["system"] = ladders[:, 0]
    columns["prefix"] = ladders[:, 1:5]
    columns["suffix"] = ladders[:, 5:9]
    projections = b"".join([s.projection if s else _NO_PROJECTION for s in sketches])
    columns["projection"] = np.frombuffer(projections, np.int8).reshape(count, 32)
    # Deepest last: short lists are padded in front.
    boundaries = b"".join([(s.boundaries if s else b"").rjust(8 * BOUNDARIES, b"\0") for s in sketches])
    columns["boundaries"] = np.frombuffer(boundaries, "<u8").reshape(count, BOUNDARIES)
    columns["last_turn"] = _read_identifiers([s.last_turn if s else "" for s in sketches])
    columns["response"] = _read_identifiers([s.response if s else "" for s in sketches])


def _read_identifiers(values: Sequence[str]) -> UInt64Array:
    """Read identifiers of at most 16 characters each, "" as 0; raises ValueError where one is none.

    All at once: joined, they are as long as they should be only if each is, and their bytes as many only if no
    character was white space, which ``bytes.fromhex`` passes over.
    """
    joined = "".join([value or _ABSENT for value in values])
    raw = bytes.fromhex(joined)
    if len(joined) != 16 * len(values) or len(raw) != 8 * len(values) or joined != joined.lower():
        raise ValueError("an identifier is not 16 lower-case hexadecimal digits")
    return np.frombuffer(raw, ">u8").astype(np.uint64)


def _named_flags(event: RequestEvent) -> int:
    """Give the flags that come from text and from names."""
    flags = event.sketch.flags if event.sketch is not None else _TEXT_UNAVAILABLE
    if event.error_type:
        flags |= _ERROR_REJECTED if event.error_type in _REJECTED else _ERROR
    if "length" in event.gen_ai_response_finish_reasons:
        flags |= _TRUNCATED
    return flags


def decode_heartbeat(value: bytes) -> Heartbeat | None:
    """Read a control record; None where it is not one."""
    try:
        return _heartbeat.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def decode_attributes(values: Sequence[bytes]) -> tuple[StructuredArray, Int64Array, list[Reject]]:
    """Decode AccountAttributes v1 records into ``ATTRIBUTES`` columns; as ``decode_events``."""
    rows: list[AccountAttributes] = []
    kept: list[int] = []
    rejects: list[Reject] = []
    for index, value in enumerate(values):
        try:
            rows.append(_attributes.decode(value))
            kept.append(index)
        except msgspec.ValidationError as error:
            rejects.append(Reject(index, *_name_invalid(str(error))))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rejects.append(Reject(index, "not_json", "the record is not JSON"))
    return attribute_columns(rows), np.array(kept, np.int64), rejects


def attribute_columns(rows: Sequence[AccountAttributes]) -> StructuredArray:
    """Turn decoded attributes into ``ATTRIBUTES`` columns; shape ``(len(rows),)``."""
    columns = np.zeros(len(rows), ATTRIBUTES)
    columns["created_at"] = [row.created_at_unix_ms for row in rows]
    columns["verified"] = [row.verified for row in rows]
    for name in ("account", "organization", "payment", "signup_network"):
        columns[name] = from_hex([getattr(row, name) or _ABSENT for row in rows])
    return columns
