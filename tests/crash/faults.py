"""Points at which a worker may die or stop. They live here, beside the product: no release of it can be left with one.

``faulty_worker`` runs the product's own worker with one of these built around it; the product knows nothing of it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import stream_jobs.engine.worker as loop
from stream_jobs.engine import source
from stream_jobs.engine.partition import META_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

# Met by a worker that gets records; in the order of a checkpoint.
CHECKPOINT_POINTS: Final = (
    "after_poll",
    "after_state",
    "before_outputs",
    "mid_outputs",
    "after_outputs",
    "mid_rows",
    "before_meta",
    "after_changelog",
    "before_commit",
    "after_commit",
)
# Met by a worker that gets partitions.
ASSIGNMENT_POINTS: Final = ("before_recovery", "mid_recovery", "after_recovery")
# Met by a worker that gives partitions away.
REVOCATION_POINTS: Final = ("before_revocation", "after_revocation")
POINTS: Final = (*CHECKPOINT_POINTS, *ASSIGNMENT_POINTS, *REVOCATION_POINTS)


class Fault(NamedTuple):
    """Where to fall, how, and at which meeting of the point (1 is the first)."""

    point: str
    stop: bool = False
    meeting: int = 1

    def text(self) -> str:
        return f"{'stop' if self.stop else 'kill'}:{self.point}:{self.meeting}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        how, point, meeting = text.split(":")
        if how not in {"kill", "stop"} or point not in POINTS:
            raise ValueError(f"no fault is called {text!r}")
        return cls(point, how == "stop", int(meeting))


class Trap:
    """Falls once, by a signal to this very process, so that no line of Python runs behind it."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._left = fault.meeting

    def meet(self, point: str) -> None:
        if point != self._fault.point or self._left <= 0:
            return
        self._left -= 1
        if not self._left:
            sys.stderr.write(f"FALLS {self._fault.text()}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSTOP if self._fault.stop else signal.SIGKILL)


class FaultyProducer:
    """Stands before librdkafka's producer; what a fault leaves behind in the log is what a dying process leaves."""

    def __init__(self, inner: Any, trap: Trap, state_topic: str) -> None:
        self._inner = inner
        self._trap = trap
        self._state_topic = state_topic
        self._rows = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin_transaction(self) -> None:
        self._rows = 0
        self._trap.meet("before_outputs")
        self._inner.begin_transaction()

    def produce(self, topic: str, value: bytes | None, key: bytes | None, *rest: Any, **options: Any) -> None:
        if topic == self._state_topic:
            self._rows += 1
            if self._rows == 1:
                self._reach_broker("after_outputs")
            if key == META_KEY:
                self._reach_broker("before_meta")
        self._inner.produce(topic, value, key, *rest, **options)
        if topic != self._state_topic:
            self._reach_broker("mid_outputs")
        elif key != META_KEY:
            self._reach_broker("mid_rows")

    def _reach_broker(self, point: str) -> None:
        """Let what was produced so far get there first, or the point would leave no trace in the log."""
        if point == self._trap._fault.point:
            self._inner.flush(1.0)
            self._trap.meet(point)

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self._trap.meet("after_changelog")
        self._inner.send_offsets_to_transaction(*arguments)

    def commit_transaction(self, timeout: float) -> None:
        self._trap.meet("before_commit")
        self._inner.commit_transaction(timeout)
        self._trap.meet("after_commit")


def with_random_chunks(longest: int) -> type[loop.Worker]:
    """Give the product's worker with polls that bring a random number of records, as a busy or an idle one's do."""
    dice = random.Random(longest)  # noqa: S311 - where a chunk ends is no secret

    class ChunkedWorker(loop.Worker):
        def _step(self, seconds: float) -> bool:
            source.CHUNK = dice.randint(1, longest)  # type: ignore[misc]  # the source looks it up at each poll
            return super()._step(seconds)

    return ChunkedWorker


def with_fault(fault: Fault) -> type[loop.Worker]:
    """Give the product's worker with one fault in it."""
    trap = Trap(fault)

    class FaultyWorker(loop.Worker):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._writer._producer = FaultyProducer(self._writer._producer, trap, self._job.state_topic)
            source_poll, reader_read = self._source.poll, self._reader.read

            def poll(seconds: float) -> Any:
                polled = source_poll(seconds)
                if polled.batches:
                    trap.meet("after_poll")
                return polled

            def read(starts: Mapping[Any, int], take: Any) -> Any:
                def taking(batch: Any) -> None:
                    take(batch)
                    trap.meet("mid_recovery")

                return reader_read(starts, taking)

            self._source.poll, self._reader.read = poll, read

        def _apply(self, batch: Any) -> None:
            super()._apply(batch)
            trap.meet("after_state")

        def assigned(self, numbers: set[int]) -> Any:
            trap.meet("before_recovery")
            starts = super().assigned(numbers)
            trap.meet("after_recovery")
            return starts

        def revoked(self, numbers: set[int]) -> None:
            trap.meet("before_revocation")
            super().revoked(numbers)
            trap.meet("after_revocation")

    return FaultyWorker
