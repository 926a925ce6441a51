"""A Faust transport of our own: committed records only, offsets that the job itself has finished, idempotent sends.

Faust 0.15.3 reads uncommitted records unless ``exactly_once`` is on, and derives the offset to commit from
acknowledgements: an exception in the stream acknowledges its record, and offsets that hold no record (transaction
markers, aborted records) must be bridged by a gap list. That list does not see a gap that follows offset 0, after which
nothing is ever committed again. Here the job draws the line, so neither acknowledgements nor gaps matter.

Private names in use, all of faust-streaming 0.15 and aiokafka 0.14, each guarded by a test on a real broker:
``Consumer._new_consumer_thread, _filter_committable_offsets, _should_commit, _add_gap, _read_offset``,
``Producer._settings_extra``, ``AIOKafkaConsumerThread._create_worker_consumer``, ``AIOKafkaConsumer._isolation_level``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from faust.transport import drivers
from faust.transport.drivers import aiokafka as driver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from faust.types import TP

SCHEME: Final = "stillwatch-kafka"
READ_COMMITTED: Final = "read_committed"


class CommittedConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads up to the last stable offset and never sees an aborted record."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # The level is read once, when the consumer starts; renaming would make this assignment silently useless.
        if not hasattr(consumer, "_isolation_level"):
            raise TypeError("this aiokafka keeps its isolation level elsewhere")
        consumer._isolation_level = READ_COMMITTED  # noqa: SLF001 - the driver has no setting for it
        return consumer


class FinishedConsumer(driver.Consumer):
    """Commits what ``finish`` was called for, and nothing that Faust infers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._finished: dict[TP, int] = {}

    def _new_consumer_thread(self) -> CommittedConsumerThread:
        return CommittedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def finish(self, tp: TP, offset: int) -> None:
        """Let ``offset`` and all before it be committed; a lower one than before changes nothing."""
        self._finished[tp] = max(offset + 1, self._finished.get(tp, 0))

    def finished(self, tp: TP) -> int | None:
        """Give the next offset that is not finished; None where nothing was since the assignment."""
        return self._finished.get(tp)

    def delivered(self, tp: TP) -> int | None:
        """Give the offset of the last record that was handed to the stream; None before the first."""
        offset: int | None = self._read_offset[tp]
        return offset

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the line of partitions that are somebody else's now."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._finished.pop(tp, None)

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        del tps  # Those with acknowledgements, of which there are none.
        return {tp: offset for tp, offset in self._finished.items() if self._should_commit(tp, offset)}

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Keep no gaps: they would pile up, one for every transaction marker, and be merged anew each time."""


class IdempotentProducer(driver.Producer):
    """Retries inside the client cannot double or reorder records."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class CommittedTransport(driver.Transport):
    """Kafka by aiokafka with the three classes above."""

    Consumer = FinishedConsumer
    Producer = IdempotentProducer


def register() -> str:
    """Make the scheme known to Faust; gives it. Idempotent."""
    drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:{CommittedTransport.__name__}"
    return SCHEME
