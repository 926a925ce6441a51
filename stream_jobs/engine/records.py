"""librdkafka's messages as batches: one for each topic and partition, in offset order."""

from __future__ import annotations

import logging
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message

from services.telemetry.logs import get_logger
from stream_jobs.engine.job import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence


# librdkafka writes to stderr by itself unless it is given a logger.
LIBRARY_LOG: Final = logging.getLogger("librdkafka")


_MOMENT: Final = itemgetter(1)  # Of a time stamp, behind its kind.


class Ended(NamedTuple):
    """The end of a partition as its reader sees it: the last stable offset for committed reads."""

    topic: str
    partition: int
    offset: int


class Polled(NamedTuple):
    """What one poll brought. ``ended`` partitions have no record at or after that offset, as of this poll.

    ``full`` polls brought all that one may: more is waiting.
    """

    batches: list[Batch]
    ended: list[Ended]
    full: bool = False


def group(messages: Sequence[Message]) -> Polled:
    """Sort messages into batches; raises KafkaException for an error that does not pass by itself."""
    runs: dict[tuple[str, int], list[Message]] = {}
    ended: list[Ended] = []
    # By map: a call from the loop's body costs three times as much, and there are seven for each record.
    facts = zip(
        messages,
        map(Message.error, messages),
        map(Message.topic, messages),
        map(Message.partition, messages),
        strict=True,
    )
    for message, error, topic, number in facts:
        if error is None:
            # librdkafka gives both for every record; only a hand-made message lacks them.
            place: tuple[str, int] = (topic, number)  # type: ignore[assignment]  # a polled one has both
            run = runs.get(place)
            if run is None:
                run = runs[place] = []
            run.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin with an underscore
            ended.append(Ended(topic or "", number or 0, message.offset() or 0))
        elif error.retriable():
            get_logger().warning("consumer.waits", error=error.name())
        else:
            raise KafkaException(error)
    return Polled([_batch(topic, partition, run) for (topic, partition), run in runs.items()], ended)


def _batch(topic: str, partition: int, run: list[Message]) -> Batch:
    return Batch(
        topic,
        partition,
        np.fromiter(map(Message.offset, run), np.int64, len(run)),
        np.fromiter(map(_MOMENT, map(Message.timestamp, run)), np.int64, len(run)),
        list(map(Message.key, run)),
        list(map(Message.value, run)),
    )
