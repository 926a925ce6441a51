"""Events to Kafka in their order, by way of the spool while no broker takes them.

Three states. *Live*: records go to librdkafka and are held here until the broker has them. *Away*: a delivery failed,
or the broker said nothing for ``stall_seconds``; what it had not confirmed goes to the spool, in order, and everything
new behind it. *Draining*: a broker answers again; the spool is sent in its order, and when it is empty the state is
live.
Delivery is at least once: a record whose confirmation was lost is sent again with the same ``event_id``.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from confluent_kafka import KafkaException, Producer

from services.adapters.kafka.client import kind_of_refusal
from services.gateway.publishing.counts import DROPPED, REFUSALS, SPOOLED, WAITING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import KafkaError

    from services.adapters.clock import Clock
    from services.gateway.publishing.counts import Counts
    from services.gateway.publishing.spool import Outgoing, Spool

BATCH: Final = 500
PROBE_SECONDS: Final = 1.0
_PATIENCE: Final = 0.25
_PURGE_SECONDS: Final = 5.0
_TOO_LARGE: Final = "MSG_SIZE_TOO_LARGE"
_QUEUE: Final[dict[str, str | int | float | bool]] = {
    "queue.buffering.max.messages": 100_000,
    # The publisher decides when to give up; librdkafka may try for longer than that.
    "delivery.timeout.ms": 120_000,
    "allow.auto.create.topics": False,
    "log_level": 0,  # A broker that is away is told once, by us.
}
_log = logging.getLogger("stillwatch.gateway")


def counts_refusals(counts: Counts) -> Callable[[KafkaError], None]:
    """Make the callback that counts refused logins and certificates, and says so once for each client."""
    told: set[str] = set()

    def note(error: KafkaError) -> None:
        kind = kind_of_refusal(error)
        if kind is not None:
            counts.add(REFUSALS, kind)
            if error.name() not in told:
                told.add(error.name())
                _log.error("kafka.refused", extra={"kind": kind, "error": error.name()})

    return note


class RawProducer(Protocol):
    """What is used of ``confluent_kafka.Producer``."""

    def produce(self, topic: str, value: bytes, key: bytes, *, headers: Any, on_delivery: Any) -> None:
        """Queue one record; raises BufferError where the queue is full."""

    def poll(self, timeout: float) -> int:
        """Call the callbacks of what was delivered."""

    def flush(self, timeout: float) -> int:
        """Wait for deliveries; gives how many are left."""

    def purge(self) -> None:
        """Fail what was not delivered."""

    def list_topics(self, *, timeout: float) -> Any:
        """Ask a broker; raises KafkaException where none answers."""


def kafka_producer(config: Mapping[str, str | int | float | bool], counts: Counts) -> Callable[[], RawProducer]:
    """Give what makes real producers, which count what brokers refuse."""

    def make() -> RawProducer:
        return cast("RawProducer", Producer({**_QUEUE, **config, "error_cb": counts_refusals(counts)}))

    return make


class Sender:
    """Sends from one thread. ``spool`` None: while Kafka is away events are dropped, and counted."""

    def __init__(
        self,
        make_producer: Callable[[], RawProducer],
        spool: Spool | None,
        counts: Counts,
        clock: Clock,
        stall_seconds: float,
    ) -> None:
        self._make = make_producer
        self._producer: RawProducer = make_producer()
        self._spool = spool
        self._counts = counts
        self._clock = clock
        self._stall = stall_seconds
        self._sequence = 0
        self._outstanding: dict[int, Outgoing] = {}  # In order: every new one goes behind the others.
        self._failed = False
        self._heard = clock.monotonic()
        self._away = False
        self._probe_at = 0.0

    @property
    def away(self) -> bool:
        """Whether no broker takes events."""
        return self._away

    @property
    def busy(self) -> bool:
        """Whether a turn has something to send from the spool."""
        return not self._away and self._spool is not None and not self._spool.empty

    @property
    def settled(self) -> bool:
        """Whether everything is on Kafka."""
        return not self._outstanding and (self._spool is None or self._spool.empty)

    @property
    def sequence(self) -> int:
        """Number the newest record that was given to the client library."""
        return self._sequence

    @property
    def confirmed(self) -> int:
        """Number the newest record that, with all before it, is on Kafka, in the spool, or counted as dropped."""
        return next(iter(self._outstanding), self._sequence + 1) - 1

    def send(self, record: Outgoing) -> None:
        """Take one record; returns at once."""
        if self._away or self.busy:
            self._put_away(record)
            return
        if not self._outstanding:
            self._heard = self._clock.monotonic()
        self._sequence += 1
        self._outstanding[self._sequence] = record
        try:
            self._produce(record, self._sequence)
        except BufferError:
            self._go_away("queue_full")

    def turn(self) -> None:
        """Hear of deliveries, look after a broker that went away, and send from the spool."""
        if self._away:
            self._probe()
        else:
            self._hear()
            silent = self._clock.monotonic() - self._heard
            if self._failed:
                self._go_away("delivery_failed")
            elif self._outstanding and silent > self._stall:
                self._go_away("no_answer")
        if self.busy:
            self._drain()
        self._counts.put(WAITING, "kafka", value=len(self._outstanding))

    def close(self, seconds: float) -> None:
        """Wait so long for deliveries; what is left goes to the spool for the next process."""
        if not self._away:
            with suppress(KafkaException):  # Final for this producer; what is not confirmed is put away below.
                self._producer.flush(seconds)
            if self._outstanding:
                self._go_away("closing")
        if self._spool is not None:
            self._spool.close()

    def _produce(self, record: Outgoing, sequence: int) -> None:
        def delivered(error: Any, _message: object) -> None:
            self._delivered(sequence, error)

        self._producer.produce(record.topic, record.value, record.key, headers=record.headers, on_delivery=delivered)

    def _hear(self) -> None:
        """Call what is due; an error that is final for this producer is answered by another one."""
        try:
            self._producer.poll(0)
        except KafkaException:
            self._failed = True

    def _delivered(self, sequence: int, error: Any) -> None:
        if error is None:
            self._outstanding.pop(sequence, None)
            self._heard = self._clock.monotonic()
        elif error.name() == _TOO_LARGE:
            self._outstanding.pop(sequence, None)
            self._counts.add(DROPPED, "refused")
        else:
            kind = kind_of_refusal(error)
            if kind is not None:
                self._counts.add(REFUSALS, kind)
            self._failed = True

    def _go_away(self, why: str) -> None:
        self._withdraw()
        left, self._outstanding = self._outstanding, {}
        self._away = True
        _log.warning("publisher.kafka_away", extra={"why": why, "unconfirmed": len(left)})
        for record in left.values():
            self._put_away(record)

    def _withdraw(self) -> None:
        """Take back from librdkafka what it has, and begin with a new producer: the old one's state is unknown."""
        with suppress(KafkaException):  # Final for a producer that ends here anyway.
            self._producer.purge()
            self._producer.flush(_PURGE_SECONDS)
        self._failed = False
        self._probe_at = self._clock.monotonic() + PROBE_SECONDS
        self._producer = self._make()

    def _put_away(self, record: Outgoing) -> None:
        if self._spool is None:
            self._counts.add(DROPPED, "no_spool")
        elif self._spool.append(record):
            self._counts.add(SPOOLED)
            self._counts.put(WAITING, "spool_bytes", value=self._spool.bytes)
        else:
            self._counts.add(DROPPED, "spool_full")

    def _probe(self) -> None:
        now = self._clock.monotonic()
        if now < self._probe_at:
            return
        self._probe_at = now + PROBE_SECONDS
        try:
            found = self._producer.list_topics(timeout=_PATIENCE)
        except KafkaException:
            return
        if found.brokers:
            self._away = False
            self._heard = self._clock.monotonic()
            _log.warning("publisher.kafka_back")

    def _drain(self) -> None:
        if self._spool is None:
            return
        batch = self._spool.read(BATCH)
        for record in batch:
            self._sequence += 1
            self._outstanding[self._sequence] = record
            self._produce(record, self._sequence)
        try:
            self._producer.flush(self._stall)
        except KafkaException:  # Final for this producer.
            self._failed = True
        if self._outstanding or self._failed:
            # They are still in the spool, so nothing of them is put there again.
            self._withdraw()
            self._outstanding.clear()
            self._away = True
            return
        self._spool.advance()
        self._counts.put(WAITING, "spool_bytes", value=self._spool.bytes)
