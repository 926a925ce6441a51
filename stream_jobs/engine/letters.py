"""Dead letters: where a record is that was not counted, and why; never what it held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from schemas.dead_letter import DeadLetter
from schemas.headers import binary_headers
from stream_jobs.engine.job import Output
from stream_jobs.engine.layout import DEAD_LETTERS

if TYPE_CHECKING:
    from stream_jobs.engine.job import Batch, Rejection

_encoder = msgspec.json.Encoder()


def make_letter(job: str, batch: Batch, rejection: Rejection) -> DeadLetter:
    """Name the record by its place in the log."""
    return DeadLetter(
        topic=batch.topic,
        partition=batch.partition,
        offset=int(batch.offsets[rejection.index]),
        reason=rejection.reason,
        detail=rejection.detail,
        schema=rejection.schema,
        size=len(batch.values[rejection.index] or b""),
        time_unix_ms=int(batch.timestamps[rejection.index]),
        job=job,
    )


def encode_letter(letter: DeadLetter) -> Output:
    """Write it as a record, keyed by its topic."""
    headers = binary_headers(letter, f"stillwatch/{letter.job}", letter.time_unix_ms)
    return Output(DEAD_LETTERS, _encoder.encode(letter), letter.topic.encode(), headers=headers)
