"""The sink's loop: a batch from the topic, one database transaction, then the offsets.

Offsets are committed after the transaction, so a crash between the two brings the batch again and the database knows
it. Poison goes to the dead letters before its offset is committed; a transient database error is tried again for
minutes; anything else ends the process. While the database is away the consumer fetches nothing and keeps its place.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException, TopicPartition
from sqlalchemy.exc import DataError

from services.adapters.kafka.dead_letters import send_dead_letters
from services.adapters.postgres.alert_store import Stored, beat, save_progress, store_alerts
from services.adapters.postgres.engine import describe
from services.adapters.postgres.lifecycle.claims import sweep
from services.adapters.postgres.moments import EPOCH
from services.adapters.postgres.partitions import drop_expired, ensure_ahead
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.alert_sink.batch import JOB, Batch, Place, sort_messages
from services.alert_sink.records import Rejected
from services.errors import StillwatchError
from services.telemetry.logs import get_logger
from services.telemetry.spans import NO_SPANS

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from datetime import datetime

    from confluent_kafka import Consumer, Message, Producer
    from sqlalchemy import Engine

    from schemas.dead_letter import DeadLetter
    from services.adapters.clock import Clock
    from services.adapters.postgres.alert_store import Incoming
    from services.telemetry.metrics import Metrics
    from services.telemetry.spans import Spans

BEAT_SECONDS: Final = 5.0
MAINTENANCE_SECONDS: Final = 86_400.0
_RATIO_MINIMUM: Final = 1000
_NO_TIME: Final = timedelta(0)


class TooManyInvalidError(StillwatchError):
    """Most records of the topic are invalid: a producer is broken, and draining the topic would hide it."""

    hint = "Look at the reasons in the topic dead-letters; raise STILLWATCH_DEAD_LETTER_RATIO to go on."


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the sink works. ``batch`` bounds a transaction; ``poll_seconds`` bounds the wait for a full one."""

    tenant: str
    topic: str
    retention_days: int
    dead_letter_ratio: float = 0.5
    batch: int = 200
    poll_seconds: float = 0.25
    backoff: Backoff = field(default_factory=Backoff)


