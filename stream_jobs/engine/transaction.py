"""Records out: one Kafka transaction for each checkpoint, fenced by the transactional id and by the group's generation.

Everything is sent, and known to be in the log, before the offsets go: the group's coordinator refuses the offsets of a
worker that the group has moved on from. So whoever takes over a partition finds either nothing of a transaction that
may still commit, or its records at the end of the state topic, and waits there for the outcome (see ``recovery``).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer

from services.telemetry.logs import get_logger
from stream_jobs.engine.errors import CheckpointError, FencedError, PartitionsLostError
from stream_jobs.engine.records import LIBRARY_LOG

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import TopicPartition

    from schemas.headers import Headers
    from services.bootstrap import ClientConfig
    from stream_jobs.engine.job import Output

TRANSACTION_TIMEOUT_MS: Final = 15_000
PATIENCE_SECONDS: Final = 120.0  # Longer than a broker's restart with a recovery of its log.
_ATTEMPTS: Final = 6
_CALL_SECONDS: Final = 10.0
# librdkafka forgets the timeout of send_offsets_to_transaction while it looks for the group's coordinator: after a
# broker's restart that call may never return (its issues 5456 and 5511). By then the broker aborts the transaction.
_HANGING_SECONDS: Final = 15.0
_POLL_EVERY: Final = 5_000
_FENCED: Final = (
    KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own codes begin with an underscore
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)
_EXPELLED: Final = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID)
_T = TypeVar("_T")


@dataclass(slots=True)
class Checkpoint:
    """What one transaction holds. ``rows`` are (partition, keys, values) of the state topic."""

    state_topic: str
    outputs: list[Output] = field(default_factory=list)
    rows: list[tuple[int, list[bytes], list[bytes | None]]] = field(default_factory=list)
    offsets: list[TopicPartition] = field(default_factory=list)

    def row_count(self) -> int:
        """Give the number of state records."""
        return sum(len(keys) for _, keys, _ in self.rows)


class TransactionalWriter:
    """A producer whose transactions are all this worker writes. Its errors are final."""

    def __init__(self, base: ClientConfig, transactional_id: str, beat: Callable[[], None] = lambda: None) -> None:
        self._log = get_logger()
        self._beat = beat  # Called while it waits for the broker.
        self._producer = Producer(
            base
            | {
                "transactional.id": transactional_id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1 << 20,
                # Failures surface at the commit; a report for each record would cost more than the record.
                "delivery.report.only.error": True,
            },
            logger=LIBRARY_LOG,
        )
        self._retrying(lambda: self._producer.init_transactions(_CALL_SECONDS))

    def commit(self, checkpoint: Checkpoint, group_metadata: Callable[[], Any]) -> None:
        """Send and commit. A transaction that fails before its commit is aborted and sent again, as it was.

        Once the commit is asked for, every failure is final: only the log can tell whether it happened.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self._send(checkpoint, group_metadata)
                break
            except KafkaException as failure:
                error = failure.args[0]
                self._refuse_fenced(error)
                if not error.txn_requires_abort():
                    raise CheckpointError(f"the transaction failed: {error.name()}") from failure
                # What is left open would hide everything behind it from committed readers until its timeout.
                self._retrying(lambda: self._producer.abort_transaction(_CALL_SECONDS))
                if error.code() in _EXPELLED:
                    raise PartitionsLostError(
                        f"the group does not know this worker any more: {error.name()}"
                    ) from failure
                if attempt == _ATTEMPTS - 1:
                    raise CheckpointError(f"the transaction failed {_ATTEMPTS} times: {error.name()}") from failure
                self._log.warning("checkpoint.again", error=error.name(), attempt=attempt + 1)
                time.sleep(0.1 * 2**attempt)
        self._retrying(lambda: self._producer.commit_transaction(_CALL_SECONDS))

    def _send(self, checkpoint: Checkpoint, group_metadata: Callable[[], Any]) -> None:
        self._producer.begin_transaction()
        for output in checkpoint.outputs:
            partition = -1 if output.partition is None else output.partition
            self._produce(output.topic, output.value, output.key, partition, output.headers)
        for partition, keys, values in checkpoint.rows:
            for place, (key, value) in enumerate(zip(keys, values, strict=True)):
                self._produce(checkpoint.state_topic, value, key, partition)
                if not place % _POLL_EVERY:
                    self._producer.poll(0)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._producer.flush(1.0):
            self._beat()
            if time.monotonic() > deadline:
                raise CheckpointError("the broker did not take the checkpoint's records")
        # The generation is asked for at each attempt: another member's joining raises it while this one keeps its own.
        self._retrying(lambda: self._send_offsets(checkpoint.offsets, group_metadata()), abortable=True)

    def _send_offsets(self, offsets: list[TopicPartition], metadata: Any) -> None:
        """Send the offsets from a thread that can be left behind; a call that hangs ends the worker."""
        failures: list[KafkaException] = []
        done = threading.Event()

        def call() -> None:
            try:
                self._producer.send_offsets_to_transaction(offsets, metadata, _CALL_SECONDS)
            except KafkaException as failure:
                failures.append(failure)
            done.set()  # Not after a bug: its traceback goes to the log, and the wait below ends the worker.

        threading.Thread(target=call, name="offsets", daemon=True).start()
        if not done.wait(_HANGING_SECONDS):
            raise CheckpointError("the group's coordinator was not found, and the client does not return")
        if failures:
            raise failures[0]

    def _produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int, headers: Headers | None = None
    ) -> None:
        while True:
            try:
                if headers is None:
                    self._producer.produce(topic, value, key, partition)
                else:
                    self._producer.produce(topic, value, key, partition, headers=headers)
            except BufferError:
                self._beat()
                self._producer.poll(0.01)
            else:
                return

    def _retrying(self, call: Callable[[], _T], *, abortable: bool = False) -> _T:
        """Call until it answers, while the error is one that passes; at most ``PATIENCE_SECONDS``."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._beat()
            try:
                return call()
            except KafkaException as failure:
                error = failure.args[0]
                self._refuse_fenced(error)
                if abortable and error.txn_requires_abort():
                    raise
                if not error.retriable() or time.monotonic() > deadline:
                    raise CheckpointError(f"the transaction's outcome is not known: {error.name()}") from failure
                self._log.warning("transaction.waits", error=error.name())

    def _refuse_fenced(self, error: KafkaError) -> None:
        if error.code() in _FENCED:
            raise FencedError("a newer worker uses this transactional id")
        if error.fatal():
            raise CheckpointError(f"the producer cannot go on: {error.name()}")
