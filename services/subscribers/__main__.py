"""``python -m services.subscribers``: the OCSF projection and the webhooks, until SIGTERM."""

from __future__ import annotations

import random

from confluent_kafka import Consumer, Producer

from services import bootstrap
from services.adapters.clock import SystemClock
from services.adapters.kafka.presence import broker_check
from services.adapters.kafka.refusals import Refusals, telling
from services.adapters.postgres import migrate
from services.adapters.postgres.engine import create_engine
from services.adapters.process import database_check, run_plainly, stop_on_signals
from services.adapters.retry import Backoff, Stopped, keep_trying
from services.subscribers.worker import JOB, Options, Subscribers
from services.telemetry.health import CheckResult, HealthServer
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import Metrics


def main() -> None:
    """Run the subscribers' process; returns when it was asked to stop."""
    settings = bootstrap.load_settings()
    configure_logs(JOB, settings.log_level, settings.log_format)
    stop = stop_on_signals()
    metrics = Metrics()
    refusals = Refusals(metrics)
    watch = refusals.watch()
    engine = create_engine(bootstrap.database_url(settings), process=JOB, pool_size=2)
    consumer = Consumer(bootstrap.alerts_consumer(settings, JOB) | watch)
    options = Options(
        tenant=settings.tenant,
        version=bootstrap.product_version(),
        master=bootstrap.webhook_master(settings),
        allow_private=settings.webhook_private_targets,
        link_base=settings.public_url.rstrip("/"),
    )
    # The jitter of retries only has to differ between processes.
    rng = random.Random()  # noqa: S311 - no secret hangs on it
    producer = Producer(bootstrap.outward_producer(settings) | watch)
    work = Subscribers(consumer, producer, engine, metrics, SystemClock(), rng, options, stop)

    def assignment_check() -> CheckResult:
        return CheckResult(ready=work.assigned, detail="assigned" if work.assigned else "no assignment yet")

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
            work.run()
    except Stopped:
        pass
    finally:
        consumer.close()
        health.stop()
        engine.dispose()
    get_logger().info("process.stopped")


if __name__ == "__main__":
    run_plainly(main)
