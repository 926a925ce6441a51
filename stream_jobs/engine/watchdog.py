"""The stuck detector: a loop that does not move any more ends its process, with a flight record of where it stood.

Whatever waits for the broker beats while it waits, for that is not being stuck; it has its own patience. What is left
is a bug, or a call into a library that never returns. Should even this thread not run, because something holds the
interpreter's lock, the interpreter's own timer writes the stacks to stderr and ends the process without asking.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from typing import TYPE_CHECKING, Final

from services.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.adapters.clock import Clock
    from stream_jobs.engine.flight import FlightRecorder
    from stream_jobs.engine.health import WorkerHealth

EXIT_STUCK: Final = 4
_TICK_SECONDS: Final = 1.0
_LOCKED_FACTOR: Final = 1.5  # The interpreter's timer comes after this thread had its chance.


class Watchdog:
    """Watches a worker's beat; ``stuck_seconds`` 0 turns it off. ``end`` gets the exit status, and does not return."""

    def __init__(
        self,
        stuck_seconds: float,
        health: WorkerHealth,
        recorder: FlightRecorder,
        clock: Clock,
        end: Callable[[int], object] = os._exit,
        tick_seconds: float = _TICK_SECONDS,
    ) -> None:
        self._stuck_seconds = stuck_seconds
        self._health = health
        self._recorder = recorder
        self._clock = clock
        self._end = end
        self._tick_seconds = tick_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> Watchdog:
        """Watch from now on."""
        if self._stuck_seconds:
            self._health.beat()
            self._thread.start()
        return self

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        looked = self._clock.monotonic()
        while not self._stopped.wait(self._tick_seconds):
            self._arm()
            now = self._clock.monotonic()
            if now - looked > self._stuck_seconds / 2:
                # This thread did not run either: the whole process was stopped or starved, not the loop stuck.
                self._health.beat()
            looked = now
            age = self._health.age
            if age > self._stuck_seconds:
                get_logger().error("worker.stuck", seconds=round(age, 1))
                self._recorder.dump(f"the loop has not moved for {age:.0f} s")
                sys.stderr.flush()
                self._end(EXIT_STUCK)
                return

    def _arm(self) -> None:
        if self._end is os._exit:
            faulthandler.dump_traceback_later(self._stuck_seconds * _LOCKED_FACTOR, exit=True, file=2)
