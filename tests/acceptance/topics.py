"""Reads topics from their beginning, as bytes, with a client that is not the product's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator


def _consumer(servers: str, isolation: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "acceptance",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
        }
    )


def topic_names(servers: str) -> list[str]:
    """Name every topic of the cluster, Kafka's own too."""
    consumer = _consumer(servers, "read_committed")
    try:
        return sorted(consumer.list_topics(timeout=20).topics)
    finally:
        consumer.close()


def read_topic(servers: str, topic: str, isolation: str = "read_committed") -> Iterator[Message]:
    """Give every record from the beginning to the end that stands now."""
    consumer = _consumer(servers, isolation)
    try:
        left = set(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in left])
        while left:
            for message in consumer.consume(5_000, 1.0):
                error = message.error()
                if error is None:
                    yield message
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    left.discard(message.partition())
    finally:
        consumer.close()


def end_offset(servers: str, topic: str) -> int:
    """Give the offset behind the last record of a topic with one partition."""
    consumer = _consumer(servers, "read_committed")
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)[1]
    finally:
        consumer.close()


def revisions(servers: str) -> set[bytes]:
    """Give each revision on `alerts` once, by (alert_id, revision); a second copy must have the same bytes."""
    found: dict[tuple[str, int], bytes] = {}
    for message in read_topic(servers, "alerts"):
        value = message.value()
        assert value is not None
        alert = json.loads(value)
        key = alert["alert_id"], alert["revision"]
        assert found.setdefault(key, value) == value, key
    return set(found.values())
