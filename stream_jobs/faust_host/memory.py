"""The ports in memory: the same promises without a broker, for tests and for what runs without Kafka."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream_jobs.faust_host.ports import Outgoing, Ports, Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from schemas.dead_letter import Reason
    from schemas.topics import Topic
    from services.telemetry.metrics import Metrics


@dataclass(slots=True)
class MemoryBroker:
    """One-partition topics in memory. Is ``Outbox`` and ``TopicLog`` in one, so what is sent can be read."""

    topics: dict[str, list[Record]] = field(default_factory=dict)
    append_ms: int = 0

    def append(self, topic: str, key: bytes | None, value: bytes | None) -> Record:
        """Add a record at the topic's end."""
        records = self.topics.setdefault(topic, [])
        record = Record(topic, 0, len(records), key, value, self.append_ms)
        records.append(record)
        return record

    def values(self, topic: Topic) -> list[bytes]:
        """Give what stands on a topic, tombstones left out."""
        return [record.value for record in self.topics.get(topic.name, []) if record.value is not None]

    async def begin(self, outgoing: Outgoing) -> Awaitable[object]:
        """Append at once; see ``Outbox``."""
        self.append(outgoing.topic.name, outgoing.key, outgoing.value)
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Append in order; see ``Outbox``."""
        for each in outgoing:
            await self.begin(each)

    async def bounds(self, topic: Topic) -> dict[int, tuple[int, int]]:
        """Give the one partition's bounds; see ``TopicLog``."""
        return {0: (0, len(self.topics.get(topic.name, [])))}

    async def read(self, topic: Topic, positions: Mapping[int, int]) -> tuple[list[Record], dict[int, int]]:
        """Read to the end; see ``TopicLog``."""
        records = self.topics.get(topic.name, [])
        return records[positions.get(0, 0) :], {0: len(records)}


@dataclass(slots=True)
class MemoryLine:
    """``FinishLine`` and ``DeadLetters`` that remember."""

    finished: dict[tuple[str, int], int] = field(default_factory=dict)
    rejected: list[tuple[Record, Reason, str, str]] = field(default_factory=list)

    def finish(self, record: Record) -> None:
        """Remember the next offset; see ``FinishLine``."""
        place = (record.topic, record.partition)
        self.finished[place] = max(record.offset + 1, self.finished.get(place, 0))

    async def reject(self, record: Record, reason: Reason, detail: str, schema: str) -> None:
        """Remember the rejection; see ``DeadLetters``."""
        self.rejected.append((record, reason, detail, schema))


def memory_ports(broker: MemoryBroker, line: MemoryLine, metrics: Metrics, partitions: int = 1) -> Ports:
    """Give ports that stay in memory."""
    return Ports(
        outbox=broker, log=broker, line=line, dead_letters=line, metrics=metrics, partitions=partitions, details={}
    )
