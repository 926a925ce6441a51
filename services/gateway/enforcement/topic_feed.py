"""Follows the compacted topic ``decisions``: whole from its start, without a group, then as records come."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.topics import DECISIONS
from services.adapters.kafka.batches import next_batch
from services.adapters.kafka.client import kind_of_refusal
from services.gateway.publishing.counts import DECISIONS as TAKEN
from services.gateway.publishing.counts import FAILURES, REFUSALS
from services.gateway.publishing.sending import counts_refusals
from services.telemetry.spans import NO_SPANS, traceparent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.adapters.clock import Clock
    from services.gateway.enforcement.cache import DecisionCache
    from services.gateway.publishing.counts import Counts
    from services.telemetry.spans import Spans

FOLLOW_FAILURE: Final = "follow"
_POLL_SECONDS: Final = 0.5
_PRUNE_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 2.0


class TopicFollower:
    """A follower on Kafka; see ``Follower``. ``config`` is librdkafka's connection.

    ``make_spans`` is called in its thread. What the topic held before it was read once has no span.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        cache: DecisionCache,
        counts: Counts,
        clock: Clock,
        make_spans: Callable[[], Spans] = lambda: NO_SPANS,
    ) -> None:
        self._make_spans = make_spans
        self._spans = NO_SPANS
        self._config = {
            **config,
            "error_cb": counts_refusals(counts),
            # Without a group; the client library wants the name all the same.
            "group.id": "stillwatch-gateway-decisions",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.message.max.bytes": DECISIONS.maximum_bytes,
        }
        self._cache = cache
        self._counts = counts
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._unread: set[int] | None = None

    @property
    def loaded(self) -> bool:
        """Whether every partition has been read to the end that it had once."""
        return self._unread is not None and not self._unread

    def start(self) -> None:
        """Begin in a thread."""
        self._thread = threading.Thread(target=self._run, name="stillwatch-decisions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
        self._spans.close()

    def _run(self) -> None:
        try:
            self._spans = self._make_spans()
        except Exception:  # noqa: BLE001 - a wrong variable of the tracing must not keep decisions away
            self._counts.add(FAILURES, FOLLOW_FAILURE)
        while not self._stop.is_set():
            consumer = Consumer(self._config)
            try:
                self._follow(consumer)
            except KafkaException as failure:
                kind = kind_of_refusal(failure.args[0])
                if kind is not None:
                    self._counts.add(REFUSALS, kind)
                # What is known stays in force until it ends; the topic is read again from its start, which changes
                # nothing that is known.
                self._counts.add(FAILURES, FOLLOW_FAILURE)
                self._stop.wait(_AGAIN_SECONDS)
            finally:
                consumer.close()

    def _follow(self, consumer: Consumer) -> None:
        found = consumer.list_topics(DECISIONS.name, timeout=10).topics[DECISIONS.name]
        if found.error is not None:
            raise KafkaException(found.error)
        if self._unread is None:
            self._unread = set(found.partitions)
        consumer.assign([TopicPartition(DECISIONS.name, place, OFFSET_BEGINNING) for place in found.partitions])
        prune_at = self._clock.monotonic() + _PRUNE_SECONDS
        while not self._stop.is_set():
            for message in next_batch(consumer, 500, _POLL_SECONDS):
                self._take(message)
            if self._clock.monotonic() >= prune_at:
                self._cache.prune(self._clock.now_ms())
                prune_at = self._clock.monotonic() + _PRUNE_SECONDS

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own name for it
                raise KafkaException(error)
            if self._unread:
                self._unread.discard(message.partition())
            return
        value, since = message.value(), self._spans.now_ns()
        # A tombstone is not signed: it frees nobody.
        outcome = "tombstone" if value is None else self._cache.take(value, self._clock.now_ms())
        self._counts.add(TAKEN, outcome)
        if self._spans.on and self.loaded:
            parent = traceparent_of(message.headers())
            span = self._spans.start("apply decision", "consumer", parent=parent, since_ns=since, outcome=outcome)
            span.end()
