"""The vendors' formats by name: how a record is parsed, and how one record that tells of several is taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.gateway.formats import apisix, envoy, helicone, jsonl, kong, litellm, openai, otlp
from services.gateway.parsed import RejectedRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schemas.request_event import RequestEvent
    from services.gateway.parsed import FormatParser
    from services.gateway.sketching import EventMaker


def _itself(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield record


@dataclass(frozen=True, slots=True)
class Vendor:
    """One format. ``unfold`` gives the records within a record."""

    parse: FormatParser
    unfold: Callable[[dict[str, Any]], Iterator[dict[str, Any]]] = _itself


VENDORS: Final[dict[str, Vendor]] = {
    "litellm": Vendor(litellm.parse),
    "openai": Vendor(openai.parse),
    "apisix": Vendor(apisix.parse),
    "kong": Vendor(kong.parse),
    "envoy": Vendor(envoy.parse),
    "otlp": Vendor(otlp.parse, otlp.unfold),
    "helicone": Vendor(helicone.parse),
    "jsonl": Vendor(jsonl.parse),
}


def records_of(vendor: Vendor, value: object) -> Iterator[dict[str, Any] | RejectedRecord]:
    """Give the records of one decoded JSON value: an object, a batch of them as an array, exports of several."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, dict):
            yield from vendor.unfold(entry)
        else:
            yield RejectedRecord("not_an_object", "JSON, but no object")


def events_of(vendor: Vendor, value: object, maker: EventMaker, place: str) -> Iterator[RequestEvent | RejectedRecord]:
    """Make one event, or a rejection with a named reason, of each record; ``place`` identifies those without an id."""
    for number, record in enumerate(records_of(vendor, value)):
        if isinstance(record, RejectedRecord):
            yield record
            continue
        try:
            made: RequestEvent | RejectedRecord = maker.to_event(vendor.parse(record), f"{place}.{number}")
        except RejectedRecord as rejected:
            made = rejected
        except RecursionError:
            made = RejectedRecord("not_json", "nested beyond reading")
        yield made
