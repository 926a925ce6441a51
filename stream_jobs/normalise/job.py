"""Raw vendor records in, RequestEvent v1 out. What a vendor's format means is the normaliser's, given from above.

This job stands on the gateway's side of the boundary: raw records hold prompts. So nothing of a record leaves it but
what the normaliser made of it, and an error of the normaliser is told by its class and place, never by its message.

Delivery is at least once: a crash between a send and the commit sends the same events again, with the same
``event_id``. Records are sent in windows, because waiting for the broker after each would cost a round trip a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from schemas.dead_letter import Reason
from schemas.headers import cloud_event_headers
from schemas.topics import REQUESTS
from stream_jobs.faust_host.ports import Outgoing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from schemas.request_event import RequestEvent
    from stream_jobs.faust_host.ports import Ports, Record

NAME: Final = "normalise"
SOURCE: Final = "stillwatch/normalise"
WINDOW: Final = 256  # Records under way; with 20 ms of linger some thousands a second.

_encoder = msgspec.json.Encoder()


class NamedReject(msgspec.Struct, frozen=True):
    """A record that is no request. ``detail`` is our own words, never a value taken from the record."""

    reason: Reason
    detail: str


class Normaliser(Protocol):
    """One vendor's format, keys and tenant included."""

    @property
    def schema(self) -> str:
        """Name the format for the dead letters, for example ``litellm``."""

    def __call__(self, raw: bytes, place: str) -> Sequence[RequestEvent | NamedReject]:
        """Make one answer for each request in a record; ``place`` identifies requests without an id of their own."""


class NormaliserError(Exception):
    """A normaliser raised: a bug, told without the exception's own words, which may quote the record."""


class NormaliseJob:
    """The job on its ports; see ``StreamJob``. ``normalisers`` are by topic name."""

    def __init__(self, ports: Ports, normalisers: Mapping[str, Normaliser]) -> None:
        self._ports = ports
        self._normalisers = normalisers
        self._under_way: list[tuple[Record, list[Awaitable[object]]]] = []

    async def open(self) -> None:
        """Forget what was under way: it was never finished, so it comes again."""
        self._under_way = []

    async def handle(self, record: Record) -> None:
        """Send the record's events, and a dead letter for each request in it that is none."""
        normaliser = self._normalisers[record.topic]
        sent: list[Awaitable[object]] = []
        for made in self._normalise(normaliser, record):
            if isinstance(made, NamedReject):
                await self._reject(record, made, normaliser.schema)
            else:
                headers = cloud_event_headers(made.event_id, SOURCE, "request.v1", made.time_unix_ms)
                outgoing = Outgoing(REQUESTS, made.account.encode(), _encoder.encode(made), headers)
                sent.append(await self._ports.outbox.begin(outgoing))
                self._ports.metrics.counter("stillwatch_gateway_events_total", format=normaliser.schema).inc()
        self._under_way.append((record, sent))
        if len(self._under_way) >= WINDOW:
            await self._settle()

    async def tick(self) -> None:
        """Finish what has arrived since."""
        await self._settle()

    async def drain(self) -> None:
        """Wait for all that is under way."""
        await self._settle()

    async def _settle(self) -> None:
        under_way, self._under_way = self._under_way, []
        for record, sent in under_way:
            for done in sent:
                await done
            self._ports.line.finish(record)

    async def _reject(self, record: Record, made: NamedReject, schema: str) -> None:
        await self._ports.dead_letters.reject(record, made.reason, made.detail, schema)
        self._ports.metrics.counter("stillwatch_gateway_rejects_total", format=schema, reason=made.reason).inc()

    @staticmethod
    def _normalise(normaliser: Normaliser, record: Record) -> Sequence[RequestEvent | NamedReject]:
        if not record.value:
            return [NamedReject("empty", "the record has no bytes")]
        place = f"{record.topic}.{record.partition}.{record.offset}"
        try:
            return normaliser(record.value, place)
        except Exception as error:  # noqa: BLE001 - whatever was raised, its words may hold text
            kind = type(error).__name__
        raise NormaliserError(f"{kind} at {place}")
