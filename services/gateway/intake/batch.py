"""Records of one vendor as they came in one request: an object, an array, or JSON lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from services.gateway.formats.registry import VENDORS, events_of
from services.gateway.lines import decode
from services.gateway.parsed import RejectedRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.request_event import RequestEvent
    from services.gateway.sketching import EventMaker


@dataclass(frozen=True, slots=True, repr=False)
class VendorBatch:
    """Holds text: it goes to the publisher's thread and nowhere else. ``place`` tells it from every other batch."""

    format: str
    data: bytes
    place: str

    @property
    def size(self) -> int:
        """Say about how many bytes it holds."""
        return len(self.data) + 1024

    @property
    def traceparent(self) -> str:
        """Name no trace: a batch is of many requests."""
        return ""

    def events(self, maker: EventMaker) -> Iterator[RequestEvent | RejectedRecord]:
        """Make the events; every record becomes one, or a rejection with a named reason."""
        vendor = VENDORS[self.format]
        try:
            value = decode(self.data)
        except RejectedRecord as rejected:
            lines = [line for line in self.data.splitlines() if line.strip()]
            if len(lines) < 2:  # noqa: PLR2004 - one line that is no JSON is no JSON lines
                yield rejected
                return
        else:
            yield from events_of(vendor, value, maker, self.place)
            return
        for number, line in enumerate(lines):
            try:
                value = decode(line)
            except RejectedRecord as rejected:
                yield rejected
                continue
            yield from events_of(vendor, value, maker, f"{self.place}.{number}")

    def pack(self) -> tuple[str, bytes, list[bytes]]:
        """Give kind, head and parts for the publisher process."""
        return "batch", msgspec.msgpack.encode((self.format, self.place)), [self.data]

    @classmethod
    def unpack(cls, told: bytes, parts: Sequence[bytes]) -> VendorBatch:
        """Make it again of its head and parts."""
        format_name, place = msgspec.msgpack.decode(told, type=tuple[str, str])
        return cls(format_name, parts[0], place)
