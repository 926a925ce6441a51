"""librdkafka's messages as batches: one for each topic and partition, in offset order."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from services.telemetry.logs import get_logger
from stream_jobs.engine.job import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message


# librdkafka writes to stderr by itself unless it is given a logger.
LIBRARY_LOG: Final = logging.getLogger("librdkafka")


class Ended(NamedTuple):
    """The end of a partition as its reader sees it: the last stable offset for committed reads."""

    topic: str
    partition: int
    offset: int


class Polled(NamedTuple):
    """What one poll brought. ``ended`` partitions have no record at or after that offset, as of this poll."""

    batches: list[Batch]
    ended: list[Ended]


def group(messages: Sequence[Message]) -> Polled:
    """Sort messages into batches; raises KafkaException for an error that does not pass by itself."""
    runs: dict[tuple[str, int], list[Message]] = {}
    ended: list[Ended] = []
    for message in messages:
        error = message.error()
        if error is None:
            # librdkafka gives both for every record; only a hand-made message lacks them.
            place: tuple[str, int] = (message.topic(), message.partition())  # type: ignore[assignment]  # a polled one has both
            run = runs.get(place)
            if run is None:
                run = runs[place] = []
            run.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin with an underscore
            ended.append(Ended(message.topic() or "", message.partition() or 0, message.offset() or 0))
        elif error.retriable():
            get_logger().warning("consumer.waits", error=error.name())
        else:
            raise KafkaException(error)
    return Polled([_batch(topic, partition, run) for (topic, partition), run in runs.items()], ended)


def _batch(topic: str, partition: int, run: list[Message]) -> Batch:
    return Batch(
        topic,
        partition,
        np.array([message.offset() for message in run], np.int64),
        np.array([message.timestamp()[1] for message in run], np.int64),
        [message.key() for message in run],
        [message.value() for message in run],
    )
