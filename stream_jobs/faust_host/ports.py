"""What a job sees of the outside: records in, an outbox, whole topics to read, and the finish line it draws itself.

Delivery is at least once and in order for each partition. A record counts as done when the job calls ``finish`` for it
and not before: what is not finished when the process ends is delivered again. Output is at the broker when ``send``
returns, so a job that sends, then finishes, loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from schemas.dead_letter import Reason
    from schemas.topics import Topic
    from services.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the broker keeps it. ``time_ms`` is the broker's append time. ``value`` None is a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to send. ``key`` decides the partition (murmur2, as Java and librdkafka's ``murmur2_random``)."""

    topic: Topic
    key: bytes
    value: bytes | None
    headers: Sequence[tuple[str, str | bytes | None]] = ()  # Values are bytes; the type is confluent-kafka's.


class Outbox(Protocol):
    """Sends records."""

    async def begin(self, outgoing: Outgoing) -> Awaitable[object]:
        """Hand a record to the producer; the awaitable ends when the broker has it, and raises where it does not."""

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send records of one topic in order and wait until the broker has them all."""


class TopicLog(Protocol):
    """Reads topics from any offset, outside the consumer group. Committed records only."""

    async def bounds(self, topic: Topic) -> dict[int, tuple[int, int]]:
        """Give each partition's first kept offset and the next one to be written."""

    async def read(self, topic: Topic, positions: Mapping[int, int]) -> tuple[list[Record], dict[int, int]]:
        """Read from ``positions`` (missing partitions: from their start) to the end that stands at the call.

        Gives the records, in order within each partition, and the positions to go on from.
        """


class FinishLine(Protocol):
    """Where a job says how far it has come."""

    def finish(self, record: Record) -> None:
        """Mark this record and all before it in its partition as done for ever: its offset may be committed."""


class DeadLetters(Protocol):
    """Where records go that cannot be counted."""

    async def reject(self, record: Record, reason: Reason, detail: str, schema: str) -> None:
        """Send the dead letter and wait for the broker; raises TooManyInvalidError above the settings' ratio."""


@dataclass(slots=True)
class Ports:
    """Everything that a job gets. ``partitions`` is the settings' count of wide topics."""

    outbox: Outbox
    log: TopicLog
    line: FinishLine
    dead_letters: DeadLetters
    metrics: Metrics
    partitions: int = 8
    details: dict[str, str] = field(default_factory=dict)  # What /readyz tells of the job; replaced by the job itself.


class StreamJob(Protocol):
    """A job. The host never calls two of its methods at once."""

    async def open(self) -> None:
        """Rebuild the state from the topics: at the start, and again when partitions came back from elsewhere."""

    async def handle(self, record: Record) -> None:
        """Take one record. An exception stops the process and leaves the record unfinished."""

    async def tick(self) -> None:
        """Do what waits for time: called about every half second between records."""

    async def drain(self) -> None:
        """Finish what can be finished at once: the process stops in order, no record follows."""


class TooManyInvalidError(Exception):
    """More than the settings' share of records is invalid: the job stops instead of draining the topic."""
