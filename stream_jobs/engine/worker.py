"""The loop: poll, apply, and at each interval one checkpoint. Everything it raises ends the process."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from confluent_kafka import TopicPartition

from services.telemetry.logs import get_logger
from stream_jobs.engine.control import HeartbeatWriter
from stream_jobs.engine.errors import OffsetGapError
from stream_jobs.engine.health import WorkerHealth
from stream_jobs.engine.layout import read_widths
from stream_jobs.engine.letters import encode_letter
from stream_jobs.engine.partition import Partition
from stream_jobs.engine.recovery import LogReader, NewestRows
from stream_jobs.engine.source import GroupSource
from stream_jobs.engine.stages import JobMetrics, StageTimer
from stream_jobs.engine.transaction import Checkpoint, TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from services.adapters.clock import Clock
    from services.bootstrap import ClientConfig
    from services.telemetry.metrics import Metrics
    from stream_jobs.engine.clocks import PartitionClock
    from stream_jobs.engine.job import Batch, Job
    from stream_jobs.engine.recovery import Place


# While more is waiting than a poll may bring, outputs are late whatever is done, and a checkpoint for fewer records
# costs more of each: rows, contributions and scores of many records are written once. It bounds what is read again.
BEHIND_FACTOR: Final = 5.0
# A closed hop is told this long after the checkpoint before, at least: partitions of one worker close theirs within
# moments of each other. Only at the end of the log, where nothing but the next checkpoint is waited for.
PRESSING_SECONDS: Final = 0.25


def _unnoted(what: str, **facts: object) -> None:
    """Remember nothing; a process gives its flight recorder's ``note``."""


class StopSign(Protocol):
    """Tells the loop to drain. A ``threading.Event`` is one."""

    def is_set(self) -> bool:
        """Tell whether to stop."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What settings say to the loop."""

    worker_index: int = 0
    checkpoint_seconds: float = 1.0  # Up to BEHIND_FACTOR times as long while the worker is behind.
    poll_seconds: float = 0.1  # A poll that brings less than a full chunk lasts this long.
    session_timeout_ms: int = 10_000
    static_member: bool = False  # Known to the group by its index, so that a new process takes the old one's place.
    dead_letter_ratio: float = 0.5


