"""Control records for silent partitions: when they are due, and the producer that writes them.

They go to the source topic outside any transaction, for its readers expect no gaps in its offsets, and they are only
told of by the log: one that is lost is written again, one that is written twice changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.telemetry.logs import get_logger
from stream_jobs.engine.clocks import PartitionClock, idle_time
from stream_jobs.engine.errors import ProducerLostError
from stream_jobs.engine.records import LIBRARY_LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from services.adapters.clock import Clock
    from services.bootstrap import ClientConfig
    from stream_jobs.engine.job import Heartbeats
    from stream_jobs.engine.partition import Partition

_SWEEP_SECONDS: Final = 0.5


class HeartbeatWriter:
    """Looks over the partitions twice a second, and writes what ``idle_time`` says."""

    def __init__(self, base: ClientConfig, rules: Heartbeats, clock: Clock) -> None:
        self._log = get_logger()
        self._rules = rules
        self._clock = clock
        self._producer = Producer(base | {"linger.ms": 0}, logger=LIBRARY_LOG)
        self._swept = 0.0
        self._quiet: dict[int, float] = {}  # When a partition was last known to have news, or a heartbeat of ours.

    def watch(self, number: int) -> None:
        """Begin to count a partition's silence."""
        self._quiet[number] = self._clock.monotonic()

    def forget(self, number: int) -> None:
        """Leave a partition to its next owner."""
        self._quiet.pop(number, None)

    def sweep(self, partitions: Collection[Partition], clocks: Callable[[], dict[int, PartitionClock]]) -> list[int]:
        """Write what is due and give the partitions that it went to. ``clocks`` asks for those of all workers."""
        now = self._clock.monotonic()
        if now - self._swept < _SWEEP_SECONDS:
            return []
        self._swept = now
        self._hear()
        idle_seconds = self._rules.idle_ms / 1000
        silent = [
            partition
            for partition in partitions
            if partition.at_end(self._rules.topic) and now - self._quiet[partition.number] >= idle_seconds
        ]
        if not silent:
            return []
        known = clocks() | {part.number: part.clock for part in partitions if part.clock is not None}
        return [partition.number for partition in silent if self._beat(partition, known, now)]

    def _beat(self, partition: Partition, known: dict[int, PartitionClock], now: float) -> bool:
        others = [clock for number, clock in known.items() if number != partition.number]
        time_ms = idle_time(partition.clock, others, self._clock.now_ms(), self._rules.idle_ms)
        if time_ms is None:
            return False
        try:
            self._producer.produce(
                self._rules.topic,
                self._rules.encode(time_ms),
                None,
                partition.number,
                on_delivery=self._delivered,
            )
        except BufferError:
            # The broker is away and takes nothing; the next sweep tries again.
            return False
        self._quiet[partition.number] = now
        self._hear()
        self._log.debug("heartbeat.sent", partition=partition.number, time_ms=time_ms)
        return True

    def _hear(self) -> None:
        """Call what is due; an error that is final for this producer comes out of it, and is for the worker."""
        try:
            self._producer.poll(0)
        except KafkaException as failure:
            raise ProducerLostError(f"no control records can be sent: {failure.args[0].name()}") from failure

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._log.warning("heartbeat.failed", error=error.name())

    def close(self) -> None:
        """Wait a moment for what is under way."""
        self._producer.flush(2.0)
