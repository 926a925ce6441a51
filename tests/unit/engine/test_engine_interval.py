"""How often the loop makes a checkpoint: at its interval, and less often while more is waiting than a poll brings."""

from __future__ import annotations

from typing import Any

import pytest

from stream_jobs.engine.worker import BEHIND_FACTOR, Worker, WorkerOptions


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


def checkpoints(seconds: float, *, full_until: float) -> list[float]:
    """Run a loop whose polls are full at first; give when it made checkpoints, the last one at its end."""
    clock, made = Ticking(), []
    worker: Any = object.__new__(Worker)

    def step(wait: float) -> bool:
        # A full poll is there at once; what it brings takes its time to be applied.
        clock.now += 0.25 if clock.now < full_until else max(wait, 0.01)
        return clock.now < full_until

    worker._options, worker._clock, worker._partitions = WorkerOptions(), clock, {}
    worker._step, worker._report = step, lambda: None
    worker._checkpoint = lambda _: made.append(round(clock.now, 2))
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
