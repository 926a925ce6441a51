"""Processes under measurement: pinned, watched from outside, their CPU time read beside the offsets they commit.

The clock is the kernel's CPU clock of the process: user and system time of all its threads, what ``getrusage`` gives at
its end, but readable at any moment and at no cost to the process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[3]
HERE: Final = Path(__file__).parent
_SAMPLE_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 300.0


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


def run_job(
    command: Sequence[str],
    environment: Mapping[str, str],
    core: int,
    committed: Committed,
    events: int,
    warm: int,
    marks: Path | None = None,
) -> Figure:
    """Run a job over a backlog of ``events``; the time before ``warm`` of them are committed is left out.

    ``marks`` is a file in which the process itself notes its CPU time at ``warm`` and at ``events``.
    """
    log = ROOT / "build" / "bench-worker.log"
    with pinned([core]), log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        return _watch(process, committed, events, warm, log, marks)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        committed.close()


def _watch(
    process: subprocess.Popen[bytes], committed: Committed, events: int, warm: int, log: Path, marks: Path | None
) -> Figure:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    first: tuple[int, float, float] | None = None
    while True:
        time.sleep(_SAMPLE_SECONDS)
        if process.poll() is not None:
            raise BenchError(f"the process ended with {process.returncode}: {log.read_text()[-2000:]}")
        if time.monotonic() > deadline:
            raise BenchError(f"the process did not come to the end: {log.read_text()[-2000:]}")
        count = committed.total()
        now = time.monotonic(), cpu_seconds(process.pid)
        if first is None and warm <= count < events:
            first = count, *now
        if count >= events:
            break
    if first is None and marks is not None:
        first = events, *now
    if first is None:
        raise BenchError("all was committed at once: take more events")
    counted = count - first[0]
    spent = now[1] - first[2]
    if marks is not None:
        begun, ended = map(float, marks.read_text(encoding="ascii").split())
        spent, counted = ended - begun, events - warm
    elif counted < events // 4:
        raise BenchError(f"only {counted} requests came after the warm-up's checkpoint: take more events")
    return Figure(
        cpu_us=1e6 * spent / counted,
        events=counted,
        wall_seconds=now[0] - first[1],
        peak_megabytes=_peak_megabytes(process.pid),
    )


def _peak_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise BenchError("the kernel tells no peak memory")
