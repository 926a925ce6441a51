"""What processes share: an orderly end, work beside the main thread, and the question whether the database answers."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.adapters.postgres.engine import describe, is_transient
from services.errors import StillwatchError
from services.telemetry.health import CheckResult
from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from sqlalchemy import Engine

    from services.adapters.kafka.refusals import Refusals


def stop_on_signals() -> threading.Event:
    """Give an event that SIGTERM and SIGINT set; call it in the main thread."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    return stop


def database_check(engine: Engine) -> Callable[[], CheckResult]:
    """Make the check that the database takes writes."""

    def check() -> CheckResult:
        with engine.connect() as connection:
            read_only = connection.execute(text("SELECT current_setting('transaction_read_only')")).scalar_one()
        return CheckResult(ready=read_only == "off", detail="answers" if read_only == "off" else "is read-only")

    return check


def run_or_stop(act: Callable[[], None], stop: threading.Event, refusals: Refusals) -> None:
    """Run beside the main thread; a failure here ends the process instead of passing unseen."""
    try:
        act()
    except KafkaException as error:
        refusals.beside = error  # Told and raised by the main thread, which ends the process.
        stop.set()
    except BaseException as error:
        get_logger().error("worker.crashed", error=type(error).__name__)
        stop.set()
        raise


def run_plainly(main: Callable[[], None]) -> None:
    """Run a process's main function; what it cannot go on for is one line and an exit code, a bug its traceback."""
    try:
        main()
    except StillwatchError as error:
        get_logger().error("process.failed", reason=error.message, hint=error.hint, kind=type(error).__name__)
        raise SystemExit(error.exit_code) from None
    except DBAPIError as error:
        if not is_transient(error):
            raise
        # It was tried for minutes: the database is away, or refuses this process.
        reason = f"the database does not serve this process: {describe(error)}"
        get_logger().error("process.failed", reason=reason, kind=type(error).__name__)
        raise SystemExit(1) from None
