"""Questions to the cluster: is it there, are the topics right, do producers agree, who may what, what time is it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.topics import REQUESTS, TOPICS
from services.adapters.kafka.murmur2 import partition_of
from services.adapters.kafka.topics import ClusterTopics
from services.doctor.finding import Finding
from services.errors import NotRunningError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.topics import Topic
    from services.adapters.clock import Clock
    from services.bootstrap import ClientConfig
    from services.settings import Settings

SKEW_SECONDS: Final = 5.0
SAMPLE: Final = 200  # Newest records of each partition that are looked at.
_QUIET: Final = 2


class Cluster:
    """The brokers as the doctor sees them; ``config`` is librdkafka's."""

    def __init__(
        self,
        config: ClientConfig,
        settings: Settings,
        clock: Clock,
        timeout: float,
        topics: Sequence[Topic] = TOPICS,
        requests: str = REQUESTS.name,
    ) -> None:
        self._topics = topics
        self._requests = requests
        self._config = {**config, "log_level": _QUIET}
        self._settings = settings
        self._clock = clock
        self._timeout = timeout
        self._admin = AdminClient(self._config)

    def brokers(self) -> Finding:
        """Tell whether there are as many as a topic wants copies."""
        try:
            found = len(self._admin.list_topics(timeout=self._timeout).brokers)
        except KafkaException as error:
            raise NotRunningError("no broker answers") from error
        wanted = self._settings.replication_factor
        if found < wanted:
            advice = "Start the others, or set STILLWATCH_REPLICATION_FACTOR to what there is."
            return Finding("broker", "failed", f"{found} of at least {wanted} brokers answer", advice)
        return Finding("broker", "ok", f"{found} brokers answer")

    def topics(self) -> Finding:
        """Tell whether the cluster is as the table says."""
        settings = self._settings
        counts = settings.partitions, settings.replication_factor
        cluster = ClusterTopics(self._config, self._topics, *counts, timeout=self._timeout)
        differences = cluster.differences()
        if any(each.kind == "partitions" for each in differences):
            advice = "A partition count is fixed: set STILLWATCH_PARTITIONS to what the topics have."
        else:
            advice = "`stillwatch topics diff` shows them, `stillwatch topics apply` mends them."
        if not differences:
            return Finding("topics", "ok", f"all {len(self._topics)} are as the table says")
        named = ", ".join(sorted({each.topic for each in differences})[:4])
        return Finding("topics", "failed", f"{len(differences)} differences, in {named}", advice)

    def partitioner(self) -> Finding:
        """Tell whether the newest requests lie where murmur2 puts their keys."""
        records, width = self._newest
        keyed = [(record.key(), record.partition()) for record in records if record.key()]
        astray = sum(partition_of(key, width) != partition for key, partition in keyed)
        if astray:
            advice = (
                "A producer uses another partitioner than murmur2 (librdkafka: partitioner=murmur2_random). Mend it:"
            )
            advice += " an account that is counted in two places is judged in neither."
            return Finding("partitioner", "failed", f"{astray} of the newest {len(keyed)} requests lie astray", advice)
        return Finding("partitioner", "ok", f"{len(keyed)} newest requests lie where murmur2 puts them")

    def rights(self) -> Finding:
        """Tell whether an ACL holds this principal back."""
        asked = TopicCollection([topic.name for topic in self._topics])
        found = self._admin.describe_topics(asked, include_authorized_operations=True, request_timeout=self._timeout)
        allowed: dict[str, set[str]] = {
            name: {operation.name for operation in answer.result().authorized_operations or ()}
            for name, answer in found.items()
        }
        if all("DELETE" in operations for operations in allowed.values()):
            advice = "Turn the brokers' authorizer on; schemas/access.py and the Helm chart have each process's rights."
            who = self._settings.kafka_sasl_username or "whoever asks"
            return Finding("rights", "warning", f"{who} may do everything, deleting topics too", advice)
        writes = sum("WRITE" in operations for operations in allowed.values())
        reads = sum("READ" in operations for operations in allowed.values())
        return Finding("rights", "ok", f"may read {reads} and write {writes} of {len(allowed)} topics")

    def clock(self) -> Finding:
        """Tell whether the broker has appended records in what is our future."""
        records, _ = self._newest
        if not records:
            return Finding("broker clock", "ok", "no requests yet: nothing to compare with")
        ahead = max(record.timestamp()[1] for record in records) / 1000 - self._clock.now_ms() / 1000
        if ahead > SKEW_SECONDS:
            advice = "Set the clocks of the brokers and of this machine by NTP: event times are held against them."
            return Finding("broker clock", "failed", f"the broker is {ahead:.0f} s ahead of this machine", advice)
        return Finding("broker clock", "ok", "the broker is not ahead of this machine")

    @cached_property
    def _newest(self) -> tuple[list[Any], int]:
        """The newest requests of each partition, read once for all questions, and the topic's width."""
        group = {"group.id": "stillwatch-doctor", "enable.auto.commit": False, "enable.partition.eof": True}
        consumer: Any = Consumer({**self._config, **group})
        try:
            width = len(consumer.list_topics(self._requests, timeout=self._timeout).topics[self._requests].partitions)
            left = set()
            for number in range(width):
                place = TopicPartition(self._requests, number)
                low, high = consumer.get_watermark_offsets(place, timeout=self._timeout)
                consumer.incremental_assign([TopicPartition(self._requests, number, max(low, high - SAMPLE))])
                left.add(number)
            records: list[Any] = []
            deadline = self._clock.monotonic() + self._timeout
            while left and self._clock.monotonic() < deadline:
                for message in consumer.consume(SAMPLE, 0.2):
                    if message.error() is None:
                        records.append(message)
                    else:
                        left.discard(message.partition())
            return records, width
        finally:
            consumer.close()
