"""State: one partition's task, where it has read to, its clock, and the meta row that brings all of it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from stream_jobs.engine.clocks import PartitionClock
from stream_jobs.engine.errors import OffsetGapError
from stream_jobs.engine.invalid import InvalidLimit
from stream_jobs.engine.job import Batch, Processed
from stream_jobs.engine.letters import make_letter

if TYPE_CHECKING:
    from schemas.dead_letter import DeadLetter
    from stream_jobs.engine.job import Rejection, Source, Task

META_KEY: Final = b"\x00engine.meta"
VERSION: Final = 1


class Meta(msgspec.Struct, frozen=True, array_like=True, tag=f"engine.v{VERSION}"):
    """The engine's meta row. ``read`` is the offset after the last record read, for each topic; -1 means "none"."""

    read: dict[str, int]
    event_ms: int
    appended_ms: int
    seen: int
    rejected: int
    task: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Meta)


class Partition:
    """One partition number that this worker holds."""

    def __init__(self, number: int, task: Task, ratio: float) -> None:
        self.number = number
        self.task = task
        self.read: dict[str, int] = {}
        self.clock: PartitionClock | None = None
        self.ended: dict[str, int] = {}  # Topics whose end was reached, and the offset there.
        self._rejected: list[tuple[Batch, Rejection]] = []
        self.limit = InvalidLimit(ratio)
        self.changed = False
        self.pressing = False  # Somebody waits for what the next checkpoint tells.
        self._ratio = ratio

    def load(self, rows: dict[bytes, bytes]) -> None:
        """Take the newest value of each key of the state topic; emptied, for the task has its own form of it."""
        raw = rows.pop(META_KEY, None)
        if raw is None:
            return
        meta = _decoder.decode(raw)
        self.task.load_meta(meta.task)
        self.task.load(list(rows), list(rows.values()))
        rows.clear()
        self.read = dict(self.task.resume(meta.read))
        if meta.event_ms >= 0:
            self.clock = PartitionClock(meta.event_ms, meta.appended_ms)
        self.limit = InvalidLimit(self._ratio, meta.seen, meta.rejected)

    def apply(self, batch: Batch, source: Source, *, timed: bool) -> Processed:
        """Give the task what it has not read yet; raises OffsetGapError, TooManyInvalidError.

        ``timed`` batches move the partition's clock.
        """
        fresh = self._unread(batch, source)
        if fresh is None:
            return Processed()
        result = self.task.process(fresh)
        self.changed = True
        self.pressing |= result.pressing
        self.read[batch.topic] = int(fresh.offsets[-1]) + 1
        self.ended.pop(batch.topic, None)
        self._rejected += [(fresh, rejection) for rejection in result.rejections]
        self.limit.add(len(fresh), result.rejections)
        if timed and result.event_time is not None:
            appended = int(fresh.timestamps[-1])
            known = self.clock or PartitionClock(result.event_time, appended)
            self.clock = known.advanced(result.event_time, appended)
        return result

    def _unread(self, batch: Batch, source: Source) -> Batch | None:
        expected = self.read.get(batch.topic)
        if expected is None:
            return batch
        first, last = int(batch.offsets[0]), int(batch.offsets[-1])
        if last < expected:
            return None
        if first < expected:
            start = int(np.searchsorted(batch.offsets, expected))
            batch = Batch(
                batch.topic,
                batch.partition,
                batch.offsets[start:],
                batch.timestamps[start:],
                batch.keys[start:],
                batch.values[start:],
            )
            first = int(batch.offsets[0])
        if not source.gaps and last - expected + 1 != len(batch):
            raise OffsetGapError(
                f"{batch.topic}[{batch.partition}]: offsets {expected} to {last} hold {len(batch)} records only"
            )
        return batch

    def rows(self) -> tuple[list[bytes], list[bytes | None]]:
        """Give the changed rows and, last, the meta row."""
        keys, values = self.task.dirty()
        if META_KEY in keys:
            raise ValueError("a task uses the engine's key for a row of its own")
        clock = self.clock or PartitionClock(-1, -1)
        meta = Meta(
            self.read, clock.event_ms, clock.appended_ms, self.limit.seen, self.limit.rejected, self.task.meta()
        )
        return [*keys, META_KEY], [*values, _encoder.encode(meta)]

    def at_end(self, topic: str) -> bool:
        """Tell whether every record of the topic that the broker had is applied."""
        return topic in self.ended

    def take_letters(self, job: str) -> list[DeadLetter]:
        """Give a dead letter for each record rejected since the last call."""
        taken, self._rejected = self._rejected, []
        return [make_letter(job, batch, rejection) for batch, rejection in taken]
