"""Sending dead letters: where a record lies and why it could not be counted. Never its bytes: they may hold text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import KafkaException

from schemas.headers import binary_headers
from schemas.topics import DEAD_LETTERS
from services.adapters.kafka.client import kind_of_refusal
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import KafkaError, Producer

    from schemas.dead_letter import DeadLetter


class DeliveryError(StillwatchError):
    """The broker did not acknowledge a record in time; its source must not be committed."""


def send_dead_letters(producer: Producer, letters: Sequence[DeadLetter], timeout: float = 30.0) -> None:
    """Send and wait until the broker has them all; raises DeliveryError. Only then may their offsets be committed."""
    failed: list[KafkaError] = []

    def note(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    for letter in letters:
        producer.produce(
            DEAD_LETTERS.name,
            key=letter.topic,
            value=msgspec.json.encode(letter),
            headers=binary_headers(letter, f"stillwatch/{letter.job}", letter.time_unix_ms),
            on_delivery=note,
        )
    left = producer.flush(timeout)
    raise_undelivered(failed, left, "dead letters")


def raise_undelivered(failed: Sequence[KafkaError], left: int, what: str) -> None:
    """Raise DeliveryError where a record failed or is ``left``; its cause is a broker's refusal where one was given."""
    if not failed and not left:
        return
    names = ", ".join(sorted({error.name() for error in failed})) or "no answer in time"
    refused = next((KafkaException(error) for error in failed if kind_of_refusal(error) is not None), None)
    raise DeliveryError(f"{len(failed) + left} {what} were not delivered: {names}") from refused
