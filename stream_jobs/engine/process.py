"""The frame of the operating system: settings, logs, health, signals, and how a worker ends.

A worker that fails says no goodbye. Leaving the group in order would hand partitions over as if their last checkpoint
had been made, and would wait for a broker that may be the reason; the process ends at once, with a status that is not
zero, and its successor reads the log.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

from services.adapters.clock import SystemClock
from services.adapters.kafka.presence import broker_check
from services.adapters.kafka.refusals import Refusals, telling
from services.bootstrap import consumer_base, load_settings, producer_base, product_version
from services.errors import StillwatchError
from services.telemetry.health import HealthServer
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import Metrics
from stream_jobs.engine.flight import FlightRecorder
from stream_jobs.engine.health import WorkerHealth
from stream_jobs.engine.watchdog import Watchdog
from stream_jobs.engine.worker import Worker, WorkerOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.settings import Settings
    from stream_jobs.engine.job import Job

EXIT_STOPPED: Final = 3  # A reason of our own, told in the log; a bug ends with Python's 1.


def run_process(name: str, make_job: Callable[[Settings], Job], config_version: Callable[[Settings], str]) -> None:
    """Run one worker of a job until SIGTERM or SIGINT; does not return when it fails."""
    settings = load_settings()
    configure_logs(name, settings.log_level, settings.log_format)
    recorder = FlightRecorder(settings.base_dir / "flight", name, settings.worker_index, SystemClock())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _serve(settings, make_job, config_version, stop, recorder)
    except StillwatchError as error:
        recorder.dump("the worker cannot go on", error)
        get_logger().error("worker.failed", reason=str(error), hint=error.hint, kind=type(error).__name__)
        _end(EXIT_STOPPED)
    except Exception as error:  # noqa: BLE001 - a bug of any kind ends the process at once, see above
        recorder.dump("a bug", error)
        get_logger().exception("worker.crashed")
        _end(1)


def options(settings: Settings) -> WorkerOptions:
    """Take what the loop needs from the settings."""
    return WorkerOptions(
        worker_index=settings.worker_index,
        checkpoint_seconds=settings.checkpoint_seconds,
        session_timeout_ms=settings.session_timeout_ms,
        static_member=settings.static_membership,
        dead_letter_ratio=settings.dead_letter_ratio,
    )


def _serve(
    settings: Settings,
    make_job: Callable[[Settings], Job],
    config_version: Callable[[Settings], str],
    stop: threading.Event,
    recorder: FlightRecorder,
) -> None:
    metrics = Metrics()
    metrics.gauge("stillwatch_build_info", version=product_version(), config_version=config_version(settings)).set(1)
    job = make_job(settings)
    clock = SystemClock()
    refusals = Refusals(metrics)
    consumer, producer = (base | refusals.watch() for base in (consumer_base(settings), producer_base(settings)))
    health = WorkerHealth(clock.monotonic)
    checks = {"kafka": broker_check(consumer), **health.checks()}
    server = HealthServer(metrics, checks, settings.metrics_host, settings.metrics_port).start()
    with telling(refusals, stop):
        refusals.require_admission(consumer, job.name)
        worker = Worker(job, options(settings), consumer, producer, metrics, clock, recorder.note, health)
        recorder.describe_by(worker.describe)
        watchdog = Watchdog(settings.stuck_seconds, health, recorder, clock).start()
        _work(worker, settings, job.name, server.port, stop)
    watchdog.stop()
    server.stop()


def _work(worker: Worker, settings: Settings, job: str, port: int, stop: threading.Event) -> None:
    get_logger().info("worker.started", job=job, worker=settings.worker_index, metrics_port=port)
    # Records live for one chunk and hold no cycles: looking for some after every few hundred would cost a tenth.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    worker.run(stop)


def _end(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
