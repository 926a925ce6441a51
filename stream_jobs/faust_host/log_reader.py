"""Reads topics, whole or in part, beside the consumer group: state, entitlements, the alerts a label speaks of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_jobs.faust_host.ports import Record
from stream_jobs.faust_host.transport import READ_COMMITTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.topics import Topic

POLL_MS: Final = 500
FETCH_BYTES: Final = 4 << 20  # A larger record comes all the same: brokers always give the first batch whole.


class MissingTopicError(Exception):
    """The topic does not exist: create the topics first (`stillwatch topics apply`)."""

    def __init__(self, name: str) -> None:
        super().__init__(f"topic {name!r} does not exist: create the topics first (`stillwatch topics apply`)")


class KafkaLog:
    """``TopicLog`` on a consumer of its own, without a group. Use from one event loop; one ``read`` at a time."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._consumer: Any = None
        self._known: dict[str, list[TopicPartition]] = {}  # Partition counts are fixed at creation.

    async def start(self) -> None:
        """Connect."""
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._options,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level=READ_COMMITTED,
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=POLL_MS // 5,
            )
            await consumer.start()
            self._consumer = consumer

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def bounds(self, topic: Topic) -> dict[int, tuple[int, int]]:
        """Give each partition's first kept offset and its last stable one plus one; raises MissingTopicError."""
        partitions = await self._partitions(topic)
        begins = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return {tp.partition: (begins[tp], ends[tp]) for tp in partitions}

    async def read(self, topic: Topic, positions: Mapping[int, int]) -> tuple[list[Record], dict[int, int]]:
        """Read to the end that stands at the call; raises MissingTopicError."""
        bounds = await self.bounds(topic)
        # A position that retention has passed by goes on at the first kept offset.
        starts = {part: max(begin, positions.get(part, begin)) for part, (begin, _) in bounds.items()}
        open_ends = {part: end for part, (_, end) in bounds.items() if starts[part] < end}
        records: list[Record] = []
        if open_ends:
            consumer = self._consumer
            places = {TopicPartition(topic.name, part): end for part, end in open_ends.items()}
            consumer.assign(list(places))
            for place in places:
                consumer.seek(place, starts[place.partition])
            while places:
                for place, batch in (await consumer.getmany(*places, timeout_ms=POLL_MS)).items():
                    records += [_record(raw) for raw in batch if raw.offset < open_ends[place.partition]]
                # The position moves over markers and compacted offsets, the last record's offset does not.
                for place in [place for place, end in places.items() if await consumer.position(place) >= end]:
                    del places[place]
            consumer.unsubscribe()  # Else it would go on fetching in the background.
        return records, starts | open_ends

    async def _partitions(self, topic: Topic) -> list[TopicPartition]:
        if topic.name not in self._known:
            cluster = await self._consumer._client.fetch_all_metadata()  # noqa: SLF001 - no public call tells partitions
            found = cluster.partitions_for_topic(topic.name)
            if not found:
                raise MissingTopicError(topic.name)
            self._known[topic.name] = [TopicPartition(topic.name, partition) for partition in sorted(found)]
        return self._known[topic.name]


def _record(raw: Any) -> Record:
    return Record(raw.topic, raw.partition, raw.offset, raw.key, raw.value, raw.timestamp)