class Worker:
    """One process's share of a job. ``consumer`` and ``producer`` are librdkafka's connection settings."""

    def __init__(
        self,
        job: Job,
        options: WorkerOptions,
        consumer: ClientConfig,
        producer: ClientConfig,
        metrics: Metrics,
        clock: Clock,
        note: Callable[..., None] = _unnoted,
        health: WorkerHealth | None = None,
    ) -> None:
        self._note = note
        self._job = job
        self._options = options
        self._clock = clock
        self._log = get_logger().bind(job=job.name, worker=options.worker_index)
        self._widths = read_widths(consumer, job)
        self._metrics = JobMetrics(metrics, job.name)
        self.health = WorkerHealth(clock.monotonic) if health is None else health
        self._metrics.loop_age_by(lambda: self.health.age)
        self.timer = StageTimer()
        self._sources = {source.topic: source for source in job.sources}
        self._partitions: dict[int, Partition] = {}
        self._reader = LogReader(consumer, self._recovers)
        self._heartbeats = HeartbeatWriter(producer, job.heartbeats, clock) if job.heartbeats else None
        # The transactional id fences a former self before the group gives this one a partition.
        self._writer = TransactionalWriter(producer, f"stillwatch-{job.name}-{options.worker_index}", self.health.beat)
        topics = [source.topic for source in job.sources]
        name = f"stillwatch-{job.name}"
        instance = f"{name}-{options.worker_index}" if options.static_member else None
        self._source = GroupSource(consumer, name, topics, options.session_timeout_ms, self, instance)

    def run(self, stop: StopSign) -> None:
        """Work until told to stop; then make a last checkpoint and leave the group."""
        self._source.subscribe()
        behind, last = False, self._clock.monotonic()
        while not stop.is_set():
            due = last + self._interval(behind=behind)
            behind = self._step(max(0.0, min(self._options.poll_seconds, due - self._clock.monotonic())))
            if self._clock.monotonic() >= last + self._interval(behind=behind):
                self._checkpoint(self._partitions.values())
                self._report()
                last = self._clock.monotonic()
        self._log.info("worker.draining")
        self._checkpoint(self._partitions.values())
        self._source.close()
        if self._heartbeats is not None:
            self._heartbeats.close()
        self._log.info("worker.stopped")

    def _interval(self, *, behind: bool) -> float:
        if behind:
            return self._options.checkpoint_seconds * BEHIND_FACTOR
        leading = self._job.sources[0].topic
        pressing = any(partition.pressing and partition.at_end(leading) for partition in self._partitions.values())
        return min(self._options.checkpoint_seconds, PRESSING_SECONDS if pressing else math.inf)

    def _step(self, seconds: float) -> bool:
        """Poll and apply once; whether more is waiting."""
        self.timer.lap("other")
        polled = self._source.poll(seconds)
        self.health.polled = self._clock.monotonic()
        self.health.beat()
        self.timer.lap("fetch")
        if polled.batches:
            self._note("polled", batches=len(polled.batches), records=sum(map(len, polled.batches)))
        # What says how to read the rest goes first.
        for batch in sorted(polled.batches, key=lambda batch: not self._sources[batch.topic].first):
            self._apply(batch)
        self.timer.lap("process")
        for topic, number, offset in polled.ended:
            partition = self._partitions.get(number)
            if partition is not None and offset >= partition.read.get(topic, 0):
                partition.ended[topic] = offset
        if self._heartbeats is not None:
            self._heartbeats.sweep(self._partitions.values(), self._all_clocks)
        return polled.full

    def _apply(self, batch: Batch) -> None:
        partition = self._partitions.get(batch.partition)
        if partition is None:
            return  # Fetched before the partition was revoked: its next owner reads it.
        timed = self._job.heartbeats is not None and self._job.heartbeats.topic == batch.topic
        if partition.apply(batch, self._sources[batch.topic], timed=timed).event_time is not None:
            self._watch(batch.partition)
        self._metrics.applied(len(batch))

    def _all_clocks(self) -> dict[int, PartitionClock]:
        rules = self._job.heartbeats
        if rules is None or len(self._partitions) == self._widths[rules.topic]:
            return {}
        return self._source.clocks(rules.topic, self._widths[rules.topic])

    def _watch(self, number: int) -> None:
        if self._heartbeats is not None:
            self._heartbeats.watch(number)

    def assigned(self, numbers: set[int]) -> Mapping[Place, int]:
        """Load the partitions' state and tell where to read on; called by the source."""
        begun = self._clock.monotonic()
        self._note("assigned", partitions=sorted(numbers))
        self.health.recovering = tuple(sorted(numbers))
        fresh = {
            number: Partition(number, self._job.make_task(number, self._widths), self._options.dead_letter_ratio)
            for number in sorted(numbers)
        }
        newest = NewestRows()
        self._reader.read(self._reader.starts([(self._job.state_topic, number) for number in fresh]), newest.take)
        for number, partition in fresh.items():
            partition.load(newest.rows.pop(number, {}))
        self._partitions |= fresh
        starts = self._starts(fresh)
        first = {place: at for place, at in starts.items() if self._sources[place[0]].first}
        starts |= self._reader.read(first, self._apply)
        for number in fresh:
            self._watch(number)
        self.health.recovering = ()
        self.health.assigned = tuple(sorted(self._partitions))
        seconds = self._clock.monotonic() - begun
        self._metrics.moved("assigned", len(fresh), seconds)
        self._note("recovered", records=newest.records, seconds=round(seconds, 3))
        self._log.info(
            "partitions.assigned",
            partitions=sorted(fresh),
            held=len(self._partitions),
            records=newest.records,
            seconds=round(seconds, 3),
        )
        return starts

    def _recovers(self, records: int, total: int) -> None:
        self.health.beat()
        self.health.recovered = (records, total)

    def _starts(self, fresh: Mapping[int, Partition]) -> dict[Place, int]:
        places = [(topic, number) for topic in self._sources for number in fresh]
        starts = self._reader.starts(places)
        for (topic, number), oldest in starts.items():
            wanted = fresh[number].read.get(topic, oldest)
            if wanted < oldest:
                raise OffsetGapError(f"{topic}[{number}]: offsets {wanted} to {oldest - 1} were deleted unread")
            starts[topic, number] = wanted
        return starts

    def revoked(self, numbers: set[int]) -> None:
        """Make a checkpoint of the partitions and forget them; called by the source."""
        self._checkpoint([self._partitions[number] for number in numbers if number in self._partitions])
        for number in numbers:
            self._partitions.pop(number, None)
            self._metrics.forget(number)
            if self._heartbeats is not None:
                self._heartbeats.forget(number)
        self.health.assigned = tuple(sorted(self._partitions))
        self._metrics.moved("revoked", len(numbers), 0.0)
        self._note("revoked", partitions=sorted(numbers))
        self._log.info("partitions.revoked", partitions=sorted(numbers), held=len(self._partitions))

    def _checkpoint(self, partitions: Collection[Partition]) -> None:
        changed = [partition for partition in partitions if partition.changed]
        if not changed:
            return
        begun = self._clock.monotonic()
        self.timer.lap("other")
        checkpoint = Checkpoint(self._job.state_topic)
        for partition in changed:
            checkpoint.outputs += partition.task.take()
        letters = [letter for partition in changed for letter in partition.take_letters(self._job.name)]
        checkpoint.outputs += [encode_letter(letter) for letter in letters]
        self.timer.lap("outputs")
        for partition in changed:
            checkpoint.rows.append((partition.number, *partition.rows()))
            checkpoint.offsets += self._offsets(partition)
        self.timer.lap("rows")
        self._note("commits", outputs=len(checkpoint.outputs), rows=checkpoint.row_count(), letters=len(letters))
        self._writer.commit(checkpoint, self._source.metadata)
        self.timer.lap("commit")
        for partition in changed:
            partition.changed = partition.pressing = False
        seconds = self._clock.monotonic() - begun
        self.health.committed = self._clock.monotonic()
        self._note("committed", seconds=round(seconds, 4))
        self._metrics.checkpoint(seconds, checkpoint.row_count(), self.timer.seconds)
        for letter in letters:
            self._metrics.dead_letter(letter.reason)
        self._log.debug(
            "checkpoint.done",
            partitions=len(changed),
            outputs=len(checkpoint.outputs),
            rows=checkpoint.row_count(),
            dead_letters=len(letters),
            seconds=round(seconds, 4),
        )

    def _offsets(self, partition: Partition) -> list[TopicPartition]:
        clock = partition.clock.text() if partition.clock is not None else ""
        return [
            TopicPartition(topic, partition.number, offset, metadata=clock) for topic, offset in partition.read.items()
        ]

    def describe(self) -> dict[str, Any]:
        """Tell what it holds and how far it has come, for a flight record; numbers only."""
        return {
            "cpu_seconds": {stage: round(seconds, 3) for stage, seconds in self.timer.seconds.items()},
            "lag": self.health.lag,
            "recovering": list(self.health.recovering),
            "partitions": {
                str(number): {
                    "read": dict(partition.read),
                    "clock": partition.clock.text() if partition.clock is not None else None,
                    "changed": partition.changed,
                    "rows": partition.task.status().rows,
                    "seen": partition.limit.seen,
                    "rejected": partition.limit.rejected,
                }
                for number, partition in self._partitions.items()
            },
        }

    def _report(self) -> None:
        waiting = 0
        holders: Counter[str] = Counter()
        for number, partition in self._partitions.items():
            status = partition.task.status()
            self._metrics.partition(number, status, self._clock.now_ms())
            if status.holder is not None:
                holders[status.holder] += 1
            for topic in self._sources:
                end = None if partition.at_end(topic) else self._source.end((topic, number))
                lag = max(0, end - partition.read.get(topic, 0)) if end is not None else 0
                self._metrics.lag(topic, number, lag)
                waiting += lag
        self.health.lag = waiting
        self.health.holder = holders.most_common(1)[0][0] if holders else ""
        self._metrics.holders(holders)