class AlertSink:
    """One consumer's work. ``run`` returns when ``stop`` is set; what was polled and not committed comes again."""

    def __init__(
        self,
        consumer: Consumer,
        producer: Producer,
        engine: Engine,
        metrics: Metrics,
        clock: Clock,
        options: Options,
        stop: threading.Event,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._spans = spans
        self._consumer = consumer
        self._producer = producer
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._options = options
        self._stop = stop
        # Records not yet stored; None while no partition is assigned. Read by the health check's thread.
        self.lag: int | None = None
        self._beat_due = self._maintenance_due = 0.0
        self._seen = self._invalid = 0

    def run(self) -> None:
        """Work until told to stop."""
        self._consumer.subscribe([self._options.topic])
        try:
            while not self._stop.is_set():
                self._maintain()
                messages = self._consumer.consume(self._options.batch, self._options.poll_seconds)
                if messages:
                    self._take(messages)
                self._beat()
        except Stopped:
            get_logger().info("sink.stopped_while_waiting")

    def _take(self, messages: Sequence[Message]) -> None:
        started, since = time.perf_counter(), self._spans.now_ns()
        batch = sort_messages(messages)
        if not batch.next_offsets:
            return
        stored = keep_trying(lambda: self._store(batch), self._stop, self._options.backoff, "store alerts")
        send_dead_letters(self._producer, batch.letters)
        self._commit(batch.next_offsets)
        self._report(batch, stored, time.perf_counter() - started)
        if self._spans.on:
            self._trace(batch, stored, since)
        self._check_ratio(batch)

    def _store(self, batch: Batch) -> Stored:
        """Store a batch in one transaction; a record that PostgreSQL itself refuses is set aside."""
        try:
            return self._transact(batch.incoming, batch.next_offsets)
        except DataError as error:
            get_logger().warning("sink.batch_refused", records=len(batch.incoming), error=describe(error))
        self._set_aside(batch)
        return self._transact(batch.incoming, batch.next_offsets)

    def _transact(self, incoming: Sequence[Incoming], offsets: dict[int, int]) -> Stored:
        now = self._now()
        with self._engine.begin() as connection:
            stored = store_alerts(connection, self._options.tenant, incoming, now)
            save_progress(connection, self._options.tenant, self._options.topic, offsets, now)
        return stored

    def _set_aside(self, batch: Batch) -> None:
        """Find the records that PostgreSQL refuses, each in a transaction that is rolled back, and make them poison."""
        kept: list[tuple[Incoming, Place]] = []
        refused: list[DeadLetter] = []
        for incoming, place in zip(batch.incoming, batch.places, strict=True):
            try:
                with self._engine.connect() as connection:
                    store_alerts(connection, self._options.tenant, [incoming], self._now())
            except DataError as error:
                refused.append(place.letter(Rejected("schema", f"the database refuses it: {describe(error)}")))
            else:
                kept.append((incoming, place))
        batch.letters += refused
        batch.incoming = [incoming for incoming, _ in kept]
        batch.places = [place for _, place in kept]

    def _commit(self, offsets: dict[int, int]) -> None:
        places = [TopicPartition(self._options.topic, partition, offset) for partition, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            # The rows are stored: the next commit covers this one, or the batch comes again and is known.
            get_logger().warning("sink.commit_deferred", error=error.args[0].name())

    def _beat(self) -> None:
        """Say every few seconds that the sink lives, and how far behind it is. A spare sink says nothing."""
        if time.monotonic() < self._beat_due:
            return
        self._beat_due = time.monotonic() + BEAT_SECONDS
        places = self._consumer.position(self._consumer.assignment())
        lags = [self._lag_of(place) for place in places]
        self.lag = sum(lags) if places else None
        if places:
            partitions = [place.partition for place in places]
            keep_trying(lambda: self._save_beat(partitions), self._stop, self._options.backoff, "beat")

    def _lag_of(self, place: TopicPartition) -> int:
        _, high = self._consumer.get_watermark_offsets(place, cached=True)
        # Both are negative until the first fetch: nothing is known to be behind.
        lag = max(high - place.offset, 0) if high >= 0 and place.offset >= 0 else 0
        labels = {"job": JOB, "topic": place.topic, "partition": str(place.partition)}
        self._metrics.gauge("stillwatch_consumer_lag", **labels).set(lag)
        return lag

    def _save_beat(self, partitions: Sequence[int]) -> None:
        with self._engine.begin() as connection:
            beat(connection, self._options.tenant, self._options.topic, partitions, self._now())
            sweep(connection, self._options.tenant, self._now())

    def _maintain(self) -> None:
        """Make partitions ahead and drop expired ones: at the start, then daily."""
        if time.monotonic() < self._maintenance_due:
            return
        dropped = keep_trying(self._turn_partitions, self._stop, self._options.backoff, "partitions")
        self._maintenance_due = time.monotonic() + MAINTENANCE_SECONDS
        get_logger().info("partitions.turned", dropped=dropped)

    def _turn_partitions(self) -> list[str]:
        now = self._now()
        with self._engine.begin() as connection:
            ensure_ahead(connection, now)
            return drop_expired(connection, now, self._options.retention_days)

    def _report(self, batch: Batch, stored: Stored, seconds: float) -> None:
        now = self._now()
        for incoming, outcome in zip(batch.incoming, stored.outcomes, strict=True):
            self._metrics.counter("stillwatch_alerts_stored_total", outcome=outcome).inc()
            if outcome != "known":
                delay = max(now - incoming.updated_time, _NO_TIME)
                self._metrics.histogram("stillwatch_event_to_alert_seconds").observe(delay.total_seconds())
        for letter in batch.letters:
            self._metrics.counter("stillwatch_dead_letters_total", job=JOB, reason=letter.reason).inc()
        self._metrics.counter("stillwatch_events_total", job=JOB).inc(len(batch.incoming))
        for conflict in stored.conflicts:
            place = batch.places[conflict]
            # Equal evidence should give equal bytes: a producer that breaks this breaks replay too.
            get_logger().error("sink.revision_differs", partition=place.partition, offset=place.offset)
        get_logger().info(
            "sink.stored",
            new=stored.outcomes.count("new"),
            grown=stored.outcomes.count("grown"),
            known=stored.outcomes.count("known"),
            reopened=len(stored.reopened),
            dead_letters=len(batch.letters),
            seconds=round(seconds, 4),
        )

    def _trace(self, batch: Batch, stored: Stored, since_ns: int) -> None:
        for incoming, place, outcome in zip(batch.incoming, batch.places, stored.outcomes, strict=True):
            alert = incoming.alert
            span = self._spans.start(
                "store alert", "consumer", parent=place.traceparent, since_ns=since_ns, alert=alert.alert_id
            )
            span.end(revision=alert.revision, outcome=outcome, batch=len(batch.incoming))

    def _check_ratio(self, batch: Batch) -> None:
        self._seen += batch.records
        self._invalid += len(batch.letters)
        if self._seen >= _RATIO_MINIMUM:
            if self._invalid > self._options.dead_letter_ratio * self._seen:
                raise TooManyInvalidError(f"{self._invalid} of {self._seen} records are invalid")
            self._seen = self._invalid = 0

    def _now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self._clock.now_ms())
