"""Sending dead letters: where a record lies and why it could not be counted. Never its bytes: they may hold text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from schemas.headers import binary_headers
from schemas.topics import DEAD_LETTERS
from services.errors import StillwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Producer

    from schemas.dead_letter import DeadLetter


class DeliveryError(StillwatchError):
    """The broker did not acknowledge a record in time; its source must not be committed."""


def send_dead_letters(producer: Producer, letters: Sequence[DeadLetter], timeout: float = 30.0) -> None:
    """Send and wait until the broker has them all; raises DeliveryError. Only then may their offsets be committed."""
    failed: list[str] = []

    def note(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error.name())

    for letter in letters:
        producer.produce(
            DEAD_LETTERS.name,
            key=letter.topic,
            value=msgspec.json.encode(letter),
            headers=binary_headers(letter, f"stillwatch/{letter.job}", letter.time_unix_ms),
            on_delivery=note,
        )
    left = producer.flush(timeout)
    if failed or left:
        raise DeliveryError(f"{len(failed) + left} dead letters were not delivered: {', '.join(sorted(set(failed)))}")
