"""``python -m services.alert_sink``: alerts from the topic into the database, until SIGTERM."""

from __future__ import annotations

import os
import threading

from confluent_kafka import Consumer, Producer

from schemas.topics import ALERTS
from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.presence import broker_check
from services.adapters.kafka.refusals import Refusals, telling
from services.adapters.postgres import migrate
from services.adapters.postgres.engine import create_engine
from services.adapters.process import database_check, run_or_stop, run_plainly, stop_on_signals
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.alert_sink.batch import JOB
from services.alert_sink.shelf import Shelf
from services.alert_sink.sink import AlertSink, Options
from services.telemetry.health import CheckResult, HealthServer
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import Metrics
from services.telemetry.traces import start_spans

LAG_BOUND = 10_000  # Records. More than this many alerts behind, and analysts look at the past.


def main() -> None:
    """Run the sink; returns when it was asked to stop."""
    settings = bootstrap.load_settings()
    configure_logs(JOB, settings.log_level, settings.log_format)
    stop = stop_on_signals()
    metrics = Metrics()
    refusals = Refusals(metrics)
    watch = refusals.watch()
    engine = create_engine(bootstrap.database_url(settings), process=JOB, pool_size=2)
    consumer = Consumer(bootstrap.alerts_consumer(settings, JOB) | watch)
    producer = Producer(bootstrap.producer_base(settings) | watch)
    options = Options(
        tenant=settings.tenant,
        topic=ALERTS.name,
        retention_days=settings.retention_days,
        dead_letter_ratio=settings.dead_letter_ratio,
    )
    spans = start_spans(JOB, os.environ)
    sink = AlertSink(consumer, producer, engine, metrics, SystemClock(), options, stop, spans)

    # Heads are kept beside the alerts, so that a backlog of alerts does not hide what was learned.
    heads = Consumer(
        bootstrap.consumer_base(settings)
        | watch
        | {
            "group.id": f"{settings.tenant}.{JOB}.shelf",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    shelf = Shelf(heads, engine, SystemClock(), settings.tenant, stop)
    keeping = threading.Thread(target=run_or_stop, args=(shelf.run, stop, refusals), name="shelf", daemon=True)

    def lag_check() -> CheckResult:
        lag = sink.lag
        if lag is None:
            return CheckResult(ready=False, detail="no partition is assigned")
        return CheckResult(ready=lag <= LAG_BOUND, detail=f"{lag} records behind")

    checks = {
        "database": database_check(engine),
        "kafka": broker_check(bootstrap.consumer_base(settings) | watch),
        "alerts": lag_check,
    }
    health = HealthServer(metrics, checks, settings.metrics_host, settings.metrics_port).start()
    get_logger().info("process.started", metrics_port=health.port)
    try:
        keep_trying(lambda: migrate.require_head(engine), stop, Backoff(), "schema")
        with telling(refusals, stop):
            refusals.require_admission(bootstrap.consumer_base(settings), "sink")
            keeping.start()
            sink.run()
    except Stopped:
        pass
    finally:
        stop.set()
        if keeping.is_alive():
            keeping.join(10)
        consumer.close()
        spans.close()
        health.stop()
        engine.dispose()
    get_logger().info("process.stopped")


if __name__ == "__main__":
    run_plainly(main)
