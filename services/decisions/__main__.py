"""``python -m services.decisions``: the issuer, until SIGTERM."""

from __future__ import annotations

import os
import threading

from confluent_kafka import Consumer

from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.presence import broker_check
from services.adapters.kafka.refusals import Refusals, telling
from services.adapters.postgres import migrate
from services.adapters.postgres.engine import create_engine
from services.adapters.process import database_check, run_or_stop, run_plainly, stop_on_signals
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.decisions.issuer import JOB, Issuer, Options
from services.decisions.meter import Meter
from services.telemetry.health import CheckResult, HealthServer
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import Metrics
from services.telemetry.traces import start_spans


def main() -> None:
    """Run the issuer; returns when it was asked to stop."""
    settings = bootstrap.load_settings()
    configure_logs(JOB, settings.log_level, settings.log_format)
    stop = stop_on_signals()
    metrics = Metrics()
    refusals = Refusals(metrics)
    watch = refusals.watch()
    engine = create_engine(bootstrap.database_url(settings), process=JOB, pool_size=2)
    consumer = Consumer(bootstrap.alerts_consumer(settings, JOB) | watch)
    policy = bootstrap.load_detection_config(settings).decisions
    options = Options(tenant=settings.tenant, policy=policy)
    spans = start_spans(JOB, os.environ)
    issuer = Issuer(consumer, engine, bootstrap.load_signer(settings), metrics, SystemClock(), options, stop, spans)

    def assignment_check() -> CheckResult:
        return CheckResult(ready=issuer.assigned, detail="assigned" if issuer.assigned else "no assignment yet")

    # Entitlements are counted beside the decisions, so that a backlog of windows holds up no decision.
    windows = Consumer(
        bootstrap.consumer_base(settings)
        | watch
        | {
            "group.id": f"{settings.tenant}.{JOB}.meter",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    version = bootstrap.load_detection_config(settings).version
    meter = Meter(windows, engine, SystemClock(), settings.tenant, version, stop)
    counting = threading.Thread(target=run_or_stop, args=(meter.run, stop, refusals), name="meter", daemon=True)

    checks = {
        "database": database_check(engine),
        "kafka": broker_check(bootstrap.consumer_base(settings) | watch),
        "alerts": assignment_check,
    }
    health = HealthServer(metrics, checks, settings.metrics_host, settings.metrics_port).start()
    get_logger().info("process.started", metrics_port=health.port)
    try:
        keep_trying(lambda: migrate.require_head(engine), stop, Backoff(), "schema")
        with telling(refusals, stop):
            refusals.require_admission(bootstrap.consumer_base(settings), JOB)
            counting.start()
            issuer.run()
    except Stopped:
        pass
    finally:
        stop.set()
        if counting.is_alive():
            counting.join(10)
        consumer.close()
        spans.close()
        health.stop()
        engine.dispose()
    get_logger().info("process.stopped")


if __name__ == "__main__":
    run_plainly(main)
