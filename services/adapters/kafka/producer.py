"""An idempotent producer whose every record is accounted for.

``send`` returns when librdkafka has the record, not when a broker has it. What was delivered and what was not is known
after ``flush``, which raises where any record was lost. The queue is bounded; when it is full ``send`` waits for the
broker, and gives up after ``patience_seconds`` without progress.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from confluent_kafka import KafkaException, Producer

from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_QUEUE: Final[dict[str, int | bool]] = {
    "queue.buffering.max.messages": 50_000,
    "queue.buffering.max.kbytes": 65_536,
    "delivery.timeout.ms": 120_000,
    # Topics come from the topics table and nowhere else; a name in error must not make one.
    "allow.auto.create.topics": False,
}
_POLL_EVERY: Final = 256
_WAIT_SECONDS: Final = 0.1
_METADATA_SECONDS: Final = 10.0


class DeliveryError(StillwatchError):
    """Records could not be delivered to Kafka."""

    hint = "Look at the broker's state and logs, then go on from where it stopped: what is sent twice counts twice."


class MissingTopicError(StillwatchError):
    """A topic that is written to does not exist."""

    hint = "Create the topics with `stillwatch topics apply`."


class RecordProducer(Protocol):
    """What sends records to topics."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, str | bytes | None]] = (),
        partition: int | None = None,
    ) -> None:
        """Take one record; without a partition its key decides, without a value it deletes what its key had."""

    def flush(self) -> int:
        """Wait for every record and give how many were delivered so far; raises DeliveryError where any was not."""

    def partitions(self, topic: str) -> int:
        """Count a topic's partitions; raises MissingTopicError."""


class KafkaProducer:
    """Sends records over one connection. ``config`` is that of ``services.adapters.kafka.client.producer_config``."""

    def __init__(self, config: Mapping[str, str | int | float | bool], *, patience_seconds: float = 60.0) -> None:
        self._producer: Any = Producer({**_QUEUE, **config})
        self._patience = patience_seconds
        self._sent = 0
        self.delivered = 0
        self.failed: Counter[str] = Counter()

    def partitions(self, topic: str) -> int:
        """Count a topic's partitions; raises MissingTopicError, or DeliveryError where no broker answers."""
        try:
            metadata = self._producer.list_topics(topic, timeout=_METADATA_SECONDS).topics[topic]
        except KafkaException as error:
            raise DeliveryError(f"no Kafka broker answers: {error.args[0].str()}") from error
        if metadata.error is not None:
            raise MissingTopicError(f"the topic {topic} is not there")
        return len(metadata.partitions)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, str | bytes | None]] = (),
        partition: int | None = None,
    ) -> None:
        """Take one record; waits where the queue is full; raises DeliveryError where it does not empty."""
        place: dict[str, int] = {} if partition is None else {"partition": partition}
        deadline = time.monotonic() + self._patience
        delivered = self.delivered
        while True:
            try:
                self._producer.produce(topic, value, key, headers=list(headers), on_delivery=self._on_delivery, **place)
                break
            except BufferError as error:
                self._producer.poll(_WAIT_SECONDS)
                if self.delivered > delivered:
                    deadline, delivered = time.monotonic() + self._patience, self.delivered
                elif time.monotonic() > deadline:
                    raise DeliveryError(f"Kafka took no record for {self._patience:.0f} s") from error
        self._sent += 1
        if self._sent % _POLL_EVERY == 0:
            self._producer.poll(0)

    def flush(self) -> int:
        """Wait for every record and give how many were delivered so far; raises DeliveryError where any was not."""
        waiting = self._producer.flush(self._patience)
        if waiting:
            raise DeliveryError(f"{waiting} records wait for Kafka after {self._patience:.0f} s")
        if self.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.failed.items()))
            raise DeliveryError(f"records were not delivered: {reasons}")
        return self.delivered

    def _on_delivery(self, error: Any, _message: object) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.failed[str(error.name())] += 1
