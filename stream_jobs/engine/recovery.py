"""State back: the state topic, and what a job wants to know first, read to the end before the first record.

The end is the high watermark, beyond the last stable offset: where a transaction of the previous owner is still open,
its records are in the log already, and it may commit or abort. Only then is it known which rows are the last ones. A
dead worker's transaction is aborted when its successor starts, or at its timeout.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from services.telemetry.logs import get_logger
from stream_jobs.engine.errors import RecoveryError
from stream_jobs.engine.records import LIBRARY_LOG, group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.bootstrap import ClientConfig
    from stream_jobs.engine.job import Batch

Place = tuple[str, int]
PATIENCE_SECONDS: Final = 120.0
_CHUNK: Final = 20_000
_PROGRESS_SECONDS: Final = 2.0


class NewestRows:
    """What compaction would leave of a state topic: the newest value of each key, without the deleted ones."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[bytes, bytes]] = {}
        self.records = 0

    def take(self, batch: Batch) -> None:
        """Let later records replace earlier ones."""
        rows = self.rows.setdefault(batch.partition, {})
        self.records += len(batch)
        # Every key of a state topic is a row's.
        rows.update(zip(batch.keys, batch.values, strict=True))  # type: ignore[arg-type]  # deleted below
        if None in batch.values:
            for key in [key for key, value in zip(batch.keys, batch.values, strict=True) if value is None]:
                if key is not None and rows.get(key) is None:
                    rows.pop(key, None)


class LogReader:
    """Reads partitions from given offsets to their present ends, committed records only."""

    def __init__(self, base: ClientConfig, told: Callable[[int, int], None] = lambda _records, _total: None) -> None:
        self._base = base
        self._told = told  # Called while it reads or waits: records read so far, and about how many there are.
        self._admin = AdminClient(dict(base))
        self._log = get_logger()

    def ends(self, places: list[Place]) -> dict[Place, int]:
        """Give the high watermarks, open transactions included."""
        return self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # the library's is untyped

    def starts(self, places: list[Place]) -> dict[Place, int]:
        """Give the first offset that retention has left."""
        return self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # as above

    def _offsets(self, places: list[Place], spec: OffsetSpec) -> dict[Place, int]:
        wanted = {TopicPartition(topic, partition): spec for topic, partition in places}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                found = self._admin.list_offsets(
                    wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=10
                )
                return {(place.topic, place.partition): answer.result().offset for place, answer in found.items()}
            except KafkaException as failure:
                if time.monotonic() > deadline:
                    raise RecoveryError(f"offsets cannot be asked for: {failure.args[0].name()}") from failure
                self._log.warning("recovery.waits", error=failure.args[0].name())
                self._told(0, 0)
                time.sleep(0.5)

    def read(self, starts: Mapping[Place, int], take: Callable[[Batch], None]) -> dict[Place, int]:
        """Give every batch to ``take`` and return the offset to read on from, for each partition.

        Raises RecoveryError where nothing moves for ``PATIENCE_SECONDS``.
        """
        ends = self.ends(list(starts))
        reached = dict(starts)
        waiting = {place for place, end in ends.items() if starts[place] < end}
        if not waiting:
            return reached
        consumer = Consumer(
            self._base
            | {
                "group.id": "stillwatch-recovery",  # Never committed to; the client asks for a name.
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "check.crcs": False,
                "fetch.message.max.bytes": 8 << 20,
                "queued.max.messages.kbytes": 1 << 18,
            },
            logger=LIBRARY_LOG,
        )
        try:
            consumer.assign(
                [TopicPartition(topic, partition, starts[topic, partition]) for topic, partition in waiting]
            )
            self._drain(consumer, waiting, ends, reached, take)
        finally:
            consumer.close()
        return reached

    def _drain(
        self,
        consumer: Consumer,
        waiting: set[Place],
        ends: Mapping[Place, int],
        reached: dict[Place, int],
        take: Callable[[Batch], None],
    ) -> None:
        records = 0
        total = sum(ends[place] - reached[place] for place in waiting)
        moved = told = time.monotonic()
        while waiting:
            polled = group(consumer.consume(_CHUNK, 0.1))
            for batch in polled.batches:
                take(batch)
                records += len(batch)
                reached[batch.topic, batch.partition] = int(batch.offsets[-1]) + 1
            for topic, partition, offset in polled.ended:
                reached[topic, partition] = max(reached[topic, partition], offset)
            done = {place for place in waiting if reached[place] >= ends[place]}
            waiting -= done
            self._told(records, total)
            now = time.monotonic()
            if polled.batches or done:
                moved = now
            elif now - moved > PATIENCE_SECONDS:
                places = ", ".join(f"{topic}[{partition}]" for topic, partition in sorted(waiting))
                raise RecoveryError(f"{places} cannot be read to the end")
            if now - told > _PROGRESS_SECONDS:
                told = now
                self._log.info("recovery.progress", records=records, of=total, partitions_left=len(waiting))
