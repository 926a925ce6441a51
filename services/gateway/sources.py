"""A file of records to events: the one way in for replay, backtest and tests.

Every record is either an event or a rejected line with its number and a named reason; nothing is passed over in
silence. Rejections never carry a value of the record, because that may be text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from services.gateway.formats import azure, mooncake
from services.gateway.formats.events import parse_event
from services.gateway.formats.registry import VENDORS
from services.gateway.lines import read_lines, read_objects, read_table
from services.gateway.parsed import ParsedRequest, RejectedRecord, RejectReason
from services.gateway.sketching import EventMaker

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from pathlib import Path

    from schemas.request_event import RequestEvent
    from services.gateway.formats.registry import Vendor
    from services.gateway.identity import Identity
    from services.gateway.lines import Numbered
    from services.gateway.parsed import FormatParser

Format: TypeAlias = Literal[
    "litellm", "openai", "apisix", "kong", "envoy", "otlp", "helicone", "jsonl", "mooncake", "azure", "events"
]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A record that became no event. ``line`` counts from 1; in an array over several lines it is the place in it."""

    line: int
    reason: RejectReason
    detail: str


def open_source(
    path: Path,
    format_name: Format,
    identity: Identity,
    *,
    base_time_ms: int = mooncake.BASE_TIME_MS,
    accounts: MutableMapping[str, str] | None = None,
) -> Iterator[RequestEvent | RejectedLine]:
    """Give the events of a file in the file's order; raises SourceFileError where it cannot be read.

    ``accounts``, where given, is filled with raw account value -> product id as lines are read (``events`` files hold
    ids already, and map to themselves). ``base_time_ms`` is where a Mooncake trace begins.
    """
    if format_name == "events":
        yield from _read_events(path, accounts)
        return
    maker = EventMaker(identity)
    for number, parsed in open_parsed(path, format_name, base_time_ms=base_time_ms):
        if isinstance(parsed, RejectedLine):
            yield parsed
            continue
        event = maker.to_event(parsed, f"{format_name}:{number}")
        if accounts is not None:
            accounts[parsed.account_raw] = event.account
        yield event


def open_parsed(
    path: Path, format_name: Format, *, base_time_ms: int = mooncake.BASE_TIME_MS
) -> Iterator[tuple[int, ParsedRequest | RejectedLine]]:
    """Give the requests of a vendor's file in clear, with the place of each: for code that stays at the gateway."""
    parse, records = _reader(path, format_name, base_time_ms)
    for place, (number, record) in enumerate(records, start=1):
        if isinstance(record, RejectedRecord):
            yield place, RejectedLine(number, record.reason, record.detail)
            continue
        try:
            yield place, parse(record)
        except RejectedRecord as rejected:
            yield place, RejectedLine(number, rejected.reason, rejected.detail)
        except RecursionError:
            yield place, RejectedLine(number, "not_json", "nested beyond reading")


def time_span(
    path: Path, format_name: Format, *, base_time_ms: int = mooncake.BASE_TIME_MS, limit: int | None = None
) -> tuple[int, int] | None:
    """Give the earliest and latest time of a file's first ``limit`` events in ms; None where it holds no event.

    Reads without sketching.
    """
    if format_name == "events":
        found: Iterator[int] = (
            item.time_unix_ms for item in _read_events(path, None) if not isinstance(item, RejectedLine)
        )
    else:
        found = (
            parsed.time_unix_ms
            for _, parsed in open_parsed(path, format_name, base_time_ms=base_time_ms)
            if isinstance(parsed, ParsedRequest)
        )
    found = islice(found, limit)
    first = last = next(found, None)
    if first is None or last is None:
        return None
    for time_ms in found:
        first, last = min(first, time_ms), max(last, time_ms)
    return first, last


def _reader(path: Path, format_name: Format, base_time_ms: int) -> tuple[FormatParser, Iterator[Numbered]]:
    if format_name == "azure":
        return azure.parse, read_table(path, azure.COLUMNS)
    if format_name == "mooncake":
        return partial(mooncake.parse, base_time_ms=base_time_ms), read_objects(path)
    vendor = VENDORS[format_name]
    return vendor.parse, _unfolded(read_objects(path), vendor)


def _unfolded(records: Iterator[Numbered], vendor: Vendor) -> Iterator[Numbered]:
    for number, record in records:
        if isinstance(record, RejectedRecord):
            yield number, record
        else:
            yield from ((number, each) for each in vendor.unfold(record))


def _read_events(path: Path, accounts: MutableMapping[str, str] | None) -> Iterator[RequestEvent | RejectedLine]:
    for number, line in read_lines(path):
        try:
            if isinstance(line, RejectedRecord):
                raise line
            event = parse_event(line)
        except RejectedRecord as rejected:
            yield RejectedLine(number, rejected.reason, rejected.detail)
            continue
        if accounts is not None:
            accounts[event.account] = event.account
        yield event
