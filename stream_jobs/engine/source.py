"""Records in: the consumer, a member of the job's group, that reads committed records and commits nothing itself.

The group shares out the partitions of one topic, the leading one. Assignors deal with each partition by itself, so the
same number of the other topics might go to another worker: those follow the leading topic here, outside the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from services.telemetry.logs import get_logger
from stream_jobs.engine.clocks import PartitionClock, read_clock
from stream_jobs.engine.errors import PartitionsLostError
from stream_jobs.engine.records import LIBRARY_LOG, Polled, group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.bootstrap import ClientConfig
    from stream_jobs.engine.recovery import Place

Callback: TypeAlias = "Callable[[Consumer, list[TopicPartition]], None]"
CHUNK: Final = 10_000
_MAXIMUM_POLL_MS: Final = 900_000  # A recovery runs inside a poll.


class Owner(Protocol):
    """Who holds the partitions. Called from inside ``poll`` and ``close``; what it raises comes out of those."""

    def assigned(self, numbers: set[int]) -> Mapping[Place, int]:
        """Load state and tell where to read each topic from."""

    def revoked(self, numbers: set[int]) -> None:
        """Make a checkpoint and forget the partitions."""


class GroupSource:
    """The job's consumer. Raises PartitionsLostError from ``poll`` when the group went on without this worker."""

    def __init__(
        self,
        base: ClientConfig,
        group_id: str,
        topics: Sequence[str],
        session_timeout_ms: int,
        owner: Owner,
        instance_id: str | None = None,
    ) -> None:
        self._log = get_logger()
        self._topics = list(topics)
        self._owner = owner
        # What a callback raised. confluent-kafka hands it on by its type and its text, and not every exception can be
        # made anew from those: the loop would see a SystemError in place of the cause.
        self._raised: BaseException | None = None
        self._consumer = Consumer(
            base
            # A static member that goes without a word is waited for until its session ends.
            | ({} if instance_id is None else {"group.instance.id": instance_id})
            | {
                "group.id": group_id,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                # Where to start is always told; an offset that the broker has no more is a loss, not a new start.
                "auto.offset.reset": "error",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_timeout_ms,
                "heartbeat.interval.ms": min(1_000, session_timeout_ms // 3),
                "max.poll.interval.ms": _MAXIMUM_POLL_MS,
                "queued.max.messages.kbytes": 16_384,  # Of each partition; a poll takes less than that from all.
                "check.crcs": False,
            },
            logger=LIBRARY_LOG,
        )

    def subscribe(self) -> None:
        """Join the group; the first ``poll`` brings the assignment."""
        self._consumer.subscribe(
            self._topics[:1],
            on_assign=self._keeping(self._on_assign),
            on_revoke=self._keeping(self._on_revoke),
            on_lost=self._keeping(self._on_lost),
        )

    def poll(self, seconds: float) -> Polled:
        """Wait for records, at most this long; give at most ``CHUNK`` of them."""
        try:
            messages = self._consumer.consume(CHUNK, seconds)
            self._raise_kept()
            return group(messages)._replace(full=len(messages) >= CHUNK)
        except KafkaException as failure:
            if failure.args[0].code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001 - librdkafka's own code
                raise PartitionsLostError("the loop stood still for too long") from failure
            raise

    def metadata(self) -> Any:
        """Give the group's metadata as it is now, for the transaction that commits the offsets."""
        return self._consumer.consumer_group_metadata()

    def end(self, place: Place) -> int | None:
        """Give the partition's end as of the last fetch; None where none was made yet."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        except KafkaException:
            return None
        return high if high >= 0 else None

    def clocks(self, topic: str, width: int) -> dict[int, PartitionClock]:
        """Give the clocks that the last checkpoints of all workers committed; none where the broker does not answer."""
        places = [TopicPartition(topic, number) for number in range(width)]
        try:
            committed = self._consumer.committed(places, timeout=5)
        except KafkaException as failure:
            self._log.warning("clocks.unknown", error=failure.args[0].name())
            return {}
        found = {place.partition: read_clock(place.metadata) for place in committed}
        return {number: clock for number, clock in found.items() if clock is not None}

    def close(self) -> None:
        """Leave the group; the owner's ``revoked`` is called first."""
        self._consumer.close()
        self._raise_kept()

    def _keeping(self, callback: Callback) -> Callback:
        def keep(consumer: Consumer, places: list[TopicPartition]) -> None:
            if self._raised is not None:
                return
            try:
                callback(consumer, places)
            except BaseException as error:  # noqa: BLE001 - raised again by the call that this runs in
                self._raised = error

        return keep

    def _raise_kept(self) -> None:
        if self._raised is not None:
            error, self._raised = self._raised, None
            raise error

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        numbers = {place.partition for place in places}
        starts = self._owner.assigned(numbers)
        consumer.incremental_assign(
            [TopicPartition(topic, number, starts[topic, number]) for number in numbers for topic in self._topics]
        )

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        numbers = {place.partition for place in places}
        self._owner.revoked(numbers)
        consumer.incremental_unassign([TopicPartition(topic, number) for number in numbers for topic in self._topics])

    def _on_lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        numbers = sorted({place.partition for place in places})
        raise PartitionsLostError(f"partitions {numbers} now belong to another worker")
