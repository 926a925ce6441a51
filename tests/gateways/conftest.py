"""A broker with the product's topics, and programs in other environments, for the gateways' own tests."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.topics import make_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.adapters.embedded import EmbeddedKafka

ROOT = Path(__file__).parents[2]
KEY = "a-key-for-gateway-tests-and-nothing-else"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def read_topic(servers: str, topic: str) -> list[bytes]:
    """Give every value from the beginning, in the order of the broker's time stamps and offsets."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "gateway-tests",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    found: list[tuple[int, int, bytes]] = []
    try:
        left = set(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in left])
        while left:
            for message in consumer.consume(5000, 1.0):
                if message.error() is None:
                    found.append((message.timestamp()[1], message.offset() or 0, message.value() or b""))
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                    left.discard(message.partition())
    finally:
        consumer.close()
    return [value for *_, value in sorted(found)]


@pytest.fixture
def servers(kafka: EmbeddedKafka) -> str:
    """The broker's address, with the topic of requests on it."""
    make_topic(kafka.bootstrap_servers, "requests", 2)
    return kafka.bootstrap_servers


def settings(servers: str, folder: Path, **more: str) -> dict[str, str]:
    """The environment of a gateway that publishes to this broker."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STILLWATCH_")}
    return {
        **kept,
        "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": servers,
        "STILLWATCH_HMAC_KEY": KEY,
        "STILLWATCH_BASE_DIR": str(folder),
        **more,
    }
