from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from detection.ids import from_hex, to_hex
from schemas.headers import cloud_event_headers
from services.adapters.kafka.client import producer_config
from services.adapters.kafka.murmur2 import partitions_of
from services.adapters.kafka.producer import KafkaProducer
from services.settings import Settings

if TYPE_CHECKING:
    from services.adapters.embedded import EmbeddedKafka

PARTITIONS = 13
ACCOUNTS = 3000


@pytest.mark.integration
def test_accounts_live_where_the_columns_say(kafka: EmbeddedKafka) -> None:
    servers = kafka.bootstrap_servers
    topic = "partitioner-test"
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    producer = KafkaProducer(producer_config(Settings(), servers))
    assert producer.partitions(topic) == PARTITIONS
    accounts = [to_hex(number * 0x9E3779B97F4A7C15 % 2**64) for number in range(1, ACCOUNTS + 1)]
    for account in accounts:
        producer.send(topic, account.encode(), b"{}", cloud_event_headers(account, "/test", "request.v1", 1))
    assert producer.flush() == ACCOUNTS
    consumer = Consumer({"bootstrap.servers": servers, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    found: dict[str, int] = {}
    while len(found) < ACCOUNTS:
        batch: list[Any] = consumer.consume(1000, 30)
        assert batch, f"{len(found)} of {ACCOUNTS} records"
        for message in batch:
            assert message.error() is None
            assert dict(message.headers())["ce_id"] == message.key()
            found[message.key().decode()] = message.partition()
    consumer.close()
    expected = partitions_of(from_hex(accounts), PARTITIONS).tolist()
    assert found == dict(zip(accounts, expected, strict=True))
