"""Reading a topic as it lies, outside of any group's progress: every committed record from one offset to another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from services.errors import NotRunningError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE_SECONDS: Final = 30.0


class Lying(NamedTuple):
    """One record as the broker has it. ``time_ms`` is the broker's append time."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    time_ms: int


def open_reader(config: Mapping[str, str | int | float | bool], group: str) -> Any:
    """Give a consumer for ``read_partition``; ``config`` is that of ``client_config``."""
    return Consumer(
        {
            **config,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 16 << 20,
            "log_level": 0,
        }
    )


def read_partition(consumer: Any, topic: str, partition: int, start: int, stop: int) -> Iterator[Any]:
    """Give the committed records from ``start`` to below ``stop``; raises NotRunningError."""
    consumer.assign([TopicPartition(topic, partition, start)])
    moved = time.monotonic()
    while True:
        for message in consumer.consume(500, 0.2):
            moved = time.monotonic()
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own
                raise NotRunningError(f"{topic} cannot be read: {error.name()}")
            if error is not None or message.offset() >= stop:
                return
            yield message
            if message.offset() == stop - 1:
                return
        if time.monotonic() - moved > PATIENCE_SECONDS:
            raise NotRunningError(f"{topic} cannot be read to its end")


def read_topic(consumer: Any, topic: str) -> Iterator[Lying]:
    """Give every record of a topic up to its present end, one partition after the other; raises NotRunningError."""
    try:
        about = consumer.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic]
        if about.error is not None:
            raise NotRunningError(f"the topic {topic} is not there", "Create it with `stillwatch topics apply`.")
        for partition in sorted(about.partitions):
            place = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=PATIENCE_SECONDS)
            if low < high:
                for message in read_partition(consumer, topic, partition, low, high):
                    moment = message.timestamp()[1]
                    yield Lying(partition, message.offset(), message.key(), message.value(), moment)
    except KafkaException as failure:
        raise NotRunningError(f"the broker does not answer: {failure.args[0].name()}") from failure
