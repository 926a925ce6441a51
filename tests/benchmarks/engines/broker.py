"""The broker under the benchmark: topics without a past, requests, and what has come to the shuffle."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from measure import BenchError

from schemas.contributions import decode_block
from schemas.topics import (
    ACCOUNT_WINDOWS,
    ACCOUNTS_STATE,
    FINDINGS,
    POOL_CONTRIBUTIONS,
    POOLS_STATE,
    REQUESTS,
    TOPICS,
)
from services.adapters.kafka.client import producer_config
from services.adapters.kafka.topics import ClusterTopics, TopicsError
from services.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schemas.topics import Topic

GROUPS: Final = ("stillwatch-accounts", "stillwatch-pools")
WRITTEN: Final = (ACCOUNTS_STATE, POOL_CONTRIBUTIONS, ACCOUNT_WINDOWS, FINDINGS, POOLS_STATE)
_PATIENCE_SECONDS: Final = 120


def prepare(servers: str, width: int, *, requests: bool) -> None:
    """Give the jobs empty topics and no past; with ``requests`` that topic too."""
    admin = AdminClient({"bootstrap.servers": servers})
    old: list[Topic] = [*WRITTEN, *([REQUESTS] if requests else [])]
    for name, answer in admin.delete_topics([topic.name for topic in old]).items():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
                raise BenchError(f"{name} cannot be deleted") from error
    # A topic goes some time after the broker has said so.
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while {topic.name for topic in old} & admin.list_topics(timeout=10).topics.keys():
        if time.monotonic() > deadline:
            raise BenchError("the broker keeps topics that were deleted")
        time.sleep(0.1)
    for group in GROUPS:
        _forget(admin, group)
    _create(servers, width)


def _create(servers: str, width: int) -> None:
    topics = ClusterTopics({"bootstrap.servers": servers}, TOPICS, width, 1)
    for _ in range(20):
        try:
            topics.apply()
        except TopicsError:
            time.sleep(0.5)
        else:
            return
    raise BenchError("the broker does not create topics")


def _forget(admin: AdminClient, group: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            admin.delete_consumer_groups([group])[group].result()
        except KafkaException as error:
            if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                return
            # The broker makes the topic of the groups at the first question, and needs a moment.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def create_topic(servers: str, name: str, width: int) -> None:
    """Make a peer's topic."""
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(name, width, 1)])[name].result()


def produce(servers: str, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Write requests as a gateway does."""
    producer = Producer(producer_config(Settings(), servers) | {"log_level": 2})
    failures: list[str] = []

    def note(error: KafkaError | None, _: object) -> None:
        if error is not None:
            failures.append(error.name())

    for number, (key, value) in enumerate(records):
        producer.produce(REQUESTS.name, value, key, on_delivery=note)
        if not number % 5_000:
            producer.flush(30)
    if producer.flush(_PATIENCE_SECONDS):
        raise BenchError("the broker did not take the requests")
    if failures:
        raise BenchError(f"{len(failures)} requests did not arrive: {failures[0]}")


def read(servers: str, topic: str) -> Iterator[tuple[int, int, bytes, bytes | None]]:
    """Read a topic to its end, committed records only: partition, offset, key and value."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    left = set(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in left])
    while left:
        for message in consumer.consume(5_000, 0.5):
            error = message.error()
            partition = message.partition() or 0
            if error is None:
                yield partition, message.offset() or 0, message.key() or b"", message.value()
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(partition)
            else:
                raise BenchError(error.name())
    consumer.close()


def shuffle(servers: str) -> dict[str, int]:
    """Tell what the accounts job has written for the pools job: records, rows, bytes, and where reading them ends.

    ``largest`` are the rows of the partition that has most of them.
    """
    told = {"records": 0, "rows": 0, "singles": 0, "bytes": 0}
    ends: dict[int, int] = {}
    here: Counter[int] = Counter()
    for partition, offset, _, value in read(servers, POOL_CONTRIBUTIONS.name):
        rows = decode_block(value or b"").contributions()
        told["records"] += 1
        told["rows"] += len(rows.rows)
        told["singles"] += len(rows.singles)
        told["bytes"] += len(value or b"")
        here[partition] += len(rows.rows) + len(rows.singles)
        ends[partition] = offset + 1
    return told | {"end": sum(ends.values()), "largest": max(here.values(), default=0)}
