"""How often the loop makes a checkpoint: at its interval, and less often while more is waiting than a poll brings."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from stream_jobs.engine.worker import BEHIND_FACTOR, PRESSING_SECONDS, Worker, WorkerOptions


class Ticking:
    """A clock that each poll moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Stop:
    """Is set once the clock has come so far."""

    def __init__(self, clock: Ticking, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def is_set(self) -> bool:
        return self._clock.now >= self._seconds


@dataclass
class Held:
    """A partition whose hops close at these moments."""

    clock: Ticking
    closes: list[float]
    at_the_end: bool

    @property
    def pressing(self) -> bool:
        return bool(self.closes) and self.closes[0] <= self.clock.now

    def at_end(self, _topic: str) -> bool:
        return self.at_the_end


def checkpoints(
    seconds: float, *, full_until: float, closes: tuple[float, ...] = (), at_the_end: bool = True
) -> list[float]:
    """Run a loop whose polls are full at first; give when it made checkpoints, the last one at its end."""
    clock, made = Ticking(), []
    worker: Any = object.__new__(Worker)
    held = Held(clock, list(closes), at_the_end)

    def step(wait: float) -> bool:
        # A full poll is there at once; what it brings takes its time to be applied.
        clock.now += 0.25 if clock.now < full_until else max(wait, 0.01)
        return clock.now < full_until

    def checkpoint(_: object) -> None:
        made.append(round(clock.now, 2))
        held.closes = [moment for moment in held.closes if moment > clock.now]

    worker._options, worker._clock, worker._partitions = WorkerOptions(), clock, {0: held}
    worker._job = SimpleNamespace(sources=(SimpleNamespace(topic="requests"),))
    worker._step, worker._report = step, lambda: None
    worker._checkpoint = checkpoint
    worker._source, worker._heartbeats, worker._log = _Nothing(), None, _Nothing()
    worker.run(Stop(clock, seconds))
    return made


class _Nothing:
    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def test_a_worker_that_keeps_up_makes_one_each_interval() -> None:
    assert checkpoints(5.5, full_until=0.0) == pytest.approx([1, 2, 3, 4, 5, 5.5], abs=0.11)


def test_a_worker_that_is_behind_makes_fewer() -> None:
    made = checkpoints(20.0, full_until=20.0)
    assert made == pytest.approx([BEHIND_FACTOR, 2 * BEHIND_FACTOR, 3 * BEHIND_FACTOR, 20, 20], abs=0.26)


def test_one_that_catches_up_makes_one_at_once() -> None:
    made = checkpoints(6.0, full_until=3.0)
    assert made[:3] == pytest.approx([3, 4, 5], abs=0.36)


def test_a_closed_hop_is_told_at_once() -> None:
    made = checkpoints(3.0, full_until=0.0, closes=(1.4,))
    assert made == pytest.approx([1, 1.4, 2.4, 3], abs=0.11)


def test_hops_that_close_soon_after_a_checkpoint_are_told_together() -> None:
    made = checkpoints(2.0, full_until=0.0, closes=(1.02, 1.1))
    assert made == pytest.approx([1, 1 + PRESSING_SECONDS, 2], abs=0.12)


def test_a_closed_hop_waits_where_more_is_to_be_read() -> None:
    assert checkpoints(2.5, full_until=0.0, closes=(1.4,), at_the_end=False) == pytest.approx([1, 2, 2.5], abs=0.11)
