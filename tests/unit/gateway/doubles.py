"""A clock, a producer and an ASGI connection in memory, for the gateway's tests."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from services.gateway.configuration import GatewayConfiguration, Secret
from services.gateway.identity import Identity
from services.gateway.middleware.exchange import Captured, Exchange
from services.gateway.publishing.buffer import WorkBuffer
from services.gateway.publishing.counts import Counts
from services.gateway.publishing.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.request_event import RequestEvent
    from services.gateway.publishing.sending import Sender
    from services.gateway.publishing.spool import Outgoing

KEY = b"0123456789abcdef0123456789abcdef"
IDENTITY = Identity(KEY)


@dataclass
class Hands:
    """A clock that a test moves."""

    now: float = 1_700_000_000.0

    def now_ms(self) -> int:
        return round(self.now * 1000)

    def monotonic(self) -> float:
        return self.now


class Broker:
    """A broker that can be away; ``log`` is what it took, in order."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.up = True
        self.silent = False

    def producer(self) -> BrokerProducer:
        return BrokerProducer(self)


class BrokerProducer:
    """What is used of confluent-kafka's producer."""

    def __init__(self, broker: Broker, room: int = 10_000) -> None:
        self._broker = broker
        self._room = room
        self._queue: list[tuple[bytes, Callable[..., None]]] = []

    def produce(self, topic: str, value: bytes, key: bytes, *, headers: Any, on_delivery: Callable[..., None]) -> None:
        del topic, key, headers
        if len(self._queue) >= self._room:
            raise BufferError
        self._queue.append((value, on_delivery))

    def poll(self, timeout: float) -> int:
        del timeout
        if not self._broker.up or self._broker.silent:
            return 0
        queue, self._queue = self._queue, []
        for value, done in queue:
            self._broker.log.append(value)
            done(None, None)
        return len(queue)

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return len(self._queue)

    def purge(self) -> None:
        queue, self._queue = self._queue, []
        for _, done in queue:
            done(KafkaError(KafkaError._PURGE_QUEUE), None)

    def list_topics(self, *, timeout: float) -> Any:
        del timeout
        if not self._broker.up:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        return type("Metadata", (), {"brokers": {1: "here"}})()


@dataclass
class Kept:
    """A sender that keeps what it is given."""

    records: list[Outgoing] = field(default_factory=list)
    busy: bool = False
    closed: bool = False

    def send(self, record: Outgoing) -> None:
        self.records.append(record)

    def turn(self) -> None:
        """Nothing waits."""

    def close(self, seconds: float) -> None:
        del seconds
        self.closed = True


def configuration(**changes: Any) -> GatewayConfiguration:
    return GatewayConfiguration(hmac_key=Secret(KEY.decode()), **changes)


def publisher(sender: Any, *, maximum: int = 1000, maximum_bytes: int = 1 << 28) -> Publisher:
    made: Callable[[], Sender] = lambda: sender  # noqa: E731 - a factory in one line
    return Publisher(IDENTITY, made, Counts(), WorkBuffer(maximum, maximum_bytes), "/gateway/test")


async def ask(
    app: Any,
    body: bytes | Sequence[bytes],
    *,
    path: str = "/v1/chat/completions",
    headers: Sequence[tuple[bytes, bytes]] = ((b"authorization", b"Bearer sk-one"),),
    client: tuple[str, int] | None = ("203.0.113.9", 4711),
) -> list[dict[str, Any]]:
    """Send one request through an ASGI application; gives the messages of its response."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
        for place, chunk in enumerate(chunks)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers), "client": client}
    await app(scope, receive, send)
    return sent


def only(events: Sequence[RequestEvent]) -> RequestEvent:
    assert len(events) == 1
    return events[0]


def exchange(number: int = 1, text: str = "Tell me of the sea.", **more: Any) -> Exchange:
    made = Exchange(
        api="chat",
        natural_id=("p", str(number)),
        account_raw="sk-one",
        started_ms=1_700_000_000_000,
        status=200,
        request=Captured(1 << 20),
        response=Captured(1 << 20),
        **more,
    )
    made.request.add(json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode())
    return made
