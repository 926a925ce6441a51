from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from detection.ids import to_hex
from schemas.headers import cloud_event_headers
from services.adapters.kafka.client import producer_config
from services.adapters.kafka.murmur2 import murmur2, partition_of, partitions_of
from services.adapters.kafka.producer import DeliveryError, KafkaProducer, MissingTopicError
from services.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# librdkafka ships a broker of its own for tests: the real client and partitioner, without a JVM.
_MOCK_PARTITIONS = 4


@pytest.fixture
def config() -> dict[str, Any]:
    settings = Settings()
    return producer_config(settings, "") | {"test.mock.num.brokers": 1, "bootstrap.servers": ""}


@pytest.fixture
def producer(config: dict[str, Any]) -> Iterator[KafkaProducer]:
    config.pop("bootstrap.servers")
    config["allow.auto.create.topics"] = True
    made = KafkaProducer(config, patience_seconds=10)
    yield made
    made.flush()


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # From Kafka's own UtilsTest.testMurmur2; Java's integers are signed.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected % 2**32


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.integers(1, 200))
def test_columns_of_accounts_go_where_single_keys_go(ids: list[int], partitions: int) -> None:
    expected = [partition_of(to_hex(value).encode(), partitions) for value in ids]
    assert partitions_of(np.array(ids, np.uint64), partitions).tolist() == expected


def test_librdkafka_puts_keys_where_we_say(config: dict[str, Any]) -> None:
    config.pop("bootstrap.servers")
    client = Producer(config | {"allow.auto.create.topics": True})
    keys = [to_hex(value * 0x9E3779B97F4A7C15 % 2**64).encode() for value in range(500)]
    placed: dict[bytes, int] = {}

    def on_delivery(error: object, message: Any) -> None:
        assert error is None
        placed[message.key()] = message.partition()

    for key in keys:
        client.produce("requests", b"{}", key, on_delivery=on_delivery)
    assert client.flush(20) == 0
    assert placed == {key: partition_of(key, _MOCK_PARTITIONS) for key in keys}
    assert len(set(placed.values())) == _MOCK_PARTITIONS


def test_every_record_is_counted(producer: KafkaProducer) -> None:
    headers = cloud_event_headers("id-1", "/gateway/test", "request.v1", 1_700_000_000_123)
    for number in range(1000):
        producer.send("requests", b"%016x" % number, b"{}", headers)
    producer.send("requests", None, b"{}", partition=3)
    assert producer.flush() == 1001
    assert not producer.failed
    assert producer.partitions("requests") == _MOCK_PARTITIONS


def test_a_record_that_no_broker_takes_is_an_error(config: dict[str, Any]) -> None:
    config.pop("test.mock.num.brokers")
    config |= {"bootstrap.servers": "127.0.0.1:1", "delivery.timeout.ms": 300, "log_level": 0}
    lost = KafkaProducer(config, patience_seconds=5)
    lost.send("requests", b"0" * 16, b"{}")
    with pytest.raises(DeliveryError, match="_MSG_TIMED_OUT"):
        lost.flush()


def test_a_full_queue_waits_and_then_gives_up(config: dict[str, Any]) -> None:
    config.pop("test.mock.num.brokers")
    config |= {"bootstrap.servers": "127.0.0.1:1", "queue.buffering.max.messages": 2, "log_level": 0}
    stuck = KafkaProducer(config, patience_seconds=0.3)
    for _ in range(2):
        stuck.send("requests", b"0" * 16, b"{}")
    with pytest.raises(DeliveryError, match="took no record"):
        stuck.send("requests", b"0" * 16, b"{}")


def test_a_topic_that_is_not_there_is_named(config: dict[str, Any]) -> None:
    config.pop("bootstrap.servers")
    with pytest.raises(MissingTopicError, match="nowhere"):
        KafkaProducer(config).partitions("nowhere")


def test_cloud_event_headers_are_binary_mode() -> None:
    headers = dict(cloud_event_headers("id-1", "/gateway/test", "request.v1", 1_700_000_000_123))
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"id-1",
        "ce_source": b"/gateway/test",
        "ce_type": b"ai.stillwatch.request.v1",
        "ce_time": b"2023-11-14T22:13:20.123Z",
        "content-type": b"application/json",
    }
