"""Batches that come as soon as anything has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from services.adapters.kafka.client import kind_of_refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Consumer, Message


def next_batch(consumer: Consumer, most: int, seconds: float) -> list[Message]:
    """Wait for a record at most this long, and give it with what lies beside it; errors are records too.

    ``Consumer.consume`` waits for a full batch instead: a lone record would wait until the time is up, so that the time
    would have to be short and an idle process busy.
    """
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(most - 1, 0)]


def good_records(messages: Sequence[Message]) -> list[Message]:
    """Leave out what the client tells of its connection and mends itself; raises KafkaException for a refusal."""
    good = []
    for message in messages:
        error = message.error()
        if error is None:
            good.append(message)
        elif kind_of_refusal(error) is not None:
            raise KafkaException(error)
    return good
