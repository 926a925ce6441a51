"""Processes under measurement: pinned, watched from outside, their CPU time read beside the offsets they commit.

The clock is the kernel's CPU clock of the process: user and system time of all its threads, what ``getrusage`` gives at
its end, but readable at any moment and at no cost to the process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[3]
HERE: Final = Path(__file__).parent
_SAMPLE_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 1_200.0


class BenchError(Exception):
    """A process under measurement did not do its work."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One run after its warm-up."""

    cpu_us: float  # For each event.
    events: int
    wall_seconds: float
    peak_megabytes: float


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Let what is started inside run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """Read the CPU clock of another process (Linux: its id is made of the pid)."""
    return time.clock_gettime((~pid << 3) | 2)


class Committed:
    """How many records of a topic a group has committed."""

    def __init__(self, servers: str, group: str, topic: str, width: int) -> None:
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 2})
        self._places = [TopicPartition(topic, number) for number in range(width)]

    def total(self) -> int:
        """Add up the committed offsets; partitions without one count as 0."""
        return sum(max(place.offset, 0) for place in self._consumer.committed(self._places, timeout=30))

    def close(self) -> None:
        """End the client; it never joined the group."""
        self._consumer.close()


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], core: int) -> Iterator[Running]:
    """Run a process on one core; it is gone at the end."""
    log = ROOT / "build" / "bench-worker.log"
    with pinned([core]), log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output)
    try:
        yield Running(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Running:
    """A process under measurement, and where it writes its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, done: Callable[[], bool], seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until something has come true; raises BenchError where the process ends, or the time."""
        deadline = time.monotonic() + seconds
        while not done():
            if self.process.poll() is not None:
                raise BenchError(f"the process ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise BenchError(f"the process did not come to the end: {self.log.read_text()[-2000:]}")
            time.sleep(_SAMPLE_SECONDS)

    def peak_megabytes(self) -> float:
        """Read the process's largest resident size."""
        return _peak_megabytes(self.process.pid)


def run_job(
    command: Sequence[str], environment: Mapping[str, str], core: int, committed: Committed, events: int, warm: int
) -> Figure:
    """Run a job over a backlog of ``events``; the time before ``warm`` of them are committed is left out."""
    seen: list[tuple[int, float, float]] = []
    with started(command, environment, core) as running:

        def done() -> bool:
            count = committed.total()
            if count >= warm:
                seen.append((count, time.monotonic(), cpu_seconds(running.process.pid)))
            return count >= events

        running.wait(done)
        committed.close()
        (first, began, before), (last, ended, after) = seen[0], seen[-1]
        if last - first < min(events // 4, events - warm):
            raise BenchError(f"only {last - first} requests came after the warm-up's checkpoint: take more events")
        return Figure(1e6 * (after - before) / (last - first), last - first, ended - began, running.peak_megabytes())


def run_peer(
    command: Sequence[str], environment: Mapping[str, str], core: int, events: int, warm: int, marks: Path
) -> tuple[Figure, dict[str, list[float | None]]]:
    """Run a peer until it has noted its CPU time in ``marks``; give its accounts, too."""
    began = time.monotonic()
    with started(command, environment, core) as running:
        running.wait(marks.exists)
        told = json.loads(marks.read_text(encoding="utf-8"))
        counted = events - warm
        wall = time.monotonic() - began
        return Figure(1e6 * told["cpu_seconds"] / counted, counted, wall, running.peak_megabytes()), told["accounts"]


def _peak_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise BenchError("the kernel tells no peak memory")
