"""Fresh topics on the run's broker, and the workers that tests start, stop and kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.topics import TOPICS
from services.adapters.embedded import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.topics import Topic

ROOT = Path(__file__).parents[2]
GROUPS = ("incidents", "normalise", "learning", "decisions", "plain")


@dataclass
class Broker:
    """The broker as a test drives it."""

    servers: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def producer(self, transactional_id: str = "") -> Producer:
        config: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.servers,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 0,
            "message.max.bytes": 8 << 20,
        }
        if transactional_id:
            config["transactional.id"] = transactional_id
        return Producer(config)

    def send(self, topic: Topic, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        producer = self.producer()
        for key, value in records:
            producer.produce(topic.name, key=key, value=value)
        assert producer.flush(20) == 0

    def transact(self, topic: Topic, values: Sequence[bytes], *, commit: bool = True, name: str = "t") -> None:
        """Send values in one transaction; an aborted one stands on the topic all the same."""
        producer = self.producer(name)
        producer.init_transactions(20)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic.name, key=b"k", value=value)
        assert producer.flush(20) == 0
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)

    def read(self, topic: Topic) -> list[tuple[bytes | None, bytes | None]]:
        """Read a topic whole, committed records only."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "tests",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        partitions = list(consumer.list_topics(topic.name, 10).topics[topic.name].partitions)
        consumer.assign([TopicPartition(topic.name, partition, 0) for partition in partitions])
        found: list[tuple[bytes | None, bytes | None]] = []
        ended = 0
        while ended < len(partitions):
            message = consumer.poll(10)
            assert message is not None
            if message.error() is not None:
                ended += 1
            else:
                found.append((message.key(), message.value()))
        consumer.close()
        return found

    def empty(self, topic: Topic) -> None:
        """Delete a topic and create it anew."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        admin.delete_topics([topic.name])[topic.name].result(20)
        eventually(lambda: topic.name not in admin.list_topics(timeout=20).topics, 20, "the topic's end")
        _create(admin, [topic])

    def committed(self, job: str, topic: Topic, partition: int = 0) -> int:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": f"stillwatch-{job}"})
        (found,) = consumer.committed([TopicPartition(topic.name, partition)], 10)
        consumer.close()
        return int(found.offset)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "STILLWATCH_KAFKA_BOOTSTRAP_SERVERS": self.servers,
                "STILLWATCH_SESSION_TIMEOUT_MS": "6000",
                "STILLWATCH_PARTITIONS": "2",
                "STILLWATCH_LOG_FORMAT": "json",
            }
            | environment,
        )
        self.started.append(process)
        return process


def eventually(check: object, seconds: float = 60.0, what: str = "the condition") -> None:
    deadline = time.monotonic() + seconds
    while not check():  # type: ignore[operator] # any nullary callable
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds:.0f} s"
        time.sleep(0.1)


@pytest.fixture(scope="package")
def broker_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of these tests' own: the jobs' topics have fixed names, so tests on the run's broker would meet."""
    with EmbeddedKafka(tmp_path_factory.mktemp("jobs")) as server:
        yield server.bootstrap_servers


@pytest.fixture
def broker(broker_address: str) -> Iterator[Broker]:
    admin = AdminClient({"bootstrap.servers": broker_address})
    _remove(admin)
    _create(admin, TOPICS)
    broker = Broker(broker_address)
    yield broker
    for process in broker.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(10)
    _remove(admin)


def _create(admin: AdminClient, topics: Sequence[Topic]) -> None:
    wanted = [NewTopic(topic.name, 2 if topic.width == "wide" else 1, 1, config=topic.config()) for topic in topics]
    for made in admin.create_topics(wanted).values():
        made.result(20)


def _remove(admin: AdminClient) -> None:
    names = [topic.name for topic in TOPICS]
    standing = set(admin.list_topics(timeout=20).topics) & set(names)
    if standing:
        for gone in admin.delete_topics(sorted(standing)).values():
            gone.result(20)
        eventually(lambda: not set(admin.list_topics(timeout=20).topics) & standing, 20, "the topics' end")
    for group in GROUPS:
        # A killed worker stays a member until its session ends.
        eventually(lambda name=f"stillwatch-{group}": _group_gone(admin, name), 20, "the group's end")


def _group_gone(admin: AdminClient, name: str) -> bool:
    try:
        admin.delete_consumer_groups([name])[name].result(20)
    except KafkaException as error:
        return bool(error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND)
    return True
