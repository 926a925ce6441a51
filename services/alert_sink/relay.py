"""``python -m services.alert_sink.relay``: the outbox to Kafka, at least once, in order for each key.

A row is marked when the broker has acknowledged it; a crash in between sends it again, under the same ``ce_id``, and
consumers drop it by that. An insert wakes the relay (LISTEN/NOTIFY); a poll catches what a lost connection missed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from confluent_kafka import Producer
from sqlalchemy import make_url

from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.dead_letters import raise_undelivered
from services.adapters.kafka.presence import broker_check
from services.adapters.kafka.refusals import Refusals, telling
from services.adapters.postgres import measuring, migrate, outbox
from services.adapters.postgres.engine import create_engine, describe
from services.adapters.postgres.moments import EPOCH
from services.adapters.process import database_check, run_plainly, stop_on_signals
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.telemetry.health import HealthServer
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import Metrics

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from datetime import datetime

    from confluent_kafka import KafkaError
    from sqlalchemy import Engine

    from services.adapters.clock import Clock
    from services.adapters.postgres.outbox import Pending

PROCESS: Final = "relay"
KEPT_DAYS: Final = 7  # A relayed row stays this long, to answer "was it sent?".
_PURGE_SECONDS: Final = 3600.0
_MEASURE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """``poll_seconds`` bounds the wait when a wake-up is missed; ``delivery_seconds`` bounds the broker's answer."""

    tenant: str
    batch: int = 500
    poll_seconds: float = 5.0
    delivery_seconds: float = 30.0
    backoff: Backoff = field(default_factory=Backoff)


class WakeUp:
    """Listens for inserts into the outbox on a connection of its own; without one it is a plain wait."""

    def __init__(self, url: str) -> None:
        self._conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Return at an insert, after ``seconds``, or soon after ``stop`` is set."""
        deadline = time.monotonic() + seconds
        while not stop.is_set() and time.monotonic() < deadline:
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5)
                    self._connection.execute(f"LISTEN {outbox.CHANNEL}")
                    return  # What was inserted before it listened is looked for now.
                slice_seconds = min(0.5, max(deadline - time.monotonic(), 0.0))
                for _ in self._connection.notifies(timeout=slice_seconds, stop_after=1):
                    return
            except psycopg.OperationalError as error:
                get_logger().warning("relay.deaf", error=describe(error))
                self.close()
                stop.wait(min(1.0, seconds))

    def close(self) -> None:
        """Stop listening."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Relay:
    """Moves rows until ``stop`` is set. Several relays may run: each row is one's at a time."""

    def __init__(
        self,
        producer: Producer,
        engine: Engine,
        wake_up: WakeUp,
        metrics: Metrics,
        clock: Clock,
        options: RelayOptions,
        stop: threading.Event,
    ) -> None:
        self._producer = producer
        self._engine = engine
        self._wake_up = wake_up
        self._metrics = metrics
        self._clock = clock
        self._options = options
        self._stop = stop
        self._purge_due = 0.0
        self._measure_due = 0.0

    def run(self) -> None:
        """Work until told to stop."""
        try:
            while not self._stop.is_set():
                if not keep_trying(self.relay_batch, self._stop, self._options.backoff, "relay"):
                    keep_trying(self._tidy, self._stop, self._options.backoff, "tidy outbox")
                    self._wake_up.wait(self._stop, self._options.poll_seconds)
        except Stopped:
            get_logger().info("relay.stopped_while_waiting")
        finally:
            self._wake_up.close()

    def relay_batch(self) -> int:
        """Send the oldest pending row of each key, then mark them; give their number.

        Raises DeliveryError where the broker does not acknowledge in time: the rows stay pending and the process ends,
        for a producer that gave up has lost its order.
        """
        with self._engine.begin() as connection:
            rows = outbox.take(connection, self._options.tenant, self._options.batch)
            if not rows:
                return 0
            self._send(rows)
            outbox.mark_relayed(connection, [row.id for row in rows], self._now())
        for row in rows:
            self._metrics.counter("stillwatch_outbox_relayed_total", topic=row.topic).inc()
        get_logger().info("relay.sent", rows=len(rows))
        return len(rows)

    def _send(self, rows: Sequence[Pending]) -> None:
        failed: list[KafkaError] = []

        def note(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        for row in rows:
            self._producer.produce(row.topic, key=row.key, value=row.value, headers=dict(row.headers), on_delivery=note)
        left = self._producer.flush(self._options.delivery_seconds)
        raise_undelivered(failed, left, f"of {len(rows)} outbox rows")

    def _tidy(self) -> None:
        with self._engine.begin() as connection:
            pending = outbox.count_pending(connection, self._options.tenant)
            self._metrics.gauge("stillwatch_outbox_pending").set(pending)
            oldest = outbox.oldest_pending(connection, self._options.tenant)
            age = 0.0 if oldest is None else max(0.0, (self._now() - oldest).total_seconds())
            self._metrics.gauge("stillwatch_outbox_oldest_seconds").set(age)
            if time.monotonic() >= self._measure_due:
                self._tell(measuring.measure(connection))
                self._measure_due = time.monotonic() + _MEASURE_SECONDS
            if time.monotonic() >= self._purge_due:
                purged = outbox.purge(connection, self._options.tenant, self._now() - timedelta(days=KEPT_DAYS))
                self._purge_due = time.monotonic() + _PURGE_SECONDS
                get_logger().info("relay.purged", rows=purged)

    def _tell(self, found: measuring.DatabaseFigures) -> None:
        for part, size in found.sizes.items():
            self._metrics.gauge("stillwatch_database_bytes", part=part).set(size)
        for state, count in found.sessions.items():
            self._metrics.gauge("stillwatch_database_connections", state=state).set(count)
        self._metrics.gauge("stillwatch_database_oldest_transaction_seconds").set(found.oldest_transaction_seconds)

    def _now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self._clock.now_ms())


def main() -> None:
    """Run the relay; returns when it was asked to stop."""
    settings = bootstrap.load_settings()
    configure_logs(PROCESS, settings.log_level, settings.log_format)
    stop = stop_on_signals()
    metrics = Metrics()
    refusals = Refusals(metrics)
    watch = refusals.watch()
    url = bootstrap.database_url(settings)
    engine = create_engine(url, process=PROCESS, pool_size=2)
    # Delivery is bounded by the relay's own flush; the client must not give up on a row before that.
    producer = Producer(bootstrap.outward_producer(settings) | watch | {"delivery.timeout.ms": 60_000})
    checks = {"database": database_check(engine), "kafka": broker_check(bootstrap.consumer_base(settings) | watch)}
    health = HealthServer(metrics, checks, settings.metrics_host, settings.metrics_port).start()
    get_logger().info("process.started", metrics_port=health.port)
    relay = Relay(producer, engine, WakeUp(url), metrics, SystemClock(), RelayOptions(tenant=settings.tenant), stop)
    try:
        keep_trying(lambda: migrate.require_head(engine), stop, Backoff(), "schema")
        with telling(refusals, stop):
            refusals.require_admission(bootstrap.consumer_base(settings), PROCESS)
            relay.run()
    except Stopped:
        pass
    finally:
        health.stop()
        engine.dispose()
    get_logger().info("process.stopped")


if __name__ == "__main__":
    run_plainly(main)
