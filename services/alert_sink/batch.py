"""A poll's messages, sorted out: what to store, what is poison, and where the next batch begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException

from schemas.dead_letter import DeadLetter
from services.alert_sink.records import SCHEMA, Rejected, read_record
from services.telemetry.logs import get_logger
from services.telemetry.spans import traceparent_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message

    from services.adapters.postgres.alert_store import Incoming

JOB: Final = "alert-sink"
# The client mends these itself: a broker that restarts, a topic that is about to be made, a turn lost by waiting.
_MENDED_BY_CLIENT: Final = frozenset(
    {
        "_ALL_BROKERS_DOWN",
        "_MAX_POLL_EXCEEDED",
        "_RESOLVE",
        "_TIMED_OUT",
        "_TRANSPORT",
        "UNKNOWN_TOPIC_OR_PART",
    }
)


class Place(NamedTuple):
    """Where a record lies, its size, when the broker appended it (0 where it does not say), and whose trace it is."""

    topic: str
    partition: int
    offset: int
    size: int
    appended_unix_ms: int
    traceparent: str = ""

    def letter(self, rejected: Rejected) -> DeadLetter:
        """Make the dead letter of the record that lies here."""
        return DeadLetter(
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            reason=rejected.reason,
            detail=rejected.detail,
            schema=SCHEMA,
            size=self.size,
            time_unix_ms=self.appended_unix_ms,
            job=JOB,
        )


@dataclass(slots=True)
class Batch:
    """``places[i]`` is where ``incoming[i]`` lies. ``next_offsets`` lies behind all records, poison too."""

    incoming: list[Incoming] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Count the records, poison too."""
        return len(self.incoming) + len(self.letters)


def sort_messages(messages: Sequence[Message]) -> Batch:
    """Sort a poll's messages out; raises KafkaException for an error that the client cannot mend."""
    batch = Batch()
    for message in messages:
        error = message.error()
        if error is not None:
            _judge(error)
            continue
        place = _place(message)
        verdict = read_record(message.key(), message.value())
        if isinstance(verdict, Rejected):
            batch.letters.append(place.letter(verdict))
        else:
            batch.incoming.append(verdict)
            batch.places.append(place)
        batch.next_offsets[place.partition] = place.offset + 1
    return batch


def _judge(error: KafkaError) -> None:
    if error.fatal() or not (error.retriable() or error.name() in _MENDED_BY_CLIENT):
        raise KafkaException(error)
    get_logger().warning("sink.consumer_waits", error=error.name())


def _place(message: Message) -> Place:
    # The client types these as optional for messages that were never sent; one that was fetched has them all.
    fetched: Any = message
    kind, appended = fetched.timestamp()
    return Place(
        fetched.topic(),
        fetched.partition(),
        fetched.offset(),
        len(fetched.value() or b""),
        0 if kind == TIMESTAMP_NOT_AVAILABLE else appended,
        traceparent_of(fetched.headers()),
    )
