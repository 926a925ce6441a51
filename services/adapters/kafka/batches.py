"""Batches that come as soon as anything has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message


def next_batch(consumer: Consumer, most: int, seconds: float) -> list[Message]:
    """Wait for a record at most this long, and give it with what lies beside it; errors are records too.

    ``Consumer.consume`` waits for a full batch instead: a lone record would wait until the time is up, so that the time
    would have to be short and an idle process busy.
    """
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(most - 1, 0)]
