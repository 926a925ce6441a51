"""One job, one process: logs, health page, the app's life, an ordered stop, and an end within seconds on a crash.

Exit codes: 0 after SIGTERM or SIGINT; 1 after any error, with what was not finished left for the next start. A watchdog
ends the process hard where Faust's own shutdown hangs, so a supervisor always sees it go.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn

import faust
from faust.worker import Worker

from services.adapters.clock import SystemClock
from services.adapters.kafka.presence import broker_check
from services.adapters.kafka.refusals import Refusals, telling
from services.adapters.process import stop_on_signals
from services.bootstrap import consumer_base, load_detection_config, product_version
from services.errors import StillwatchError
from services.telemetry.health import HealthServer
from services.telemetry.logs import configure_logs, get_logger
from services.telemetry.metrics import Metrics
from stream_jobs.faust_host.app import make_app
from stream_jobs.faust_host.connection import client_options
from stream_jobs.faust_host.host import Host
from stream_jobs.faust_host.log_reader import KafkaLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.topics import Topic
    from services.settings import Settings
    from stream_jobs.faust_host.ports import Ports, StreamJob

CRASH_SECONDS: Final = 8.0
STOP_SECONDS: Final = 20.0
WATCH_SECONDS: Final = 0.25


class Deadline:
    """Ends the process with 1 when a stop that has begun takes too long. Runs beside the loop, which may be stuck."""

    def __init__(self, service: Any, stop_seconds: float, end: Callable[[int], object] = os._exit) -> None:
        self._service = service
        self._stop_seconds = stop_seconds
        self._end = end
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)

    def start(self) -> Deadline:
        """Watch from now on."""
        self._thread.start()
        return self

    def stopping(self) -> None:
        """Count from now: the process was asked to stop."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS) and not self._service.crashed:
            pass
        seconds = CRASH_SECONDS if self._service.crashed else self._stop_seconds
        threading.Event().wait(seconds)
        get_logger().error("process.ended_hard", after_seconds=seconds)
        sys.stderr.flush()
        self._end(1)


class JobWorker(Worker):
    """Faust's worker with an ordered stop: the job drains and commits before the app goes."""

    def __init__(self, host: Host, log: KafkaLog, stop_seconds: float) -> None:
        super().__init__(host.app, quiet=True, redirect_stdouts=False, override_logging=False)
        self.spinner = None
        self._host = host
        self._topics_log = log
        self._deadline = Deadline(host.app, stop_seconds)

    async def on_first_start(self) -> None:
        """Connect the topic reader before any record can come."""
        self._deadline.start()
        await self._topics_log.start()
        await super().on_first_start()

    async def on_shutdown(self) -> None:
        """Disconnect last, when the app and its timers have ended."""
        await super().on_shutdown()
        await self._topics_log.stop()

    def install_signal_handlers(self) -> None:
        """Take SIGTERM and SIGINT outside of the loop, so that a stop is counted even where the loop is stuck."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._deadline.stopping()
        self.loop.call_soon_threadsafe(self._schedule_shutdown, signal.Signals(number))

    async def _stop_on_signal(self, signal: signal.Signals) -> None:
        get_logger().info("process.stopping", signal=signal.name)
        await self._host.drain()
        await super()._stop_on_signal(signal)

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """Leave the process's title alone: a supervisor reads the command line."""


def run_job(
    job: str,
    settings: Settings,
    topics: Sequence[Topic],
    make: Callable[[Ports], StreamJob],
    *,
    stop_seconds: float = STOP_SECONDS,
) -> NoReturn:
    """Run a job until it is told to stop or crashes; never returns. ``make`` builds it on its ports."""
    configure_logs(job, settings.log_level, settings.log_format)
    metrics = Metrics()
    config = load_detection_config(settings)
    metrics.gauge("stillwatch_build_info", version=product_version(), config_version=config.version).set(1)
    app = make_app(job, settings)
    log = KafkaLog(client_options(settings))
    host = Host(job, app, topics, make, log=log, metrics=metrics, clock=SystemClock(), settings=settings)
    refusals, stop = Refusals(metrics), stop_on_signals()
    checks = {"kafka": broker_check(consumer_base(settings) | refusals.watch()), **host.checks()}
    health = HealthServer(metrics, checks, settings.metrics_host, settings.metrics_port).start()
    try:
        with telling(refusals, stop):
            # aiokafka tells a refusal by a traceback of its own, and Faust by another; so it is asked for here first.
            refusals.require_admission(consumer_base(settings), job)
    except StillwatchError as error:
        get_logger().error("process.failed", reason=error.message, hint=error.hint, kind=type(error).__name__)
        raise SystemExit(1) from None
    if stop.is_set():  # Faust's worker takes the signals from here on, and did not see this one.
        raise SystemExit(0)
    get_logger().info("process.started", job=job, metrics_port=health.port, faust=faust.__version__)
    JobWorker(host, log, stop_seconds).execute_from_commandline()
    raise SystemExit(0)
