"""Work by its kind, made again in the publisher process of what came over the socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.gateway.apart.frames import cut
from services.gateway.intake.batch import VendorBatch
from services.gateway.middleware.exchange import Exchange
from services.gateway.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from schemas.request_event import RequestEvent
    from services.gateway.apart.frames import Handed
    from services.gateway.parsed import RejectedRecord
    from services.gateway.publishing.buffer import Work
    from services.gateway.sketching import EventMaker

_KINDS: Final[dict[str, Callable[[bytes, Sequence[bytes]], Work]]] = {
    "exchange": Exchange.unpack,
    "payload": Payload.unpack,
    "batch": VendorBatch.unpack,
}


@dataclass(frozen=True, slots=True, repr=False)
class Received:
    """Work as the publisher process got it, with its number."""

    number: int
    hurry: bool
    work: Work

    @property
    def format(self) -> str:
        """Name the format, for the counters."""
        return self.work.format

    @property
    def size(self) -> int:
        """Say about how many bytes it holds."""
        return self.work.size

    @property
    def traceparent(self) -> str:
        """Name the trace that the request is part of."""
        return self.work.traceparent

    def events(self, maker: EventMaker) -> Iterator[RequestEvent | RejectedRecord]:
        """Make the events."""
        return self.work.events(maker)

    def pack(self) -> tuple[str, bytes, list[bytes]]:
        """Give the work's own."""
        return self.work.pack()


def unpacked(head: Handed, body: bytes) -> Received:
    """Give the work of a frame."""
    return Received(head.number, head.hurry, _KINDS[head.kind](head.told, cut(body, head.sizes)))
